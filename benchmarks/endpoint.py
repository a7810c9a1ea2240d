"""Throughput of an evaluation through a server: `python benchmarks/endpoint.py`.

The server is another process with 16 slots. Each request holds a slot for a fixed delay; further requests wait. So its
limit is slots / delay. The processor time of the client does not depend on other processes; the throughput does.
Requests, images and stored rows are those of `lowmed eval --endpoint`.
"""

import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from machine import store
from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.load import load
from lowmed.data.split import evaluation_only
from lowmed.evaluation import endpoint, results_folder, runner
from lowmed.evaluation.controls import REAL, SAMPLED, Condition
from lowmed.evaluation.report import eval_settings
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec

SLOTS = 16
QUESTIONS = 960
CONCURRENCY = (16, 20)
ANSWER = {
    "choices": [{"message": {"content": "<answer>yes</answer>"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 40, "completion_tokens": 7},
}


def serve(address: Connection, delay: float) -> None:
    """A server with a fixed delay and a bounded number of slots."""
    body = json.dumps(ANSWER).encode()
    response = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def run() -> None:
        slots = asyncio.Semaphore(SLOTS)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                    await reader.readexactly(int(length.split(b":")[1]))
                    async with slots:
                        await asyncio.sleep(delay)
                    writer.write(response)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # the client has closed the connection
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20)
        address.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def radiograph(_reference: str) -> Image.Image:
    """An image of 448 x 448 pixels with the noise of a detector, which PNG hardly compresses."""
    noise = np.random.default_rng(0).normal(128, 12, (448, 448))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8)).convert("RGB")


def throughput(
    port: int, concurrency: int, copies: int, max_image_tokens: int, open_image: Callable[[str], Image.Image]
) -> tuple[float, float]:
    """Stored completions per second, and milliseconds of the client's processor for each."""
    samples = tuple(phantom.samples("test", QUESTIONS // copies))
    name, temperature = (SAMPLED, 1.0) if copies > 1 else (REAL, 0.0)
    condition = Condition(name, "test", samples, open_image, copies, temperature)
    family = prompt.family("reasoning")
    with tempfile.TemporaryDirectory() as folder:
        split = evaluation_only(load("phantom"))
        settings = eval_settings(ModelSpec(name="m"), family, split, max_new_tokens=64, seen="", endpoint=True)
        results_folder.open_folder(Path(folder), settings)
        answerer = endpoint.answerer(
            f"http://127.0.0.1:{port}/v1", "m", family, PixelPolicy(max_image_tokens), 64, max_concurrency=concurrency
        )
        started, busy = time.perf_counter(), time.process_time()
        runner.run_conditions(
            Path(folder), "endpoint", [condition], lambda: answerer, train=(), advance=lambda _done, _note: None
        )
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        stored = results_folder.read_rows(results_folder.completions_file(Path(folder), "endpoint", name))
        assert len(stored) == len(samples) * copies
    return len(stored) / seconds, 1000 * busy / len(stored)


def main() -> None:
    rows = []
    for delay in (0.05, 0.5):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.Process(target=serve, args=(sender, delay), daemon=True)
        process.start()
        port, limit = receiver.recv(), SLOTS / delay
        for images, tokens, open_image, copies in (
            ("phantom, 56 x 56", 4, phantom.open_image, 1),
            ("noise, 448 x 448", 256, radiograph, 1),
            ("noise, 448 x 448", 256, radiograph, 16),
        ):
            for concurrency in CONCURRENCY:
                reached, milliseconds = throughput(port, concurrency, copies, tokens, open_image)
                row = {
                    "delay_ms": round(delay * 1000), "slots": SLOTS, "images": images, "samples": copies,
                    "max_concurrency": concurrency, "per_second": round(reached, 1),
                    "client_cpu_ms": round(milliseconds, 2), "limit": limit,
                    "share": round(reached / min(limit, concurrency / delay), 3),
                }  # fmt: skip
                rows.append(row)
                print(row, flush=True)
        process.terminate()
    print(store("endpoint", {"rows": rows}))


if __name__ == "__main__":
    main()

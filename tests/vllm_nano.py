"""A server of nano that has the routes of vLLM that training uses."""

import base64
import contextlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from peft import PeftModel
from PIL import Image

from lowmed.engine import device, load
from lowmed.engine.prefix import sampling
from lowmed.recipe import ModelSpec


class NanoServer(ThreadingHTTPServer):
    """Samples from nano with the adapter that was loaded last.

    Attributes:
        requests: routes and bodies so far.
        change: edits a response before it is sent, to play a faulty server.
        stale_after: ignore adapters after this number of them.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        spec = ModelSpec(name="nano")
        self.loaded = load.load_base(spec, device.find_device(spec))
        self.adapters: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.lock = threading.Lock()
        self.change: Any = None
        self.stale_after: int | None = None

    def load_adapter(self, name: str, folder: str) -> None:
        model, self.adapters = self.loaded.model, [*self.adapters, name]
        loads = sum(route == "load_lora_adapter" for route, _ in self.requests)
        if not isinstance(model, PeftModel):
            self.loaded.model = PeftModel.from_pretrained(model, folder)
        elif self.stale_after is None or loads <= self.stale_after:
            model.delete_adapter("default")
            model.load_adapter(folder, "default")
            model.set_adapter("default")

    @torch.no_grad()
    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["model"] == self.adapters[-1]
        images = []
        for message in body["messages"]:
            for part in message["content"]:
                if part["type"] == "image_url":
                    data = part["image_url"]["url"].partition(",")[2]
                    images.append(Image.open(io.BytesIO(base64.b64decode(data))))
                    part.clear()
                    part["type"] = "image"
        processor = self.loaded.processor
        text = processor.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        inputs = processor(text=[text], images=images, return_tensors="pt")
        suppressed = [int(token) for token in body["logit_bias"]]
        how = sampling.Sampling(body["max_tokens"], body["temperature"], suppressed, body["stop_token_ids"])
        torch.manual_seed(body["seed"])
        self.loaded.model.eval()
        ids, log_probs = sampling.sample(self.loaded.model, inputs, [0] * body["n"], how)
        how.decoder.end()
        choices = [
            {"index": index, "token_ids": tokens, "logprobs": {"content": [{"logprob": value} for value in values]}}
            for index, (tokens, values) in enumerate(zip(ids, log_probs, strict=True))
        ]
        return {"prompt_token_ids": inputs["input_ids"][0].tolist(), "choices": choices[::-1]}


class Handler(BaseHTTPRequestHandler):
    server: NanoServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        route = self.path.removeprefix("/v1/")
        with self.server.lock:
            self.server.requests.append((route, body))
            if route == "load_lora_adapter":
                self.server.load_adapter(body["lora_name"], body["lora_path"])
                self.respond(200, {})
            elif route == "unload_lora_adapter":
                self.respond(200 if body["lora_name"] in self.server.adapters else 404, {})
            else:
                answer = self.server.complete(body)
                status, answer = self.server.change(answer) if self.server.change else (200, answer)
                self.respond(status, answer)

    def respond(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # training has given up
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@contextmanager
def nano_server() -> Iterator[NanoServer]:
    """A running server."""
    with NanoServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()

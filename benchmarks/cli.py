"""How long the light verbs take: `python benchmarks/cli.py`. Medians of whole processes, after one warm-up."""

import os
import statistics
import subprocess
import sys
import time

from machine import store

RUNS = 9
# As users run it: modules compiled once, whatever this shell says.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
VERBS = ("--help", "recipes", "check --recipe rarl --nano")


def seconds(arguments: str) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "lowmed", *arguments.split()]
    subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    figures = {}
    for verb in VERBS:
        times = [seconds(verb) for _ in range(RUNS + 1)][1:]
        figures[verb] = {"median_s": round(statistics.median(times), 3), "min_s": round(min(times), 3), "runs": RUNS}
        print(f"lowmed {verb:<28} {figures[verb]['median_s']:.3f} s")
    print(store("cli", {"verbs": figures}))


if __name__ == "__main__":
    main()

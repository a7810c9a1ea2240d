"""Time of the light commands: `python benchmarks/cli.py`. Medians of complete processes, after one warm-up."""

import os
import statistics
import subprocess
import sys
import time

from machine import store

RUNS = 9
# As users run it: with compiled modules, even if this shell turns them off.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
COMMANDS = ("--help", "recipes", "check --recipe rarl --nano")


def seconds(arguments: str) -> float:
    started = time.perf_counter()
    process = [sys.executable, "-m", "lowmed", *arguments.split()]
    subprocess.run(process, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    figures = {}
    for command in COMMANDS:
        times = [seconds(command) for _ in range(RUNS + 1)][1:]
        figures[command] = {"median_s": round(statistics.median(times), 3), "min_s": round(min(times), 3), "runs": RUNS}
        print(f"lowmed {command:<28} {figures[command]['median_s']:.3f} s")
    print(store("cli", {"commands": figures}))


if __name__ == "__main__":
    main()

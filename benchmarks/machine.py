"""A description of the machine, and the folder of stored results."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Benchmarks use all cores by default. lowmed itself runs small models on one.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("lowmed", "torch", "transformers", "trl", "peft", "bitsandbytes")


def about() -> dict[str, Any]:
    """Date, processor, cores, memory and versions."""
    model = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def store(name: str, figures: dict[str, Any]) -> Path:
    """Write results and a description of the machine to a file in the results folder."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": about(), **figures}, indent=2) + "\n")
    return path

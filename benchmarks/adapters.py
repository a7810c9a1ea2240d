"""Kinds of adapters and the commands that take them, with the largest error of a merged change.

    python benchmarks/adapters.py            measure; about two minutes on one core
    python benchmarks/adapters.py --table    write the table of docs/export.md from the stored results

Every adapter is one of the embedded model, written by PEFT with random factors (tests/ship/trained.py). The error is
the largest difference between the change that lowmed merges and the change of PEFT's own `merge_and_unload` of the full
model, as a share of the largest change of that layer, in float32. Results are in benchmarks/results/adapters.json.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import RESULTS, store
from page import put
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from ship import trained  # noqa: E402

from lowmed import nano  # noqa: E402
from lowmed.adapter.intake import read_adapter  # noqa: E402
from lowmed.engine import device, load  # noqa: E402
from lowmed.engine.adapter import require_start  # noqa: E402
from lowmed.errors import LowmedError  # noqa: E402
from lowmed.recipe import LoraSpec, ModelSpec  # noqa: E402
from lowmed.ship import layer_checks, merge, verify, vllm  # noqa: E402
from lowmed.ship.adapter import target_tensors, weight_delta  # noqa: E402
from lowmed.ship.base_model import base_tensors  # noqa: E402
from lowmed.ship.gguf.convert import write_gguf  # noqa: E402
from lowmed.ship.weights import loaded_names  # noqa: E402

NANO = ModelSpec(name="nano", load_in="16bit")
COMMANDS = ("verify", "merge", "gguf", "vllm", "eval", "lora.start")
TENSORS = base_tensors(nano.folder())


def commands(folder: Path, out: Path, model: Any) -> dict[str, str]:
    """Command -> `yes`, or why it refuses the adapter."""

    def merged() -> None:
        adapter = read_adapter(str(folder))
        inputs = merge.MergeInputs(nano.folder(), TENSORS, adapter, target_tensors(adapter, TENSORS), "original")
        merge.write_shards(inputs, out / "merged", lambda _done, _note: None)
        check = layer_checks.check_merged_layers(inputs, out / "merged")
        if not check.passed:
            raise SystemExit(check.detail)

    def exported() -> None:
        read_adapter(str(folder))
        finished_package(out / "merged")
        write_gguf(out / "merged", out / "gguf", ("f16",), name="made")

    work: dict[str, Callable[[], object]] = {
        "verify": lambda: checked(folder),
        "merge": merged,
        "gguf": exported,
        "vllm": lambda: vllm.require_servable(read_adapter(str(folder))),
        "eval": lambda: load.with_adapter(load.load_base(NANO, device.find_device(NANO)), folder),
        "lora.start": lambda: require_start(LoraSpec(rank=model.peft_config["default"].r, start=str(folder)), NANO),
    }
    results = {}
    for name, call in work.items():
        try:
            call()
            results[name] = "yes"
        except LowmedError as error:
            results[name] = error.what
    return results


def checked(folder: Path) -> None:
    failed = [one for one in verify.check_files(read_adapter(str(folder)), nano.folder(), TENSORS) if not one.passed]
    if failed:
        raise SystemExit(f"{folder}: {failed[0].name}, {failed[0].detail}")


def finished_package(merged: Path) -> None:
    """The settings that a merge copies from its base."""
    for file in nano.folder().iterdir():
        if file.suffix != ".safetensors" and not (merged / file.name).exists():
            (merged / file.name).write_bytes(file.read_bytes())


def largest_error(folder: Path, model: Any) -> float:
    stored = load_file(nano.folder() / "model.safetensors")
    weights = {loaded: stored[name].float() for name, loaded in loaded_names(stored).items()}
    adapter, errors = read_adapter(str(folder)), []
    for module, expected in trained.deltas(model).items():
        ours = weight_delta(adapter, module, weights[f"{module}.weight"])
        errors.append(float((ours - expected).abs().max() / expected.abs().max()))
    return max(errors)


def measure(kind: str, options: dict[str, Any], rename: trained.Rename | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(action="ignore"):
        folder = Path(scratch) / "adapter"
        model = trained.trained(folder, **options)
        if rename:
            file = folder / "adapter_model.safetensors"
            save_file({rename(key): value for key, value in load_file(file).items()}, file, {"format": "pt"})
        row: dict[str, Any] = {"kind": kind, "commands": commands(folder, Path(scratch), model)}
        if row["commands"]["merge"] == "yes":
            row["largest_error"] = largest_error(folder, model)
    print(f"{kind:<40}{row.get('largest_error', row['commands']['merge'])}", flush=True)
    return row


def rows() -> list[dict[str, Any]]:
    result = [measure(kind, options) for kind, options in trained.TAKEN.items()]
    result += [measure(f"names: {name}", {}, rename) for name, rename in trained.NAMES.items()]
    return result + [measure(kind, options) for kind, (options, _reason) in trained.REFUSED.items()]


def table(results: list[dict[str, Any]]) -> str:
    """The table of docs/export.md: kinds that are taken, then reasons of the refused ones."""
    lines = [
        "| adapter | verify, merge, GGUF, eval | vLLM adapter | `lora.start` | largest error |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in results:
        answers = row["commands"]
        main = {answers[name] for name in ("verify", "merge", "gguf", "eval")}
        if main == {"yes"}:
            cells = ["yes", *("yes" if answers[name] == "yes" else "refused" for name in ("vllm", "lora.start"))]
            lines.append(f"| {row['kind']} | {' | '.join(cells)} | {row['largest_error']:.1e} |")
        elif "yes" in main:
            raise SystemExit(f"{row['kind']}: the commands do not agree")
        else:
            lines.append(f"| {row['kind']} | refused: {reason(answers['merge'])} | refused | refused | |")
    return "\n".join(lines)


def reason(what: str) -> str:
    short = what.removeprefix("the adapter is not a plain LoRA: ").removeprefix("the adapter was ")
    return short.partition(", first ")[0].partition(": it does not belong")[0].replace("|", "\\|")


def main(arguments: list[str]) -> None:
    if arguments == ["--table"]:
        results = json.loads((RESULTS / "adapters.json").read_text(encoding="utf-8"))["kinds"]
        put(ROOT / "docs" / "export.md", "adapters", table(results))
    elif not arguments:
        store("adapters", {"kinds": rows()})
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The table that gpu_first.py prints: one line for each step with its main figures."""

from typing import Any

from gpu_results import token_s

ERROR_WIDTH = 120


def table(document: dict[str, Any]) -> str:
    """All steps of a series.

    Args:
        document: content of gpu_first.json.
    """
    card = (document["steps"].get("doctor", {}).get("figures") or {}).get("card", "unknown card")
    rows = [
        (name, record["state"], f"{record.get('seconds', 0):.0f}", brief(name, record))
        for name, record in document["steps"].items()
    ]
    widths = [max(len(row[column]) for row in [("step", "state", "s", ""), *rows]) for column in range(3)]
    lines = [f"{'step':<{widths[0]}}  {'state':<{widths[1]}}  {'s':>{widths[2]}}  {card}, {document['started']}"]
    lines += [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    return "\n".join(line.rstrip() for line in lines)


def brief(name: str, record: dict[str, Any]) -> str:
    """The main figures of a step in one line, or the last line of its error.

    Args:
        name: the step.
        record: its entry in gpu_first.json.
    """
    figures = record.get("figures") or {}
    try:
        shown = _main(name, figures)
    except (KeyError, TypeError, IndexError, ValueError):  # figures of a step that ended early
        shown = ""
    error = (record.get("error") or [""])[-1][:ERROR_WIDTH]
    return "; ".join(part for part in (shown, error) if part)


def _main(name: str, figures: dict[str, Any]) -> str:
    if name == "doctor":
        return "; ".join(figures["doctor"]["problems"]) or "no problems"
    if name == "nano":
        finite = "all finite" if not figures["not_finite"] else f"not finite: {', '.join(figures['not_finite'])}"
        difference = f"log-probabilities {figures['logp_difference']:.2g} from sampling"
        return f"{figures['steps']} steps, {figures['step_s']:.2f} s each, {finite}, {difference}"
    if name == "weights":
        return f"{figures['gib']:.1f} GiB"
    if name == "attention":
        times = [
            f"cuDNN {name} {figures[name]['later_s']:.2f} s, the first time {figures[name]['first_s']:.2f} s"
            for name in ("off", "on")
            if name in figures
        ]
        return f"{figures['rows']} rows of {figures['tokens']} tokens: " + "; ".join(times)
    if name == "decode":
        return "; ".join([*map(_decoded, figures["cells"]), *map(_agreed, figures["agreement"])])
    if name in ("update", "update-same", "unsloth"):
        return "; ".join(
            f"{side} {result['seconds']['all']:.2f} s, {result['peak_gib']['all']:.1f} GiB"
            for cell in figures["cells"]
            for side, result in cell["sides"].items()
        )
    if name.startswith("dry-run"):
        run = figures["run"]
        return f"step {run['seconds']['step']:.1f} s, peak {max(run['gib'].values()):.1f} GiB"
    if name == "precision":
        return "; ".join(_precise(model) for model in figures["models"])
    if name in ("tests", "test-runs"):
        return ", ".join(f"{count} {state}" for state, count in figures["counts"].items() if count)
    return ""


def _decoded(cell: dict[str, Any]) -> str:
    parts = []
    for base in ("4bit", "16bit"):
        times = [token_s(cell, base, graphs) for graphs in (False, True)]
        parts.append(f"{base} " + " / ".join(f"{1000 * time:.1f}" for time in times if time is not None))
    shown = f"{cell['settings']['group']} rows {', '.join(parts)} ms"
    for key, problem in (("captured", "not captured"), ("equal", "other tokens")):
        wrong = [way for way, right in cell[key].items() if not right]
        shown += f", {problem}: {', '.join(wrong)}" if wrong else ""
    return shown


def _agreed(compared: dict[str, Any]) -> str:
    ways = ", ".join(
        f"{way} {100 * result['equal']:.0f} %" if result["captured"] else f"{way} not captured"
        for way, result in compared["ways"].items()
    )
    return f"{compared['model']} {compared['load_in']} equal: {ways}"


def _precise(model: dict[str, Any]) -> str:
    if "difference" not in model:
        return f"{model['model']}: finite in {model.get('finite_steps', 0)} steps"
    difference = ", ".join(f"{key} {100 * value:.2g} %" for key, value in model["difference"].items())
    return f"{model['model']}: {difference} apart"

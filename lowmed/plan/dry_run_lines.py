"""The measured values of a dry run as lines for the terminal."""

from lowmed.plan.calibration import MeasuredRun


def _error(planned: float, measured: float) -> str:
    """The error of an estimate; a phase of a tiny model may take less memory than the measurement resolves."""
    return f"({planned / measured - 1:+.0%})" if measured else "(too small to compare)"


def dry_run_lines(run: MeasuredRun) -> list[str]:
    """Measured values of a dry run next to the uncalibrated estimate."""
    batch = run.batch
    checkpointing = "on" if batch.gradient_checkpointing else "off"
    rows = f"{batch.per_device_train_batch_size} rows of {run.lengths.row} tokens per forward pass"
    lines = [
        f"device   {run.card}, {run.precision}; {run.context_gib:.2f} GiB in use before the model is loaded,",
        "         not included below",
        f"batch    {rows}; gradient checkpointing {checkpointing}",
        "",
    ]
    for phase, planned in run.planned_gib.items():
        gib = run.gib[phase]
        lines.append(f"{phase:<16}measured {gib:6.2f} GiB, estimated {planned:6.2f} {_error(planned, gib)}")
    seconds = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in run.seconds.items())
    return [*lines, "", f"time     {seconds}"]

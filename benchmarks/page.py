"""Tables of results in the documentation."""

from pathlib import Path


def put(page: Path, mark: str, text: str) -> None:
    """Write a text between the lines `<!-- mark -->` and `<!-- /mark -->` of a page, in place of the old one."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not begin or not end:
        raise SystemExit(f"{page} has no lines <!-- {mark} --> and <!-- /{mark} -->")
    page.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def interval(values: list[float]) -> str:
    """Mean [95 % t interval over the seeds]."""
    from scipy import stats

    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:+.3f}"
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"

"""Open answers in tiers: equal to the gold answer, or with the gold answer inside a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluation.intervals import mean_interval
from lowmed.evaluation.records import OpenTiers, TierShare


def open_tiers(rows: Sequence[Mapping[str, Any]]) -> OpenTiers | None:
    """Shares of the tiers with intervals by image; None without open questions."""
    open_rows = [row for row in rows if row["kind"] == "open"]
    if not open_rows:
        return None
    groups = [str(row["group"]) for row in open_rows]

    def share(*tiers: str) -> TierShare:
        hits = [float(row["tier"] in tiers) for row in open_rows]
        return TierShare(share=sum(hits) / len(hits), by_image=mean_interval(hits, groups))

    return OpenTiers(questions=len(open_rows), exact=share("exact"), span=share("exact", "span"))

"""How precisely a split can measure an accuracy, known before anything is trained."""

import math

from lowmed.data.split import DataSplit

Z = 1.96  # 95 %
WIDE = 0.1  # two models usually differ by less


def half_width(n: int) -> float:
    """Half the 95 % Wilson interval of an accuracy of 0.5, the widest one, of `n` independent questions."""
    return Z / (2 * math.sqrt(n + Z**2))


def describe_split(data_split: DataSplit) -> list[str]:
    """One line for each part, and a warning for each held-out part that is too small to measure an accuracy to 0.1."""
    lines = data_split.describe()
    for name, samples in data_split.held_out.items():
        questions, groups = len(samples), len({sample.group for sample in samples})
        if half_width(questions) > WIDE:
            alike = (
                f", up to 0.5 ± {half_width(groups):.2f} if a group's answers are alike" if groups < questions else ""
            )
            interval = f"0.5 ± {half_width(questions):.2f}{alike}"
            lines.append(f"{name} is small: the 95 % interval of an accuracy of 0.5 would be {interval}")
    return lines

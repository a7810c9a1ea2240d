"""The range of right numbers around a gold answer, from a tolerance that is a share of it or an absolute amount."""

from decimal import Decimal

from lowmed.answer.number import in_unit
from lowmed.answer.quantity import Quantity, parse_quantity, unit_name

EXAMPLES = "write 5% for a share of the answer, or 2 mm or ±2 for an absolute tolerance"


def limits(gold: str, unit: str, tolerance: str) -> tuple[str, str]:
    """The smallest and the largest right number, in the unit of the gold answer.

    Args:
        gold: the gold answer.
        unit: its unit, if it is not part of it.
        tolerance: `5%` or `0.05`, a share of the gold answer; `2 mm`, an amount in a unit of the same dimension; or
            `±2`, an amount in the unit of the gold answer.

    Raises:
        ValueError: the gold answer is not one number, the tolerance is not one or is negative, or their units differ.
    """
    target = parse_quantity(gold)
    if target is None:
        raise ValueError(f"the answer `{gold[:40]}` is not one number, so it has no tolerance of `{tolerance[:40]}`")
    try:
        margin = _margin(target, unit, tolerance)
        return str(target.value - margin), str(target.value + margin)
    except ArithmeticError:
        raise ValueError(f"the tolerance `{tolerance[:40]}` cannot be used; {EXAMPLES}") from None


def _margin(target: Quantity, unit: str, tolerance: str) -> Decimal:
    text = tolerance.strip()
    sign = next((sign for sign in ("±", "+/-", "+-") if text.startswith(sign)), "")
    amount = parse_quantity(text.removeprefix(sign))
    if amount is None or amount.value < 0:
        raise ValueError(f"the tolerance `{tolerance[:40]}` cannot be used; {EXAMPLES}")
    if not sign and amount.unit in ("", "%"):
        return abs(target.value) * amount.value * (Decimal("0.01") if amount.unit else 1)
    own = target.unit or unit_name(unit)
    if not amount.unit or amount.unit == own:
        return amount.value
    converted = in_unit(amount, own) if own and "%" not in (own, amount.unit) else ()
    if not converted:
        raise ValueError(f"the tolerance is in {amount.unit} and the answer in {own or 'no unit'}")
    return converted[0]

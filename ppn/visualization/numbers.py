"""How numbers are printed: few digits, never more certain than they are."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import PurePath

import numpy as np

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def _typeset(text: str) -> str:
    # Only a leading hyphen is a minus sign; the one in an exponent stays as programs print it.
    return MINUS + text[1:] if text.startswith("-") else text


def number(value: float | str | None, unit: str = "") -> str:
    """Print a value with about three significant digits and its unit.

    Tiny and huge values are printed as 3.0e-07. A percentage below 100 never rounds up to 100:
    99.9995 is printed as 99.9995, so that "100.00 %" always means all.

    Args:
        value: A number, text (printed as it is) or None (a dash).
        unit: Appended after a narrow space that does not break.
    """
    if value is None:
        return NONE
    if isinstance(value, str):
        text = value
    elif not math.isfinite(value):
        return NONE
    elif isinstance(value, int | np.integer):
        text = f"{value:,}"
    elif value == 0:
        text = "0"
    elif abs(value) < 1e-3 or abs(value) >= 1e6:
        text = f"{value:.1e}"
    elif unit == "%" and 99 <= value <= 100:
        text = _almost_all(value)
    elif abs(value) >= 10:
        text = f"{value:,.1f}"
    else:
        text = f"{value:.2f}" if abs(value) >= 1 or unit == "%" else f"{value:.3f}"
    return _typeset(text) + (f"{THIN}{unit}" if unit else "")


def _almost_all(value: float) -> str:
    text = f"{value:.2f}"
    if value < 100 <= float(text):
        text = f"{value:.4f}" if float(f"{value:.4f}") < 100 else "> 99.9999"
    return text


def percent(fraction: float | None, digits: int = 0) -> str:
    """Print a fraction as a percentage: 0.92 as "92 %"; None as a dash."""
    if fraction is None or not math.isfinite(fraction):
        return NONE
    text = f"{100 * fraction:.{digits}f}"
    if fraction < 1 and float(text) >= 100:
        text = "> 99" if digits == 0 else f"> 99.{'9' * digits}"
    elif float(text) == 0:
        text = text.lstrip("-")
    return f"{_typeset(text)}{THIN}%"


def short(name: str, length: int = 16) -> str:
    """Shorten a file's name at its front: its end tells it from its neighbours."""
    stem = PurePath(name).stem or name
    return stem if len(stem) <= length else "\N{HORIZONTAL ELLIPSIS}" + stem[1 - length :]


def printed_sum(terms: list[float], total: float, exact: bool) -> tuple[list[str], str]:
    """Print a sum so that its printed terms add up to its printed total.

    Rounded one by one, 1.26 + 1.26 = 2.52 reads 1.3 + 1.3 = 2.5. So the terms are rounded down and
    those with the largest remainders up again, until they add up; each stays within one unit of
    its last digit. The terms of a sum that is not exact are rounded one by one: the gap must show.

    Args:
        terms: The terms.
        total: What they add up to.
        exact: Whether they really do, but for rounding.

    Returns:
        The terms with their signs, and the total.
    """
    digits = _digits([*terms, total])
    counts, whole = _counts(terms, total, exact, digits)
    return [_signed(count, digits) for count in counts], _signed(whole, digits).removeprefix("+")


def printed_versus(
    first: list[float], second: list[float], totals: tuple[float, float], exact: bool
) -> tuple[list[str], list[str], list[str]]:
    """Print two sums and their differences, so that printed rows and columns add up.

    Args:
        first: Terms of the first sum.
        second: As many of the second, each beside the one that it is taken from.
        totals: What they add up to.
        exact: Whether they really do, but for rounding.

    Returns:
        Terms of the first sum, of the second, and their differences, with signs, all with the same
        digits; the totals come last.
    """
    digits = _digits([*first, *second, *totals])
    sides = [
        [*counts, whole]
        for counts, whole in (
            _counts(terms, total, exact, digits)
            for terms, total in zip((first, second), totals, strict=True)
        )
    ]
    between = [one - other for one, other in zip(*sides, strict=True)]
    mine, theirs, apart = (
        [_signed(count, digits) for count in column] for column in (*sides, between)
    )
    return mine, theirs, apart


def _digits(values: list[float]) -> int:
    """Digits behind the point of all terms of a sum."""
    largest = max(map(abs, values), default=0.0)
    return 1 if largest >= 100 else 2 if largest >= 1 else 4


def _counts(terms: list[float], total: float, exact: bool, digits: int) -> tuple[list[int], int]:
    """Terms and total in units of the last digit; see `printed_sum`."""
    unit = 10.0**-digits
    scaled, whole = [value / unit for value in terms], round(total / unit)
    if not exact:
        return [round(value) for value in scaled], whole
    counts = [math.floor(value) for value in scaled]
    order = sorted(range(len(terms)), key=lambda i: counts[i] - scaled[i])
    for i in order[: max(0, whole - sum(counts))]:
        counts[i] += 1
    return counts, whole


def _signed(count: int, digits: int) -> str:
    return ("+" if count >= 0 else "") + _typeset(f"{count * 10.0**-digits:,.{digits}f}")


def add_printed(texts: list[str]) -> str:
    """Print the sum of terms that `printed_sum` printed, so that it agrees with them."""
    total = sum((Decimal(t.replace(MINUS, "-").replace(",", "")) for t in texts), Decimal(0))
    return ("+" if total >= 0 else "") + _typeset(f"{total:,}")

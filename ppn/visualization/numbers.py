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
    largest = max((abs(value) for value in (*terms, total)), default=0.0)
    digits = 1 if largest >= 100 else 2 if largest >= 1 else 4
    unit = 10.0**-digits
    scaled = [value / unit for value in terms]
    counts = [round(value) for value in scaled]
    if exact:
        counts = [math.floor(value) for value in scaled]
        order = sorted(range(len(terms)), key=lambda i: counts[i] - scaled[i])
        for i in order[: max(0, round(total / unit) - sum(counts))]:
            counts[i] += 1
    signs = ["+" if count >= 0 else "" for count in counts]
    texts = [_typeset(f"{count * unit:,.{digits}f}") for count in counts]
    whole = _typeset(f"{round(total / unit) * unit:,.{digits}f}")
    return [sign + text for sign, text in zip(signs, texts, strict=True)], whole


def add_printed(texts: list[str]) -> str:
    """Print the sum of terms that `printed_sum` printed, so that it agrees with them."""
    total = sum((Decimal(t.replace(MINUS, "-").replace(",", "")) for t in texts), Decimal(0))
    return ("+" if total >= 0 else "") + _typeset(f"{total:,}")

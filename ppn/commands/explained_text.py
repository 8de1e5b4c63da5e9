"""An explanation on the terminal: a line that adds up, and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.explanation.record import Explanation

if TYPE_CHECKING:
    from pathlib import Path

    from ppn.explanation.versus import Versus

_BAR = 30
_PIECES = " \N{LEFT ONE EIGHTH BLOCK}\N{LEFT ONE QUARTER BLOCK}\N{LEFT THREE EIGHTHS BLOCK}" + (
    "\N{LEFT HALF BLOCK}\N{LEFT FIVE EIGHTHS BLOCK}\N{LEFT THREE QUARTERS BLOCK}"
    "\N{LEFT SEVEN EIGHTHS BLOCK}"
)


def tell(file: Path, one: Explanation | Versus, place: Path | None) -> None:
    """Print one explanation: a line that adds up, and bars.

    Args:
        file: The image.
        one: What explains it.
        place: Where its picture is; None where there is none.
    """
    if not isinstance(one, Explanation):
        print(f"{file}: {one.verdict} -> {place}")
        names = (one.first, one.second)
        rows = [
            (f"{names[0].titles[p.first]} - {names[1].titles[p.second]}", p.difference)
            for p in one.pairs
        ]
        rows.append(("bias", one.bias))
    else:
        terms = [f"{value:+.3f}" for value in one.contributions]
        if one.part_names:
            terms = [f"{n} {t}" for n, t in zip(one.part_names, terms, strict=True)]
        print(
            f"{file}: {one.class_name}, logit {one.logit:.3f} = "
            f"{' '.join(terms)} {one.bias:+.3f} (bias) -> {place}"
        )
        parts = zip(one.titles, one.contributions, strict=True)
        rows = sorted(parts, key=lambda row: -row[1])
        rows.append(("bias", one.bias))
    most = max(abs(value) for _, value in rows) or 1.0
    wide = max(len(title) for title, _ in rows)
    for title, value in rows:
        print(f"  {title:<{wide}} {value:+9.3f} {_bar(value / most)}")


def _bar(share: float) -> str:
    """A bar for what speaks for the class; a light one for what speaks against it."""
    eighths = round(abs(share) * _BAR * 8)
    if share < 0:
        return "\N{LIGHT SHADE}" * max(1, eighths // 8)
    return "\N{FULL BLOCK}" * (eighths // 8) + _PIECES[eighths % 8].strip()

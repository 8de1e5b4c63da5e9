"""Flagged prototypes taken out, but never all of a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ppn.prototypes.flags import Flag
    from ppn.prototypes.network import PrototypeNetwork


def drop(network: PrototypeNetwork, flags: Iterable[Flag]) -> list[Flag]:
    """Edit a network so that flagged parts carry nothing.

    A part that is like another one joins it, so that the logit stays; others are removed. A class
    keeps at least one part, the one flagged with the lowest value: without any, its logit would be
    its bias on every image.

    Args:
        network: The network.
        flags: As `network.flagged` gives them.

    Returns:
        Flags whose parts stay, because a class would have none.

    Raises:
        DataError: If a part is flagged as like another, and no flag says which.
    """
    kept: list[Flag] = []
    # What is clearest goes first, so that what stays is what is least clear.
    for flag in sorted(flags, key=lambda flag: -flag.value):
        carrying = network.head.prototypes[flag.label].any(1)
        if not bool(carrying[flag.number - 1]):
            continue  # flagged twice, or removed before
        if flag.kind == "duplicate":
            if flag.other is None:
                raise DataError(f"The flag of part {flag.number} does not say what it is like.")
            if bool(carrying[flag.other - 1]):
                network.merge(flag.label, flag.other, flag.number)
        elif int(carrying.sum()) > 1:
            network.remove(flag.label, flag.number)
        else:
            kept.append(flag)
    return kept

"""What was measured of parts that have a name, by that name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppn.metrics.evaluation import Results
    from ppn.prototypes.network import PrototypeNetwork


def part_figures(network: PrototypeNetwork, results: Results) -> dict[str, Any]:
    """Return what was measured of each named part, as plain values by its name.

    `share` of the logit without bias, the mean over classes; `consistent`, in how many of the
    classes it is so, in percent; None where that was not measured, and for the remainder.
    """
    shares, rated = results.having("share", "accuracy"), results.having("best_part", "consistent")
    found: dict[str, Any] = {}
    for index, name in enumerate(network.part_names):
        consistent = None
        if rated is not None and index < rated.consistent.shape[1]:
            seen = rated.consistent[rated.images > 0, index]
            consistent = 100 * float(seen.double().mean()) if len(seen) else None
        own = shares.share[shares.images > 0, index]
        found[name] = {"share": float(own.mean()) if len(own) else None, "consistent": consistent}
    return found

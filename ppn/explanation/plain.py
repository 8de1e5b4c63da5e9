"""An explanation as plain values, for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ppn.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppn.explanation.record import Explanation


def plain_values(explained: Explanation) -> dict[str, Any]:
    """Return everything but the pictures; see `Explanation.to_dict`."""
    parts = zip(explained.contributions, explained.maps, explained.patches, strict=True)
    return {
        "image": explained.name,
        "explained_class": {"label": explained.label, "name": explained.class_name},
        "true_class": explained.true_class or None,
        "probability": explained.probability,
        "logit": explained.logit,
        "bias": explained.bias,
        "residual": explained.residual,
        "scale": explained.scale,
        "likeness": explained.likeness,
        "caution": explained.caution or None,
        **({"edits": list(explained.edits), "change": explained.change} if explained.edits else {}),
        "exact": explained.inspection.level if explained.terms is None else explained.terms.level,
        **(
            {}
            if explained.terms is None
            else {"maps": explained.terms.to_dict(explained.contributions)}
        ),
        "notes": list(explained.notes),
        "prototypes": [
            {
                "prototype": index,
                "name": explained.part_names[index - 1] if explained.part_names else None,
                "contribution": contribution,
                "peak": _peak(grid, explained.image.size),
                "map": np.asarray(grid, dtype=float).round(6).tolist(),
                **_terms_of(explained, index - 1),
                "nearest_patch": patch
                and {
                    "image": patch.name,
                    "box": list(patch.place or patch.box),
                    "score": patch.score,
                },
            }
            for index, (contribution, grid, patch) in enumerate(parts, start=1)
        ],
        "ranking": [asdict(ranked) for ranked in explained.ranking],
        "version": __version__,
    }


def _terms_of(explained: Explanation, index: int) -> dict[str, float | None]:
    """The terms of one contribution beside its map."""
    if explained.terms is None:
        return {}
    found: dict[str, float | None] = {
        "elsewhere": explained.terms.elsewhere[index],
        "baseline": explained.terms.baseline[index],
    }
    if explained.agreements:
        inside, area = explained.agreements[index].inside, explained.agreements[index].area
        found |= {"inside_cells": inside, "cells_area": area}
    return found


def _peak(grid: NDArray[np.floating[Any]], size: tuple[int, int]) -> list[float]:
    """Middle of the cell in which a map is largest: x, y in pixels."""
    row, column = np.unravel_index(int(np.argmax(grid)), grid.shape)
    width, height = size
    return [
        (float(column) + 0.5) * width / grid.shape[1],
        (float(row) + 0.5) * height / grid.shape[0],
    ]

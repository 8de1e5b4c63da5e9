"""How sure scores are, and how far between what knows nothing and what is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ppn.metrics.intervals import bootstrap_interval, paired_difference, share_of_ceiling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ppn.explainers.base import Explainer
    from ppn.metrics.base import Ends, Metric
    from ppn.metrics.resampling import Values

INTERVAL = "_interval"
IMAGE_INTERVAL = "_image_interval"
DIFFERENCE = "_difference"
SHARE = "_ceiling_share"
"""Ends of the names of figures that belong to a score; see `compared`."""
_NORMAL = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution."""


def compared(
    explainers: Sequence[Explainer],
    metrics: Sequence[Metric],
    scores: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Mapping[str, Values]],
) -> dict[str, dict[str, Any]]:
    """Return further figures of each explainer, by its name.

    For a metric, or a figure beside one, KEY: `KEY_interval`, ends of the 95 % bootstrap interval
    over classes; `KEY_image_interval`, the same over images; `KEY_difference`, mean and ends of the
    interval of the first explainer's score minus this one's, paired over classes;
    `KEY_ceiling_share`, of metrics of annotated parts, (score - best floor) / (ceiling - best
    floor). A floor that reaches the best value of the scale does so by construction, and is no
    floor (a map that ignores the image is stable). What would mean nothing is left out.

    Args:
        explainers: The explainers, the chosen one first.
        metrics: What was measured.
        scores: Figures of each explainer.
        values: What scores are means of, of each explainer: of metrics by their keys, of figures
            beside them by their names.
    """
    chosen = explainers[0].name
    found: dict[str, dict[str, Any]] = {explainer.name: {} for explainer in explainers}
    bounds: dict[str, Ends | None] = {metric.key: metric.bounds for metric in metrics}
    for metric in metrics:
        bounds |= metric.beside_bounds
    for explainer in explainers:
        figures = found[explainer.name]
        for key, own in values[explainer.name].items():
            score = scores[explainer.name].get(key)
            if score is None:
                continue
            known = own.classes.cpu().numpy()
            interval = bootstrap_interval(known)
            if interval.units > 1:
                figures[f"{key}{INTERVAL}"] = [interval.low, interval.high]
            if own.draws is not None:
                spread = _NORMAL * float(own.draws.double().std(correction=0))
                ends = bounds.get(key, (0.0, 1.0)) or (None, None)
                clipped = np.clip([score - spread, score + spread], *ends)
                figures[f"{key}{IMAGE_INTERVAL}"] = clipped.tolist()
            first = values[chosen].get(key)
            if explainer.name != chosen and first is not None and len(first.classes) == len(known):
                paired = paired_difference(first.classes.cpu().numpy(), known)
                if paired.units > 1:
                    figures[f"{key}{DIFFERENCE}"] = [paired.mean, paired.low, paired.high]
    for metric in metrics:
        if metric.needs & {"keypoints", "mask", "box"}:
            for name, share in _shares(explainers, metric, scores, values).items():
                found[name][f"{metric.key}{SHARE}"] = share
    return found


def _shares(
    explainers: Sequence[Explainer],
    metric: Metric,
    scores: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Mapping[str, Values]],
) -> dict[str, float]:
    """Share of the ceiling of methods and controls, by their names."""
    if metric.higher_is_better is None:
        return {}
    sign = 1 if metric.higher_is_better else -1
    limit = None if metric.bounds is None else metric.bounds[metric.higher_is_better]
    known = {
        explainer.name: (explainer.kind, sign * score)
        for explainer in explainers
        if (score := scores[explainer.name].get(metric.key)) is not None
        and not (explainer.kind == "floor" and score == limit)
    }
    best = {kind: name for name, (kind, _) in sorted(known.items(), key=lambda item: item[1][1])}
    if not {"floor", "ceiling"} <= set(best):
        return {}
    floor, ceiling = best["floor"], best["ceiling"]
    # Divided by a gap that may be chance, a share would be any number.
    above, below = (values[name].get(metric.key) for name in (ceiling, floor))
    if above is not None and below is not None and len(above.classes) == len(below.classes) > 1:
        gap = paired_difference(above.classes.cpu().numpy(), below.classes.cpu().numpy())
        if not min(sign * gap.low, sign * gap.high) > 0:
            return {}
    shares = {
        name: share_of_ceiling(score, known[floor][1], known[ceiling][1])
        for name, (kind, score) in known.items()
        if kind in ("method", "control")
    }
    return {name: share for name, share in shares.items() if share is not None}

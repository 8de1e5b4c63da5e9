"""The report's numbers in words: what was measured, against what, and where its limits are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.report.content import Column, ExplainerRow, Fact, MetricCard, Sensitivity
from ppn.report.measured import DIFFERENCE, ERROR, IMAGE_INTERVAL, INTERVAL, SHARE, SWEEP
from ppn.visualization.numbers import number

if TYPE_CHECKING:
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.report.content import Better
    from ppn.report.measured import Measured, MeasuredExplainer, MeasuredMetric

_FACTS = ("accuracy", "agreement")
"""Metrics that stand at the top of the page, beside the black box's."""


def facts(found: Measured) -> list[Fact]:
    """Return the key numbers, shown large."""
    figures = found.figures
    images = figures["images"]
    shown = [
        Fact(
            "Agreement with the black box",
            100 * figures["agreement"],
            f"same prediction on {images} images",
            "%",
        ),
        Fact(
            "Accuracy",
            f"{figures['accuracy']:.2%}".replace("%", " %"),
            f"black box {figures['blackbox_accuracy']:.2%}, on the same images",
        ),
    ]
    for metric in found.map_metrics[:1]:
        levels = [
            f"{title} {number(value, metric.unit)}"
            for title, value in _levels(found, metric).items()
        ]
        if figures["head"]["case"] == "class_token":
            levels.insert(0, "of cells, not of the maps shown below")
        shown.append(Fact(metric.title, figures[metric.key], ", ".join(levels), metric.unit))
    shown.append(
        Fact("Largest logit error", figures["max_logit_error"], "parts and bias against black box")
    )
    if figures["head"]["case"] == "pre_logits":
        shown.append(
            Fact(
                "Completeness error of maps",
                figures["completeness_error"],
                "mean distance of a gradient map's mean from its contribution, over the "
                "contributions' standard deviation",
            )
        )
    return shown


def certificate_facts(network: PrototypeNetwork) -> list[Fact]:
    """Return what discovery measured on training images, and the head it found."""
    values = network.certificate
    head = network.classifier.inspection
    shown = [
        Fact("Head", head.words.case, "found by computing on input, not by the model's name"),
        Fact("What is exact", head.level, head.words.maps),
    ]
    if not values:
        return shown
    edits = values.get("edits")
    if edits:
        whose = (
            "logits are still the black box's"
            if edits["is_black_box"]
            else ("this network is no longer the black box; what follows was measured before")
        )
        shown.append(Fact("Edited", "; ".join(edits["what"]), whose))
    return [
        *shown,
        Fact("Training images checked", values["images"], "on these the next three hold"),
        Fact("Agreement", 100 * values["agreement"], "same predicted class", "%"),
        Fact(
            "Largest difference of logits",
            values["max_logit_error"],
            "sum of contributions and bias against the black box",
        ),
        Fact(
            "The same, relative",
            values["relative_logit_error"],
            "over the standard deviation of the black box's logits",
            technical=True,
        ),
        Fact(
            "Largest difference of weights",
            values["max_sum_error"],
            "sum of the prototypes against the row of the head, relative to max |v|",
            technical=True,
        ),
        Fact(
            "Residual share",
            values["residual_share"],
            "norm of what the discovered directions leave of a row, over the row's norm",
            technical=True,
        ),
        Fact(
            "Cosine to the discovered parts",
            values["cosine"],
            "mean over prototypes, after refinement",
            technical=True,
        ),
        Fact(
            "Moved maxima",
            100 * values["peak_shift"],
            "images on which refinement moved a map's maximum to another cell",
            "%",
            technical=True,
        ),
        Fact(
            "Negative contributions",
            100 * values["negative_share"],
            "of a class's prototypes to its logit, on its own images",
            "%",
            technical=True,
        ),
        Fact(
            "Fallbacks", values["fell_back"], "classes refined by `equal` instead", technical=True
        ),
        *_maps_facts(values.get("maps") or {}),
        *_named_facts(values.get("named_parts") or {}),
    ]


def _maps_facts(values: dict[str, Any]) -> list[Fact]:
    """What the certificate says of maps that are made complete."""
    if not values:
        return []
    if "reason" in values:
        return [Fact("Complete maps", "none", values["reason"])]
    where = f"at the output of '{values['cut']}'" if values["cut"] else "at the last features"
    return [
        Fact(
            "Complete maps: without a place",
            100 * values["elsewhere"],
            f"of what {values['images']} training images change, cut {where}",
            "%",
        ),
        Fact(
            "Complete maps: runs for an image",
            values["nodes"],
            "of what is behind the cut, each with a pass back for each part",
        ),
        Fact(
            "Complete maps: largest error",
            100 * values["error"],
            "over the standard deviation of contributions",
            "%",
            technical=True,
        ),
    ]


def _named_facts(values: dict[str, Any]) -> list[Fact]:
    """What the certificate says of named parts."""
    shown = []
    if values.get("accuracy") is not None:
        each = [
            f"{name} {number(100 * share)} %"
            for name, share in values["accuracy_of"].items()
            if share is not None
        ]
        shown = [
            Fact(
                "Images with annotated parts", values["images"], "from which the names were learned"
            ),
            Fact(
                "Names of held-out points",
                100 * values["accuracy"],
                f"points on images not learned from that get their part's name: {', '.join(each)}",
                "%",
            ),
            Fact(
                "Missed points",
                100 * values["missed"],
                "of the same points, taken for background",
                "%",
            ),
        ]
    if values.get("remainder_share"):
        share = 100 * values["remainder_share"]
        held = "of the absolute contributions to a logit, on the training images checked"
        shown.append(Fact("Held by no name", share, held, "%"))
    return shown


def metrics(found: Measured) -> list[MetricCard]:
    """Return what was measured of the network; first what has floors to be held against."""

    def ends(metric: MeasuredMetric, name: str) -> tuple[float, float] | None:
        value = found.figures.get(f"{metric.key}{name}")
        return None if value is None else (value[0], value[1])

    shown = [
        MetricCard(
            metric.title,
            found.figures[metric.key],
            metric.unit,
            _levels(found, metric),
            metric.protocol,
            metric.constants,
            metric.help,
            found.figures.get(f"{metric.key}{ERROR}"),
            ends(metric, INTERVAL),
            ends(metric, IMAGE_INTERVAL),
            found.figures.get(f"{metric.key}{SHARE}"),
            _better(metric),
            metric.bounds,
        )
        for metric in found.metrics.values()
        if found.figures.get(metric.key) is not None and metric.key not in _FACTS
    ]
    return sorted(shown, key=lambda metric: not metric.levels)


def explainers(found: Measured) -> list[ExplainerRow]:
    """Return one row for each explainer that was evaluated; floors stand on the scales."""
    columns = {m.key: Column(m.title, m.unit, _better(m)) for m in found.map_metrics}
    return [
        ExplainerRow(
            explainer.title,
            {
                column: explainer.scores[key]
                for key, column in columns.items()
                if explainer.scores.get(key) is not None
            },
            name == found.refinement,
            explainer.exact,
            explainer.kind,
            {
                column: difference
                for key, column in columns.items()
                if (difference := _difference(explainer, key)) is not None
            },
        )
        for name, explainer in found.explainers.items()
        if explainer.kind != "floor"
    ]


def _difference(explainer: MeasuredExplainer, key: str) -> tuple[float, float, float] | None:
    """How much an explainer is ahead of the chosen one, which has the opposite in its file."""
    behind = explainer.scores.get(f"{key}{DIFFERENCE}")
    if behind is not None:
        mean, low, high = behind
        return -mean, -high, -low
    own = explainer.interval(key)
    return None if own is None else (explainer.scores[key], *own)


def sensitivity(found: Measured) -> list[Sensitivity]:
    """Return each metric over two of its constants, where it was measured so.

    Such a metric KEY has the figure KEY_sweep, a list of lists. Its axes are the constants
    `sweep_NAMEs`, each of them the values tried of the constant NAME, rows first.
    """
    tables = []
    for metric in found.metrics.values():
        values = found.figures.get(f"{metric.key}{SWEEP}")
        constants = metric.constants
        axes = [name for name in constants if f"sweep_{name}s" in constants]
        if values is None or len(axes) != 2:
            continue
        down, across = (constants[f"sweep_{name}s"] for name in axes)
        first, second = (name.replace("_", " ") for name in axes)
        own = (constants[axes[0]], constants[axes[1]])
        default = own if own[0] in down and own[1] in across else None
        bounds = metric.bounds or (0.0, max(1e-9, *(v for row in values for v in row)))
        tables.append(
            Sensitivity(metric.name, (first, down), (second, across), values, default, bounds)
        )
    return tables


def _levels(found: Measured, metric: MeasuredMetric) -> dict[str, float]:
    """What a metric of maps gives for those that know nothing of the image, or all of its parts."""
    if metric not in found.map_metrics:
        return {}
    return {
        explainer.title: explainer.scores[metric.key]
        for explainer in found.explainers.values()
        if explainer.kind in ("floor", "ceiling") and explainer.scores.get(metric.key) is not None
    }


def _better(metric: MeasuredMetric) -> Better | None:
    found: dict[bool | None, Better | None] = {True: "higher", False: "lower", None: None}
    return found[metric.higher_is_better]


def notes(network: PrototypeNetwork, found: Measured) -> list[str]:
    """Return the honest limits of what the report shows."""
    height, width = network.input_config.size
    head = network.classifier.inspection
    shown = [
        "Exactness is linear algebra: any vectors that sum to a row of the head are exact. That "
        "the parts mean something is for the metrics to show, beside their chance levels.",
        head.words.limit,
        f"Maps are as coarse as the features of the last stage and are enlarged to {height} x "
        f"{width} pixels for show; a cell's receptive field is larger than the cell.",
        "How the residual is shared, the starting point of the factorisation and the images used "
        "are decisions of this package where the paper leaves them open.",
        "Metrics that need keypoints, masks or boxes are left out where the data has none.",
    ]
    if found.figures["max_logit_error"] > 1e-3:
        shown.append(
            "Logits differ by more than rounding in 32-bit would explain: the black box probably "
            "ran in lower precision than the sum of parts."
        )
    return shown

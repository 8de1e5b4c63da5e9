"""The report's numbers in words: what was measured, against what, and where its limits are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.classifier.head_case import CASES, MAPS, HeadCase
from ppn.metrics.consistency import SWEEP_THRESHOLDS
from ppn.metrics.windows import SWEEP_HALF_SIZES
from ppn.report.content import Fact, Metric, Sensitivity, StrategyRow

if TYPE_CHECKING:
    from ppn.tasks.prototypes import PrototypeTask

_CHANCE = {"random": "random maps", "centre": "image centre", "uniform": "uniform map"}
# Key in the results: title, unit, and what it measures.
_METRICS = {
    "consistency": (
        "Consistency",
        "%",
        "Share of prototypes whose maximum covers the same annotated part in most of their "
        "class's images.",
    ),
    "stability": (
        "Stability",
        "%",
        "Share of images on which noise does not change the parts that a prototype covers. Maps "
        "that ignore the image are perfectly stable: read it beside consistency.",
    ),
    "distinctiveness": (
        "Distinctiveness",
        "",
        "1 minus the mean overlap of fixed boxes at the maxima of a class's prototypes.",
    ),
    "distinct_peaks": (
        "Distinct peaks",
        "",
        "1 minus the share of prototype pairs whose maxima lie in the same cell.",
    ),
}
_COLUMNS = {"consistency": "Consistency %", "stability": "Stability %"} | {
    name: name.capitalize() for name in ("distinctiveness", "distinct_peaks")
}


_LIMITS: dict[HeadCase, str] = {
    "mean_linear": (
        "The sum of a class's maps is its class activation map; what is new is the split."
    ),
    "mean_norm_linear": (
        "The sum of a class's maps is its class activation map, times one factor per image; what "
        "is new is the split."
    ),
    "class_token": (
        "Maps are indicative: this black box classifies its class token alone. Contributions are "
        "exact; a map shows which patch tokens are like a part in the class token's space, not "
        "what they contribute."
    ),
    "pre_logits": (
        "Maps are the gradient of a contribution times the patch features: layers lie between "
        "patches and the last linear one. Contributions are exact; a map's mean misses its "
        "contribution by the completeness error."
    ),
}


def facts(figures: dict[str, Any]) -> list[Fact]:
    """Return the key numbers, shown large."""
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
    if figures.get("consistency") is not None:
        chance = figures["chance"]
        shown.append(
            Fact(
                "Consistency",
                figures["consistency"],
                f"chance: {chance['centre']['consistency']:.0f} % at the image centre, "
                f"{chance['random']['consistency']:.0f} % for random maps",
                "%",
            )
        )
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


def certificate_facts(network: PrototypeTask) -> list[Fact]:
    """Return what discovery measured on training images, and the head it found."""
    values = network.certificate
    head = network.classifier.report
    shown = [
        Fact("Head", CASES[head.case], "found by computing on input, not by the model's name"),
        Fact("What is exact", head.level, MAPS[head.case]),
    ]
    if not values:
        return shown
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
        ),
        Fact(
            "Largest difference of weights",
            values["max_sum_error"],
            "sum of the prototypes against the row of the head, relative to max |v|",
        ),
        Fact(
            "Residual share",
            values["residual_share"],
            "norm of what the discovered directions leave of a row, over the row's norm",
        ),
        Fact(
            "Cosine to the discovered parts",
            values["cosine"],
            "mean over prototypes, after refinement",
        ),
        Fact(
            "Moved maxima",
            100 * values["peak_shift"],
            "images on which refinement moved a map's maximum to another cell",
            "%",
        ),
        Fact(
            "Negative contributions",
            100 * values["negative_share"],
            "of a class's prototypes to its logit, on its own images",
            "%",
        ),
        Fact("Fallbacks", values["fell_back"], "classes refined by `equal` instead"),
    ]


def metrics(figures: dict[str, Any]) -> list[Metric]:
    """Return the measured metrics with their chance levels and constants."""
    shown = []
    for key, (title, unit, text) in _METRICS.items():
        if figures.get(key) is None:
            continue
        protocol = figures["protocols"][key]
        chance = {
            name: row[key]
            for kind, name in _CHANCE.items()
            if (row := figures["chance"][kind]).get(key) is not None
        }
        shown.append(
            Metric(
                title,
                figures[key],
                unit,
                chance,
                protocol["protocol"],
                protocol["constants"],
                text,
                figures.get(f"{key}_standard_error"),
            )
        )
    return shown


def strategies(figures: dict[str, Any]) -> list[StrategyRow]:
    """Return one row for each refinement strategy that was evaluated."""
    return [
        StrategyRow(
            name,
            {title: row[key] for key, title in _COLUMNS.items() if row.get(key) is not None},
            chosen=name == figures["strategy"],
            exact=name != "unrefined",
        )
        for name, row in figures["strategies"].items()
    ]


def sensitivity(figures: dict[str, Any]) -> Sensitivity | None:
    """Return consistency over the protocol's constants, where parts are annotated."""
    if figures.get("consistency_sweep") is None:
        return None
    constants = figures["protocols"]["consistency"]["constants"]
    half_sizes, thresholds = list(SWEEP_HALF_SIZES), list(SWEEP_THRESHOLDS)
    default = (36, constants["threshold"])
    return Sensitivity(half_sizes, thresholds, figures["consistency_sweep"], default)


def notes(network: PrototypeTask, figures: dict[str, Any]) -> list[str]:
    """Return the honest limits of what the report shows."""
    height, width = network.input_config.size
    head = network.classifier.report
    shown = [
        "Exactness is linear algebra: any vectors that sum to a row of the head are exact. That "
        "the parts mean something is for the metrics to show, beside their chance levels.",
        _LIMITS[head.case],
        f"Maps are as coarse as the features of the last stage and are enlarged to {height} x "
        f"{width} pixels for show; a cell's receptive field is larger than the cell.",
        "How the residual is shared, the starting point of the factorisation and the images used "
        "are decisions of this package where the paper leaves them open.",
    ]
    if figures.get("consistency") is None:
        shown.append("The data has no part annotations, so consistency and stability are missing.")
    if figures["max_logit_error"] > 1e-3:
        shown.append(
            "Logits differ by more than rounding in 32-bit would explain: the black box probably "
            "ran in lower precision than the sum of parts."
        )
    return shown

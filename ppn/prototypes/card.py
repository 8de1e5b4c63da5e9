"""The model card of a shared network, made from what was measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ppn.classifier.hugging_face import HUGGING_FACE
from ppn.data.build import title_of
from ppn.errors import DataError
from ppn.io.files import parse_json, parse_yaml
from ppn.io.schema import Maybe, mismatch
from ppn.prototypes.patches import FOLDER
from ppn.visualization.numbers import number

if TYPE_CHECKING:
    from pathlib import Path

    from ppn.prototypes.network import PrototypeNetwork

_SHOWN = 8
_LISTED = 40
_SCHEMA = {
    "images": int,
    "accuracy": float,
    "blackbox_accuracy": float,
    "agreement": float,
    "metrics": {str: {"title": str, "unit": str, "higher_is_better": Maybe(bool)}},
    "explainers": {str: {"kind": str, "title": str}},
}


def model_card(
    network: PrototypeNetwork, repo_id: str, whole: bool, metrics: dict[str, Any] | None = None
) -> str:
    """Return the text of a model card.

    Args:
        network: The network.
        repo_id: Where it will be.
        whole: Whether the classifier is there too.
        metrics: What `read_metrics` gives; None: the card says that nothing was measured.
    """
    edits = network.certificate.get("edits")
    given = "" if whole else ", model=model"
    extras = (
        "hub,hf"
        if whole and str(network.structure.get("architecture")).startswith(HUGGING_FACE)
        else "hub"
    )
    structure = network.structure
    lines = [
        "---",
        "library_name: ppn",
        "pipeline_tag: image-classification",
        "tags: [explainability, part-prototypes, image-classification]",
        "---",
        f"# {repo_id.rsplit('/', 1)[-1]}",
        "",
        f"A classifier ({structure.get('architecture') or 'of its authors'}) of "
        f"{len(network.class_names)} classes whose every logit is a sum of {network.k} parts and a "
        "bias: a post-hoc part-prototype network (Tan, Zhou and Chen, ICML 2024), made by ppn.",
        "",
        "## How to load",
        "",
        "```python",
        "import ppn",
        "",
        f'network = ppn.load("hf://{repo_id}"{given})',
        'network.explain("image.jpg").save("explanation.png")',
        "```",
        "",
        f"This needs the Python package `ppn[{extras}]`. The files are safetensors, JSON and "
        "pictures; no code is loaded.",
    ]
    if not whole:
        lines.append(
            "The classifier is not in this repository: `model` is the one they were found for."
        )
    lines += ["", "## What is exact", "", network.exactness, ""]
    if edits:
        lines.append(
            f"**Edited:** {'; '.join(edits['what'])}. "
            + (
                "Logits are still those of the classifier as it was trained."
                if edits["is_black_box"]
                else "Logits are no longer those of the classifier as it was trained."
            )
            + " The certificate is of the network as it was found, before."
        )
        lines.append("")
    lines += _certificate(network)
    lines += ["## Measured", "", *(_measured(metrics) if metrics else [_UNMEASURED]), ""]
    lines += ["## Parts", "", *_pictures(network), ""]
    lines += ["## Data and settings", "", *_data(network), "", "## Limits", "", *_limits(network)]
    return "\n".join(lines) + "\n"


def read_metrics(path: Path) -> dict[str, Any]:
    """Read `metrics.json` of a run, and as `data` the name of the data set from its config.

    Raises:
        DataError: If it is missing or something else.
    """
    try:
        content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        wrong = mismatch(content, _SCHEMA)
        if wrong is not None:
            raise ValueError(wrong)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not the metrics.json of an evaluation ({error}): give the folder of "
            "`ppn test`."
        ) from None
    return {**content, "data": _data_set(path.with_name("config.yaml"))}


def _data_set(config: Path) -> str:
    """Name of the data set of a run; empty where it is not known."""
    try:
        return title_of(parse_yaml(config.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""


_UNMEASURED = (
    "Nothing was measured on test images for this card. Exactness alone does not make parts "
    "meaningful: evaluate with `ppn test` before you rely on them."
)


def _certificate(network: PrototypeNetwork) -> list[str]:
    shown = {
        "images": "training images checked",
        "agreement": "agreement of predictions (share)",
        "max_logit_error": "largest difference of logits",
        "max_sum_error": "largest difference of weights, relative",
        "residual_share": "share of a row that the discovered directions leave",
        "cosine": "mean cosine of refined and discovered parts",
    }
    found = [(words, network.certificate.get(key)) for key, words in shown.items()]
    maps = network.certificate.get("maps") or {}
    found += [
        ("share of complete maps without a place", maps.get("elsewhere")),
        ("runs behind the cut for an image's complete maps", maps.get("nodes")),
    ]
    rows = [f"| {words} | {number(value)} |" for words, value in found if value is not None]
    return ["| certificate | |", "| --- | --- |", *rows, ""] if rows else []


def _measured(metrics: dict[str, Any]) -> list[str]:
    """Accuracies, and a table of metrics with floors and ceilings beside each other."""
    of = f" of {metrics['data']}" if metrics.get("data") else ""
    rows = [
        f"On {metrics['images']} images{of} ({metrics.get('split', 'unknown')} split): accuracy "
        f"{metrics['accuracy']:.2%}, of the classifier as it was trained "
        f"{metrics['blackbox_accuracy']:.2%}; both predict the same class in "
        f"{metrics['agreement']:.2%}.",
        "",
    ]
    explainers = metrics["explainers"]
    keys = [
        key
        for key in metrics["metrics"]
        if sum(isinstance(row.get(key), int | float) for row in explainers.values()) > 1
    ]
    if not keys:
        return rows
    heads = [_head(metrics["metrics"][key]) for key in keys]
    rows += [f"| maps | {' | '.join(heads)} |", f"| --- |{' --- |' * len(keys)}"]
    for name, row in explainers.items():
        values = " | ".join(number(row.get(key)) for key in keys)
        title = f"{row['title']} ({row['kind']})"
        mine = name == metrics.get("refinement")
        rows.append(f"| {f'**{title}, this network**' if mine else title} | {values} |")
    return [*rows, "", "Read the floors and ceilings first: a score means little alone."]


def _head(metric: dict[str, Any]) -> str:
    higher = metric.get("higher_is_better")
    arrow = "" if higher is None else " ↑" if higher else " ↓"
    return f"{metric['title']}{' ' + metric['unit'] if metric['unit'] else ''}{arrow}"


def _pictures(network: PrototypeNetwork) -> list[str]:
    labels = network.dictionary.found.nonzero()[:_SHOWN, 0].tolist()
    if network.patches is None:
        return ["No pictures of training patches were at hand."]
    rows = [
        f"![The nearest training patch of each part of {network.class_names[label]}]"
        f"({FOLDER}/{label:05d}.jpg)  \n{network.class_names[label]}\n"
        for label in labels
    ]
    return ["The nearest training patch of each part, of the first classes:", "", *rows]


def _data(network: PrototypeNetwork) -> list[str]:
    names = network.class_names
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    images = int(network.dictionary.images.sum())
    size = " x ".join(map(str, network.input_config.size))
    return [
        f"- Prototypes were found on {images} training images, at {size} pixels.",
        f"- Classes: {', '.join(names[:_LISTED])}{more}.",
        f"- Settings: `{json.dumps(network.settings)}`",
    ]


def _limits(network: PrototypeNetwork) -> list[str]:
    return [
        f"- {network.classifier.inspection.words.limit}",
        "- Exactness is linear algebra: it says that nothing is hidden, not that parts mean "
        "anything to people.",
        "- The pictures of patches are cut from training images.",
    ]

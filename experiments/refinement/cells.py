"""One cell of the study: a way to find parts, a number of them, and a seed; all refinements."""

from __future__ import annotations

import json
import time
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import torch

from ppn.data.split import stratified_split
from ppn.discovery.parts import discover_parts
from ppn.io.files import write_json
from ppn.metrics.base import EvaluationShape, Observation
from ppn.metrics.defaults import default_floors, default_metrics
from ppn.metrics.evaluation import MetricSet, measurable
from ppn.refinement.refine import ClassProblem, Strategy, refine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from experiments.refinement.tokens import Extracted

DISCOVERERS = {
    "CAM-weighted NMF": ("nmf", "cam"),
    "NMF": ("nmf", "none"),
    "FAISS k-means": ("kmeans", "none"),
}
KS = (1, 3, 5, 10)
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""lambda of `cam_split`; the other strategies have none."""
HELD_OUT = 0.3
"""Share of each class's training images that discovery does not see and that are scored."""
METRICS = ("consistency", "stability", "distinct_peaks", "distinctiveness")


class Cell(NamedTuple):
    """Which parts: `discoverer` is a key of `DISCOVERERS`."""

    discoverer: str
    k: int
    seed: int

    @property
    def stem(self) -> str:
        """Name of its file."""
        return f"{self.discoverer.replace(' ', '-')}-k{self.k}-seed{self.seed}"


def cells(seeds: int, ks: tuple[int, ...] = KS) -> list[Cell]:
    """Return all cells, seed after seed, so that an early stop leaves whole comparisons."""
    return [Cell(name, k, seed) for seed, k, name in product(range(seeds), ks, DISCOVERERS)]


def score(cell: Cell, extracted: Extracted, key: str, folder: Path) -> list[dict[str, Any]]:
    """Score all refinements of a cell on its held-out images, or read what was found before.

    Args:
        cell: The cell.
        extracted: Tokens of the training images.
        key: Hash of what the tokens depend on.
        folder: Where the cell's file is kept; it appears when it is whole.

    Returns:
        A row per refinement and chance level.
    """
    file = folder / f"{cell.stem}.json"
    asked = [key, *(list(refinement) for refinement in refinements())]
    if file.is_file():
        kept = json.loads(file.read_text())
        if kept["key"] == asked:
            return list(kept["rows"])
    rows = list(_rows(cell, extracted))
    write_json(file, {"key": asked, "rows": rows})
    return rows


def refinements() -> list[tuple[Strategy, float]]:
    """Return each strategy with the lambda to try."""
    others: list[Strategy] = [s for s in get_args(Strategy) if s != "cam_split"]
    return [("cam_split", s) for s in STRENGTHS] + [(name, 1.0) for name in others]


@torch.no_grad()
def _rows(cell: Cell, extracted: Extracted) -> Iterator[dict[str, Any]]:
    labels = extracted.labels
    train, held = (
        torch.from_numpy(part) for part in stratified_split(labels.numpy(), HELD_OUT, cell.seed)
    )
    classes = labels[train].unique().tolist()
    groups = [extracted.clean[train[labels[train] == c]].flatten(0, 1) for c in classes]
    discoverer, weighting = DISCOVERERS[cell.discoverer]
    began = time.perf_counter()
    factors = discover_parts(
        groups,
        extracted.weight[classes].float(),
        cell.k,
        [str(c) for c in classes],
        discoverer,  # type: ignore[arg-type]
        "nndsvda",
        weighting,  # type: ignore[arg-type]
        cell.seed,
    )
    found = time.perf_counter() - began
    for strategy, strength in refinements():
        began = time.perf_counter()
        prototypes = torch.zeros(len(extracted.weight), cell.k, extracted.weight.shape[1])
        for label, tokens, factor in zip(classes, groups, factors, strict=True):
            row = extracted.weight[label]
            problem = ClassProblem(
                tokens, factor.coefficients, factor.parts, row, "least_squares", strength
            )
            prototypes[label] = refine(problem, strategy).prototypes
        seconds = time.perf_counter() - began
        own = prototypes[labels[held]].mT
        maps = [
            (tokens[held] @ own).mT.reshape(len(held), cell.k, *extracted.grid)
            for tokens in (extracted.clean, extracted.noisy)
        ]
        figures = _figures(cell, extracted, held, maps)
        lam = strength if strategy == "cam_split" else None
        yield _row(cell, strategy, lam, figures) | {"discovery_s": found, "refinement_s": seconds}
    for floor in default_floors():
        shape = (cell.k, *extracted.grid)
        indices = extracted.indices[held]
        maps = [floor.maps(indices, labels[held], shape, cell.seed, draw) for draw in range(2)]
        yield _row(cell, floor.title, None, _figures(cell, extracted, held, maps))


def _figures(
    cell: Cell, extracted: Extracted, held: Tensor, maps: list[Tensor]
) -> dict[str, float | None]:
    parts = [str(part) for part in range(extracted.keypoints.shape[1])]
    shape = EvaluationShape(len(extracted.weight), cell.k, parts, extracted.size)
    chosen = [metric for metric in default_metrics() if metric.key in METRICS]
    scores = MetricSet(measurable(chosen, shape), shape)
    no_logits = maps[0].new_zeros(len(held), 0)
    batch: Any = {"keypoints": extracted.keypoints[held], "label": extracted.labels[held]}
    scores.update(Observation(batch, no_logits, no_logits, *maps))
    found = scores.compute()
    return {name: found[name].figures[name] if name in found else None for name in METRICS}


def _row(
    cell: Cell, maps: str, strength: float | None, figures: dict[str, float | None]
) -> dict[str, Any]:
    return {**cell._asdict(), "maps": maps, "lambda": strength, **figures}

"""One cell of the study: a way to find parts, a number of them, and a seed; all refinements."""

from __future__ import annotations

import json
import time
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ppn.data.split import stratified_split
from ppn.discovery import NMF, ClassTokens, KMeans
from ppn.io.files import write_json
from ppn.metrics import Consistency, Distinctiveness, DistinctPeaks, EvaluationShape, Stability
from ppn.metrics.base import Observation
from ppn.metrics.defaults import default_floors
from ppn.metrics.evaluation import MetricSet, measurable
from ppn.prototypes.fit import find_parts, refine
from ppn.refinement import Alpha, CamSplit, ChannelShare, Equal, NelderMead, Unrefined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from experiments.refinement.tokens import Extracted
    from ppn.discovery import Discoverer
    from ppn.refinement import Refinement

DISCOVERERS: dict[str, Callable[[int], Discoverer]] = {
    "CAM-weighted NMF": lambda seed: NMF(seed=seed),
    "NMF": lambda seed: NMF(token_weighting="none", seed=seed),
    "FAISS k-means": lambda seed: KMeans(seed=seed),
}
"""By their names in the tables, from a seed."""
KS = (1, 3, 5, 10)
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
"""lambda of the default refinement; the others have none."""
HELD_OUT = 0.3
"""Share of each class's training images that discovery does not see and that are scored."""
METRICS = (Consistency, Stability, DistinctPeaks, Distinctiveness)
"""What is scored; the first one judges, and the third tells what it may cost."""
JUDGE, _, COST, _ = METRICS
REFINEMENT = CamSplit()
"""The refinement that the others are held against."""


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
    asked = [key, [m.key for m in METRICS], *([way.key, way.options] for way in refinements())]
    if file.is_file():
        kept = json.loads(file.read_text())
        if kept["key"] == asked:
            return list(kept["rows"])
    rows = list(_rows(cell, extracted))
    write_json(file, {"key": asked, "rows": rows})
    return rows


def refinements() -> list[Refinement]:
    """Return what is compared."""
    others = [Equal(), Alpha(), ChannelShare(), NelderMead(), Unrefined()]
    return [*(CamSplit(ridge) for ridge in RIDGES), *others]


@torch.no_grad()
def _rows(cell: Cell, extracted: Extracted) -> Iterator[dict[str, Any]]:
    labels = extracted.labels
    train, held = (
        torch.from_numpy(part) for part in stratified_split(labels.numpy(), HELD_OUT, cell.seed)
    )
    classes = labels[train].unique().tolist()
    groups = [
        ClassTokens(
            label,
            str(label),
            extracted.clean[train[labels[train] == label]],
            train[labels[train] == label],
            grid=extracted.grid,
        )
        for label in classes
    ]
    began = time.perf_counter()
    problems = find_parts(groups, extracted.weight, cell.k, DISCOVERERS[cell.discoverer](cell.seed))
    found = time.perf_counter() - began
    for way in refinements():
        began = time.perf_counter()
        prototypes = torch.zeros(len(extracted.weight), cell.k, extracted.weight.shape[1])
        for group, problem in zip(groups, problems, strict=True):
            prototypes[group.label] = refine(problem, group.name, way).prototypes
        seconds = time.perf_counter() - began
        own = prototypes[labels[held]].mT
        maps = [
            (tokens[held] @ own).mT.reshape(len(held), cell.k, *extracted.grid)
            for tokens in (extracted.clean, extracted.noisy)
        ]
        figures = _figures(cell, extracted, held, maps)
        row = _row(cell, way.key, way.options.get("ridge"), "method", way.exact, figures)
        yield row | {"discovery_s": found, "refinement_s": seconds}
    for floor in default_floors():
        shape = (cell.k, *extracted.grid)
        indices = extracted.indices[held]
        maps = [floor.maps(indices, labels[held], shape, cell.seed, draw) for draw in range(2)]
        figures = _figures(cell, extracted, held, maps)
        yield _row(cell, floor.title, None, floor.kind, floor.exact, figures)


def _figures(
    cell: Cell, extracted: Extracted, held: Tensor, maps: list[Tensor]
) -> dict[str, float | None]:
    names = [str(part) for part in range(extracted.keypoints.shape[1])]
    shape = EvaluationShape(len(extracted.weight), cell.k, names, extracted.size)
    scores = MetricSet(measurable([metric() for metric in METRICS], shape), shape)
    batch: Any = {"keypoints": extracted.keypoints[held], "label": extracted.labels[held]}
    nothing = torch.zeros(len(held), 0)
    scores.update(Observation(batch, nothing, nothing, *maps))
    found = scores.compute()
    return {m.key: found[m.key].figures[m.key] if m.key in found else None for m in METRICS}


def _row(
    cell: Cell,
    maps: str,
    ridge: float | None,
    kind: str,
    exact: bool,
    figures: dict[str, float | None],
) -> dict[str, Any]:
    told = {"maps": maps, "lambda": ridge, "kind": kind, "exact": exact}
    return {**cell._asdict(), **told, **figures}

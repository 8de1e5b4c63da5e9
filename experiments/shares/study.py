"""Ways to share the class activation map, scored class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from experiments.shares.parts_of import GROUPS
from experiments.shares.scores import METRICS, Sample, scores
from ppn.data.split import stratified_split
from ppn.discovery import NMF, ClassTokens
from ppn.discovery.points import grouped_points, point_evidence
from ppn.explainers.ceiling import annotated_split
from ppn.explainers.chance import CentreMaps, RandomMaps, UniformMaps
from ppn.explainers.control import other_class_exact, random_exact
from ppn.metrics.maps import peak
from ppn.metrics.windows import part_hits
from ppn.prototypes.fit import find_parts
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from experiments.shares.tokens import Extracted
    from ppn.discovery import Discoverer
    from ppn.refinement import ClassProblem

HELD_OUT = 0.3
"""Share of each class's training images that are scored, and not seen, to choose constants."""
Table = dict[str, list["Tensor"]]
"""Way -> one (metrics, C) tensor per seed or draw."""


class Setting(NamedTuple):
    """`seen`: the training images of each class that may be used; `sample`: what is scored."""

    extracted: Extracted
    k: int
    seen: list[Tensor]
    sample: Sample

    def problems(
        self, discoverer: Discoverer, k: int, labels: Iterable[int] | None = None
    ) -> Iterator[tuple[int, ClassProblem]]:
        """Find the parts of one class after the other; None: of all."""
        extracted, kinds = self.extracted, self.extracted.train.tokens
        tokens, earlier = kinds["clean"], kinds.get("earlier")
        for label in range(len(self.seen)) if labels is None else labels:
            rows = self.seen[label]
            more = None if earlier is None else earlier[rows]
            item = ClassTokens(label, str(label), tokens[rows], rows, None, extracted.grid, more)
            (problem,) = find_parts([item], extracted.weight, k, discoverer)
            yield label, problem

    def score(self, prototypes: Tensor, parts: int | None = None) -> Tensor:
        """Return (metrics, C)."""
        found = scores(self.extracted, self.sample, prototypes, parts)
        return torch.stack([found[name] for name in METRICS])

    def empty(self, k: int) -> Tensor:
        """(C, k, D) of NaN: classes that are not explained."""
        return torch.full((len(self.seen), k, self.extracted.weight.shape[1]), torch.nan)


def held_out(extracted: Extracted, k: int, seed: int) -> Setting:
    """Training images in two halves."""
    labels = extracted.train.labels
    train, held = (torch.from_numpy(i) for i in stratified_split(labels.numpy(), HELD_OUT, seed))
    seen = [train[labels[train] == label] for label in range(len(extracted.weight))]
    return Setting(extracted, k, seen, Sample(extracted.train, held))


def tested(extracted: Extracted, k: int) -> Setting:
    """All training images, and the test images."""
    labels = extracted.train.labels
    seen = [(labels == label).nonzero()[:, 0] for label in range(len(extracted.weight))]
    return Setting(
        extracted, k, seen, Sample(extracted.test, torch.arange(len(extracted.test.labels)))
    )


WAYS: dict[str, CompactSplit] = {
    "cam_split, lambda 3": CompactSplit(rounds=0),
    "cam_split, lambda 1": CompactSplit(ridge=1.0, rounds=0),
    "compact": CompactSplit(),
    "compact, lambda 1": CompactSplit(ridge=1.0),
    "compact, spread 0.06": CompactSplit(spread=0.06),
    "compact, spread 0.11": CompactSplit(spread=0.11),
    "compact, spread 0.15": CompactSplit(spread=0.15),
    "compact, 1 round": CompactSplit(rounds=1),
    "compact, 6 rounds": CompactSplit(rounds=6),
    "compact, power 2": CompactSplit(power=2.0),
    "compact, power 8": CompactSplit(power=8.0),
}
DEFAULT, COMPACT = "cam_split, lambda 3", "compact"


def without_labels(setting: Setting, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return prototypes (C, k, D) of some of `WAYS`."""
    found = {name: setting.empty(setting.k) for name in names}
    for label, problem in setting.problems(NMF(), setting.k):
        for name in names:
            found[name][label] = WAYS[name].refine(problem).prototypes
    return found


def levels(setting: Setting, name: str, own: Tensor) -> dict[str, Tensor]:
    """Return prototypes (C, k, D) of ceiling and controls; `own`: of the default."""
    extracted = setting.extracted
    ceiling = setting.empty(setting.k)
    for label, rows in enumerate(setting.seen):
        points = grouped(extracted, name, setting.k, rows)
        evidence = point_evidence(points, extracted.grid, (extracted.size, extracted.size))
        tokens = extracted.train.tokens["clean"][rows]
        ceiling[label] = annotated_split(tokens, evidence, extracted.weight[label])
    return {
        "parts from keypoints (ceiling)": ceiling,
        "random, made exact (control)": random_exact(extracted.weight, setting.k),
        "another class's, made exact (control)": other_class_exact(own, extracted.weight),
    }


def floors(setting: Setting) -> dict[str, float]:
    """Return the consistency of maps that know nothing of the image, in percent."""
    extracted, (images, rows) = setting.extracted, setting.sample
    size = (extracted.size, extracted.size)
    found = {}
    for floor in (RandomMaps(), CentreMaps(), UniformMaps()):
        shape = (setting.k, *extracted.grid)
        maps = floor.maps(images.indices[rows], images.labels[rows], shape, 0, 0)
        points = images.keypoints[rows]
        hits = part_hits(peak(maps, size), points, [36], size)[0]
        shares = []
        for label in range(len(setting.seen)):
            of = images.labels[rows] == label
            visible = (points[of][..., 2] > 0).sum(0).clamp(min=1)
            shares.append(((hits[of].double().sum(0) / visible).amax(1) >= 0.8).double().mean())
        found[floor.key] = 100 * float(torch.stack(shares).mean())
    return found


def grouped(extracted: Extracted, name: str, k: int, rows: Tensor) -> Tensor:
    """Return the points of named parts on some training images."""
    return grouped_points(extracted.train.keypoints[rows], extracted.part_names, GROUPS[name][k])

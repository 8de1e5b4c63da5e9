"""Names from a few clicked images of other classes: how many, and which ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from experiments.shares.parts_of import GROUPS
from experiments.shares.study import grouped
from ppn.discovery.choosing import choose_images, image_uncertainty
from ppn.discovery.named_parts import NamedParts
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.shares.study import Setting

STEP = 10
"""Images that are annotated before the classifier is asked again which ones come next."""
RESTS = (0.0, 0.1, 0.3)


class Named(NamedTuple):
    """What clicks on other classes give.

    `prototypes` by way (C, k or k + 1, D); `accuracy`, `missed` of points of classes that were not
    annotated; `rest` the remainder's share of the mean logit, by way; `seconds` that the classifier
    of tokens took to learn from the clicked images.
    """

    prototypes: dict[str, Tensor]
    accuracy: float
    missed: float
    rest: dict[str, float]
    seconds: float


def named(setting: Setting, name: str, clicked: int, seed: int, chosen: bool = False) -> Named:
    """Learn names from images of a random half of the classes, and explain the other half.

    Args:
        setting: What is explained.
        name: Short name of the data set.
        clicked: How many images are annotated.
        seed: Seed of the draw of classes, and of images.
        chosen: Whether images are chosen as `ppn annotate` proposes them, by classes not seen and
            by what is least sure, not at random.
    """
    extracted, k = setting.extracted, setting.k
    train, size = extracted.train, (extracted.size, extracted.size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(setting.seen), generator=generator)
    teach, explain = order[: len(order) // 2], order[len(order) // 2 :]
    pool = torch.isin(train.labels, teach).nonzero()[:, 0]
    pool = pool[torch.randperm(len(pool), generator=generator)]
    way = NamedParts(GROUPS[name][k])
    rows = _chosen(setting, name, way, pool, clicked) if chosen else pool[:clicked]
    began = time.thread_time()
    _learn(setting, name, way, rows)
    seconds = time.thread_time() - began
    assert way.classifier is not None
    others = torch.isin(train.labels, explain).nonzero()[:, 0]
    points = grouped(extracted, name, k, others)
    told = way.classifier.accuracy(train.tokens["clean"][others], points, extracted.grid, size)
    prototypes: dict[str, Tensor] = {}
    shares: dict[str, float] = {}
    split = CompactSplit(ridge=1.0, rounds=2)
    for rest in RESTS:
        way = NamedParts(GROUPS[name][k], rest=rest)
        _learn(setting, name, way, rows)
        title = f"named, {clicked} images{', chosen' if chosen else ''}"
        title += f", rest {rest}" if rest else ""
        found, of_rest = setting.empty(k + (rest > 0)), []
        for label, problem in setting.problems(way, k + (rest > 0), explain.tolist()):
            found[label] = split.refine(problem).prototypes
            each = found[label] @ problem.tokens.mean(0)
            of_rest.append(float(each[-1] / each.sum()))
        prototypes[title] = found
        if rest:
            shares[title] = sum(of_rest) / len(of_rest)
    return Named(prototypes, told.accuracy, told.missed, shares, seconds)


def _learn(setting: Setting, name: str, way: NamedParts, rows: Tensor) -> None:
    extracted = setting.extracted
    size = (extracted.size, extracted.size)
    points = grouped(extracted, name, setting.k, rows)
    way.learn(extracted.train.tokens["clean"][rows], points, extracted.grid, size)


def _chosen(setting: Setting, name: str, way: NamedParts, pool: Tensor, clicked: int) -> Tensor:
    """As a person would annotate: some images, then those that are proposed after them."""
    train = setting.extracted.train
    labels, done = train.labels[pool], torch.zeros(0, dtype=torch.int64)
    unsure = torch.zeros(len(pool))
    while len(done) < min(clicked, len(pool)):
        done = torch.cat(
            [done, choose_images(labels, unsure, done, min(STEP, clicked - len(done)))]
        )
        _learn(setting, name, way, pool[done])
        assert way.classifier is not None
        tokens = torch.split(train.tokens["clean"][pool], 64)
        unsure = torch.cat([image_uncertainty(way.classifier(some)) for some in tokens])
    return pool[done]

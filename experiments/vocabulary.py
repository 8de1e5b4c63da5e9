"""Do entries of a shared vocabulary match true pairs of part and colour, on drawn birds?

Usage: python -m experiments.vocabulary [--num_classes 24] [--first 0] [--train_per_class 20]
       [--test_per_class 10]

Every patch that a prototype fires on most, in images of its class, has a true pair: the part that
covers most of it, and the class's value of that part's attribute ("wing, two bars"), both from the
drawing. An entry is pure if its patches, in all classes that use it, are of one pair.

- Purity is the share of patches of test images that are of their entry's commonest pair. An entry
  with few patches scores high by chance, and those of one class alone have few. So "told" is the
  same share where the commonest pair is that of the entry's patches in training images.
- Completeness is the share of the entropy of pairs' patches that is not spread over several
  entries, and the V-measure joins it with homogeneity (Rosenberg and Hirschberg, EMNLP 2007).

In brackets: the difference from prototypes of each class alone, with its 95 % bootstrap interval
over classes.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from experiments.entries import Patches, measures, shared_residual, v_interval
from experiments.shares.tokens import logistic_head
from ppn.classifier.build import build_classifier
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.data.synthetic.anatomy import PART_NAMES
from ppn.data.synthetic.datamodule import SyntheticBirds
from ppn.discovery import NMF, ClassTokens, NamedParts, Vocabulary
from ppn.metrics.intervals import paired_difference
from ppn.prototypes.diagnostics import PatchGrid
from ppn.prototypes.fit import find_parts
from ppn.prototypes.looks import Looks
from ppn.refinement import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ppn.classifier import Classifier
    from ppn.discovery import Discoverer
    from ppn.types import Split

ATTRIBUTE = {
    "crown": "crown",
    "beak": "beak",
    "eye": "eye",
    "wing": "wing",
    "breast": "breast",
    "tail": "tail",
    "left leg": "legs",
    "right leg": "legs",
}
"""Which attribute of a class shows on a part; the others' colours are chance."""
NAMED = {3: ("crown", "wing", "breast"), 5: ("crown", "wing", "breast", "beak", "tail")}
"""Which parts are named, by how many."""


class Birds(NamedTuple):
    """Images: `tokens` (n, N, D), `labels` (n,), `mask` (n, H, W), `points` (n, P, 3), `grid`.

    `earlier` (n, N, E) of an earlier layer.
    """

    tokens: Tensor
    labels: Tensor
    mask: Tensor
    points: Tensor
    earlier: Tensor
    grid: tuple[int, int]


@torch.no_grad()
def seen(data: SyntheticBirdsDataModule, split: Split, first: int, classifier: Classifier) -> Birds:
    """Run a classifier over the images of a split, from class `first` on."""
    found: list[list[Tensor]] = [[], [], [], [], []]
    grid = (0, 0)
    view = data.view(split)
    for batch in DataLoader(view.at(view.indices[view.labels >= first]), batch_size=32):
        with classifier.looking_earlier():
            tokens = classifier(batch["image"])
        grid, label = tokens.grid, batch["label"] - first
        assert tokens.earlier is not None
        given = (tokens.tokens.float(), label, batch["mask"], batch["keypoints"], tokens.earlier)
        for column, value in zip(found, given, strict=True):
            column.append(value)
    return Birds(*(torch.cat(column) for column in found), grid)


def pair_of(mask: Tensor, box: Tensor, values: dict[str, str]) -> str:
    """Return the true pair of a patch: the part that covers most of it, and its value.

    Args:
        mask: (H, W) uint8, 0 background and i + 1 part i.
        box: (4,) x0, y0, x1, y1 in pixels.
        values: The class's value of each attribute.
    """
    x0, y0, x1, y1 = (round(value) for value in box.tolist())
    counts = torch.bincount(mask[y0:y1, x0:x1].flatten().long(), minlength=256)[
        : len(PART_NAMES) + 1
    ]
    if int(counts[1:].sum()) * 4 < int(counts.sum()):
        return "background"
    part = PART_NAMES[int(counts[1:].argmax())]
    attribute = ATTRIBUTE.get(part)
    name = attribute if attribute == "legs" else part
    return f"{name}, {values[attribute]}" if attribute else part


def explained(way: Discoverer, birds: Birds, weight: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return prototypes (C, k, D) of all classes, and what their parts look like (C, k, E)."""
    found, looks = torch.zeros(len(weight), k, weight.shape[1]), Looks(len(weight), k)
    split = CompactSplit(ridge=1.0, rounds=2) if way.part_names else CompactSplit()

    def items() -> Iterable[ClassTokens]:
        for label in range(len(weight)):
            rows = (birds.labels == label).nonzero()[:, 0]
            own = (birds.tokens[rows], rows, None, birds.grid, birds.earlier[rows])
            yield ClassTokens(label, str(label), *own)

    if way.shared:
        way.fit(items(), weight, k)
    for item in items():
        (problem,) = find_parts([item], weight, k, way)
        found[item.label] = split.refine(problem).prototypes
        looks.take(item, problem.coefficients)
    return found, looks.looks


def uses_of(way: Discoverer, looks: Tensor) -> list[list[int]]:
    """Return the entries of each class, its own where none are shared; a remainder has none."""
    own = looks.shape[1] - way.remainder
    alone = {str(c): list(range(c * own, (c + 1) * own)) for c in range(len(looks))}
    said = {"uses": alone, **way.account, **way.joined(looks, range(len(looks)))}
    return [said["uses"][str(label)] for label in range(len(looks))]


def patches(
    found: Tensor, uses: Sequence[Sequence[int]], birds: Birds, values: Sequence[dict[str, str]]
) -> Patches:
    """Look where prototypes fire most in the images of their own class."""
    grid = PatchGrid(birds.grid, (birds.mask.shape[1], birds.mask.shape[2]))
    boxes = grid.boxes(torch.einsum("bnd,bkd->bkn", birds.tokens, found[birds.labels]).argmax(2))
    rows = [
        (label, entry, pair_of(birds.mask[row], boxes[row, part], values[label]))
        for row, label in enumerate(birds.labels.tolist())
        for part, entry in enumerate(uses[label])
    ]
    labels, entries, pairs = zip(*rows, strict=True)
    return Patches(np.array(labels), np.array(entries), np.array(pairs))


def named(birds: Birds, k: int, images: int, seed: int, spread: float) -> NamedParts:
    """Take the points of some training images."""
    way = NamedParts({name: [name] for name in NAMED[k]}, spread=spread)
    rows = np.random.default_rng(seed).choice(len(birds.labels), images, replace=False)
    size = (birds.mask.shape[1], birds.mask.shape[2])
    way.annotate(rows.tolist(), birds.points[rows], list(PART_NAMES), size)
    return way


def line(
    k: int,
    name: str,
    ways: Sequence[tuple[Patches, Patches]],
    base: tuple[Patches, Patches],
    left: str,
) -> str:
    """Return a line of the table: the mean over draws of a way, and its difference from `base`.

    Args:
        k: Parts per class.
        name: Of the way.
        ways: For each draw its patches in training and in test images.
        base: Those of prototypes of each class alone.
        left: See `shared_residual`.
    """
    cells = [str(k), name, f"{np.mean([len(np.unique(test.entries)) for _, test in ways]):.0f}"]
    for told in (1, 0):  # its own test images, or training images
        own = np.mean([way[1].purity(way[told]) for way in ways], 0)
        difference = paired_difference(own, base[1].purity(base[told]))
        bracket = f" ({difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}])"
        cells.append(f"{own.mean():.2f}" + (bracket if ways[0] is not base else ""))
    tests = [test for _, test in ways]
    completeness, score = np.mean([measures(test.tables().sum(0))[1:] for test in tests], 0)
    cells.append(f"{completeness:.2f}")
    low, high = v_interval(tests, base[1])
    difference = score - measures(base[1].tables().sum(0))[2]
    bracket = f" ({difference:+.2f} [{low:+.2f}, {high:+.2f}])"
    cells += [f"{score:.2f}" + (bracket if ways[0] is not base else ""), left]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of Markdown."""
    parser = argparse.ArgumentParser(prog="python -m experiments.vocabulary")
    parser.add_argument("--num_classes", type=int, default=24)
    parser.add_argument("--first", type=int, default=0, help="the first class, to choose on others")
    parser.add_argument("--seed", type=int, default=0, help="of the drawings")
    parser.add_argument("--train_per_class", type=int, default=20)
    parser.add_argument("--test_per_class", type=int, default=10)
    parser.add_argument("--k", type=int, nargs="+", default=[3, 5], choices=list(NAMED))
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 20, 30, 60])
    parser.add_argument("--clicked", type=int, default=30, help="images with annotated points")
    parser.add_argument("--draws", type=int, default=3, help="of these images")
    parser.add_argument("--spread", type=float, nargs="+", default=[0.036], help="of a point")
    given = parser.parse_args(arguments)
    data = SyntheticBirdsDataModule(
        given.first + given.num_classes,
        given.train_per_class,
        given.test_per_class,
        seed=given.seed,
        masks=True,
        val_fraction=0.0,
        num_workers=0,
    )
    classifier = build_classifier("tf_efficientnet_lite0", given.num_classes, "pypi").eval()
    data.input_config = classifier.config
    train, test = (seen(data, split, given.first, classifier) for split in ("train", "test"))  # type: ignore[arg-type]
    weight, bias = logistic_head(train.tokens.mean(1), train.labels, given.num_classes)
    right = (test.tokens.mean(1).double() @ weight.T + bias).argmax(1) == test.labels
    accuracy = 100 * right.double().mean()
    print(f"{given.num_classes} classes, accuracy {accuracy:.0f} % on test images.\n")
    columns = "k | prototypes | entries | purity | told | completeness | V-measure"
    print(f"| {columns} | left by one vector |\n|{' --- |' * 8}")
    source = data.test_source
    assert isinstance(source, SyntheticBirds)
    values = [anatomy._asdict() for anatomy in source.anatomies[given.first :]]

    def looked(found: Tensor, uses: list[list[int]]) -> tuple[Patches, Patches]:
        return patches(found, uses, train, values), patches(found, uses, test, values)

    def left(found: Tensor, uses: list[list[int]]) -> str:
        return f"{100 * shared_residual(found[:, : len(uses[0])], uses):.0f} %"

    for k in given.k:
        found, looks = explained(NMF(), train, weight, k)
        base = looked(found, uses_of(NMF(), looks))
        print(line(k, "per class", [base], base, ""), flush=True)
        for count in given.entries:
            way = Vocabulary(count, variants=False)
            found, looks = explained(way, train, weight, k)
            uses = uses_of(way, looks)
            shown = line(k, "shared directions", [looked(found, uses)], base, left(found, uses))
            print(shown, flush=True)
        for spread in given.spread:
            draws = [named(train, k, given.clicked, seed, spread) for seed in range(given.draws)]
            drawn = [explained(way, train, weight, k + 1) for way in draws]
            for count in (None, *(count for count in given.entries if count >= k)):
                own, rest = [], ""
                for way, (found, looks) in zip(draws, drawn, strict=True):
                    way.entries = count
                    uses = uses_of(way, looks)
                    own.append(looked(found, uses))
                    rest = left(found, uses) if count else ""
                name = "named, divided" if count else "named, per class"
                print(line(k, f"{name}, spread {spread:g}", own, base, rest), flush=True)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

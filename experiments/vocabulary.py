"""Do entries of a shared vocabulary match true pairs of part and colour, on drawn birds?

Usage: python -m experiments.vocabulary [--classes 24] [--train 20] [--test 10] [--k 3 5]

Every patch that a prototype fires on most, in test images of its class, has a true pair: the part
that covers most of it, and the class's value of that part's attribute ("wing, two bars"), both from
the drawing. An entry is pure if its patches, in all classes that use it, are of one pair; purity is
the share of patches that are of their entry's commonest pair. Prototypes of one class alone see one
value of every attribute, but there are C k of them: completeness is the share of the entropy of
pairs' patches that is not spread over several entries, and the V-measure joins both
(Rosenberg and Hirschberg, EMNLP 2007).
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from experiments.shares.tokens import logistic_head
from ppn.classifier.build import build_classifier
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.data.synthetic.anatomy import PART_NAMES
from ppn.data.synthetic.datamodule import SyntheticBirds
from ppn.discovery import NMF, ClassTokens, Vocabulary
from ppn.prototypes.diagnostics import PatchGrid
from ppn.prototypes.fit import find_parts
from ppn.refinement import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

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


class Birds(NamedTuple):
    """Test or training images: `tokens` (n, N, D), `labels` (n,), `mask` (n, H, W), `grid`."""

    tokens: Tensor
    labels: Tensor
    mask: Tensor
    grid: tuple[int, int]


@torch.no_grad()
def seen(data: SyntheticBirdsDataModule, split: Split, classifier: torch.nn.Module) -> Birds:
    """Run a classifier over a split."""
    found: list[list[Tensor]] = [[], [], []]
    grid = (0, 0)
    for batch in DataLoader(data.view(split), batch_size=32):
        tokens = classifier(batch["image"])
        grid = tokens.grid
        columns = (tokens.tokens.float(), batch["label"], batch["mask"])
        for column, value in zip(found, columns, strict=True):
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


def v_measure(entries: Sequence[object], pairs: Sequence[object]) -> tuple[float, float, float]:
    """Return purity, completeness and V-measure, each in [0, 1]."""
    _, first = np.unique([str(entry) for entry in entries], return_inverse=True)
    _, second = np.unique([str(pair) for pair in pairs], return_inverse=True)
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    joint = table / table.sum()

    def entropy(share: np.ndarray) -> float:
        return float(-(share[share > 0] * np.log(share[share > 0])).sum())

    whole, of_entries, of_pairs = entropy(joint), entropy(joint.sum(1)), entropy(joint.sum(0))
    homogeneity = 1 - (whole - of_entries) / of_pairs if of_pairs else 1.0
    completeness = 1 - (whole - of_pairs) / of_entries if of_entries else 1.0
    both = homogeneity + completeness
    score = 2 * homogeneity * completeness / both if both else 0.0
    return float(table.max(1).sum() / table.sum()), completeness, score


def shared_residual(prototypes: Tensor, uses: Sequence[Sequence[int]]) -> float:
    """How much of rows is left if every class must use the very same vector for an entry.

    An entry's vector is the first principal direction of its prototypes, and each class gives it
    the weight that fits best; returned is the mean share of the squared norm that is left.

    Args:
        prototypes: (C, k, D).
        uses: The entry of each prototype.
    """
    left, whole = 0.0, float(prototypes.double().square().sum())
    entry = torch.tensor(uses)
    for number in entry.unique().tolist():
        rows = prototypes[entry == number].double()
        left += float(torch.linalg.svdvals(rows)[1:].square().sum())
    return left / whole


def evaluate(
    way: Discoverer, train: Birds, test: Birds, weight: Tensor, k: int, source: SyntheticBirds
) -> tuple[Tensor, list[int | tuple[int, int]], list[str]]:
    """Return prototypes, and the entry and the true pair of each patch of test images."""
    found = torch.zeros(len(weight), k, weight.shape[1])
    split = CompactSplit()

    def items() -> Iterable[ClassTokens]:
        for label in range(len(weight)):
            rows = (train.labels == label).nonzero()[:, 0]
            yield ClassTokens(label, str(label), train.tokens[rows], rows, None, train.grid)

    if way.shared:
        way.fit(items(), weight, k)
    for item in items():
        (problem,) = find_parts([item], weight, k, way)
        found[item.label] = split.refine(problem).prototypes
    grid = PatchGrid(test.grid, (test.mask.shape[1], test.mask.shape[2]))
    maps = torch.einsum("bnd,bkd->bkn", test.tokens, found[test.labels])
    boxes = grid.boxes(maps.argmax(2))
    entries: list[int | tuple[int, int]] = []
    pairs: list[str] = []
    for row, label in enumerate(test.labels.tolist()):
        values = source.anatomies[label]._asdict()
        for part in range(k):
            uses = way.uses[label] if isinstance(way, Vocabulary) else None
            if uses is not None and part >= len(uses):
                continue  # the remainder has no place
            entries.append((label, part) if uses is None else uses[part])
            pairs.append(pair_of(test.mask[row], boxes[row, part], values))
    return found, entries, pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of Markdown."""
    parser = argparse.ArgumentParser(prog="python -m experiments.vocabulary")
    parser.add_argument("--classes", type=int, default=24)
    parser.add_argument("--train", type=int, default=20, help="training images of each class")
    parser.add_argument("--test", type=int, default=10, help="test images of each class")
    parser.add_argument("--k", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 20, 30, 60])
    given = parser.parse_args(arguments)
    data = SyntheticBirdsDataModule(
        given.classes, given.train, given.test, masks=True, val_fraction=0.0, num_workers=0
    )
    classifier = build_classifier("tf_efficientnet_lite0", given.classes, "pypi").eval()
    data.input_config = classifier.config
    train, test = (seen(data, split, classifier) for split in ("train", "test"))  # type: ignore[arg-type]
    weight, bias = logistic_head(train.tokens.mean(1), train.labels, given.classes)
    right = (test.tokens.mean(1).double() @ weight.T + bias).argmax(1) == test.labels
    print(
        f"{given.classes} classes, accuracy {100 * right.double().mean():.0f} % on test images.\n"
    )
    print("| k | prototypes | entries | purity | completeness | V-measure | left by one vector |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    source = data.test_source
    assert isinstance(source, SyntheticBirds)
    for k in given.k:
        ways: list[Discoverer] = [NMF()]
        for variants in (True, False):
            ways += [Vocabulary(count, variants=variants) for count in given.entries]
        for way in ways:
            found, entries, pairs = evaluate(way, train, test, weight, k, source)
            purity, completeness, score = v_measure(entries, pairs)
            left = ""
            if isinstance(way, Vocabulary):
                uses = [way.uses[label] for label in range(len(found))]
                left = f"{100 * shared_residual(found, uses):.0f} %"
            name = "per class"
            if isinstance(way, Vocabulary):
                name = "shared, own variants" if way.variants else "shared directions"
            count = len(set(entries))
            numbers = f"{purity:.2f} | {completeness:.2f} | {score:.2f}"
            print(f"| {k} | {name} | {count} | {numbers} | {left} |", flush=True)
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

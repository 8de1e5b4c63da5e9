"""An index of many patches: memory, recall against an exact search, and time of a query.

Usage: python -m experiments.benchmarks.patches [--patches 10000000] [--index FOLDER]

Patches are drawn: directions around some thousand centres with the sparse, non-negative channels
and uneven lengths that features behind a ReLU have. Queries are prototypes, signed directions.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from experiments.benchmarks.measure import Row
from ppn.discovery.base import ClassTokens
from ppn.prototypes.patch_index import build_index
from ppn.prototypes.patch_shards import About, PatchShards

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ppn.discovery.faiss_index import Kind

CELLS = 49
PER_CLASS = 400
"""Images of a drawn class."""


def drawn(patches: int, width: int, centres: int = 4000, seed: int = 0) -> Iterator[ClassTokens]:
    """Yield classes of drawn patches."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(centres, width, generator=generator).clamp(min=0)
    classes = max(1, round(patches / (CELLS * PER_CLASS)))
    for label in range(classes):
        own = torch.randint(centres, (40,), generator=generator)  # a class shows some of them
        member = own[torch.randint(40, (PER_CLASS * CELLS,), generator=generator)]
        noise = 0.6 * torch.randn(len(member), width, generator=generator)
        length = 0.3 + torch.rand(len(member), 1, generator=generator)
        tokens = ((means[member] + noise).clamp(min=0) * length).view(PER_CLASS, CELLS, width)
        first = label * PER_CLASS
        yield ClassTokens(
            label, str(label), tokens, torch.arange(first, first + PER_CLASS), None, (7, 7)
        )


def index_figures(
    patches: int, width: int, folder: Path, kind: Kind | None = None, queries: int = 100
) -> dict[str, float]:
    """Build an index, and hold it against an exact search.

    Args:
        patches: How many.
        width: Channels.
        folder: Where it goes.
        kind: How it is searched; None: as fits the number.
        queries: Prototypes that are looked up.

    Returns:
        `recall` at 5 of inner products and `recall_cosine`; `seconds` and `seconds_exact` of one
        query; `build` seconds; `mib` of all files; `peak_mib` of this process.
    """
    classes = max(1, round(patches / (CELLS * PER_CLASS)))
    names = [str(label) for label in range(classes)]
    shards = PatchShards(folder, About("drawn", (7, 7), (224, 224), width, names))
    there = frozenset(shards.labels)
    for item in drawn(patches, width):
        if item.label not in there:
            shards.write(item, str)
    began = time.perf_counter()
    index = build_index(shards, range(classes), kind)
    build = time.perf_counter() - began
    generator = torch.Generator().manual_seed(1)
    seen = torch.cat([torch.from_numpy(shards.read(label).tokens[0, :8].astype(np.float32))
                      for label in range(min(classes, 25))])  # fmt: skip
    directions = seen[torch.randperm(len(seen), generator=generator)[:queries]]
    directions = directions - directions.mean(0)  # signed, as what tells classes apart is
    index.nearest(directions[:1], 5)
    began = time.perf_counter()
    each = [index.nearest(one[None], 5) for one in directions]
    seconds = (time.perf_counter() - began) / len(directions)
    found = {"seconds": seconds, "build": build}
    inverted, index._inverted = index._inverted, None
    for name, cosine in (("recall", False), ("recall_cosine", True)):
        index._inverted = None
        began = time.perf_counter()
        exact = index.nearest(directions, 5, cosine).image
        found.setdefault("seconds_exact", (time.perf_counter() - began) / len(directions))
        index._inverted = inverted
        ours = index.nearest(directions, 5, cosine).image
        found[name] = float((exact[:, :, None] == ours[:, None]).any(2).double().mean())
    assert len(each) == len(directions)
    found["mib"] = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return found


def patch_row(patches: int = 500_000, width: int = 256) -> Row:
    """Return the row of the bench: recall at 5, with seconds of one query."""
    with tempfile.TemporaryDirectory() as folder:
        found = index_figures(patches, width, Path(folder))
    return Row(
        f"nearest patches among {patches:,} of {width} channels, recall at 5",
        "exact search",
        found["seconds"],
        found["seconds_exact"],
        min(found["recall"], found["recall_cosine"]),
        ">= 0.95",
        "reading the lists that are looked through",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of an index of drawn patches."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.patches")
    parser.add_argument("--patches", type=int, default=10_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--kind", choices=["flat", "ivf_sq8", "ivf_pq"])
    parser.add_argument("--index", help="keeps the index; else it is deleted")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.index or temporary)
        print(json.dumps(index_figures(given.patches, given.width, folder, given.kind), indent=2))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

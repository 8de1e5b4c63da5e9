"""Speed and memory, each against a limit and side by side in one run: `make bench`.

Usage: python experiments/bench.py [--root CUB_200_2011] [--device cuda] [--out runs/bench]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
for _name in THREADS:  # before the libraries are loaded: two that use all cores fight for them
    os.environ[_name] = "1"
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)

import torch  # noqa: E402
from lightning.fabric.utilities import move_data_to_device  # noqa: E402
from rich.table import Table  # noqa: E402

from experiments.benchmarks.acting import explain_rows  # noqa: E402
from experiments.benchmarks.decomposition import cam_split_row, nmf_rows  # noqa: E402
from experiments.benchmarks.libraries import missing  # noqa: E402
from experiments.benchmarks.maps import map_rows  # noqa: E402
from experiments.benchmarks.passes import pass_rows  # noqa: E402
from experiments.benchmarks.patches import patch_row  # noqa: E402
from experiments.benchmarks.processes import memory_rows, start_rows, two_ranks_rows  # noqa: E402
from experiments.benchmarks.report import report_rows  # noqa: E402
from ppn.allocator import keep_memory  # noqa: E402
from ppn.classifier.build import build_classifier  # noqa: E402
from ppn.data.cub import CUBDataModule  # noqa: E402
from ppn.data.synthetic import SyntheticBirdsDataModule  # noqa: E402
from ppn.io.files import write_bytes  # noqa: E402
from ppn.io.terminal import console  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from experiments.benchmarks.measure import Row
    from ppn.data.datamodule import FineGrainedDataModule

CLASSES = 6
FILES = 1000


def rows(root: str | None, device: str) -> Iterator[Row]:
    """Run all benchmarks, the quick ones first; on a GPU, those that can use it."""
    torch.set_num_threads(1)
    keep_memory()  # as `ppn` does
    if device == "cpu":
        yield from start_rows()
        yield from memory_rows()
        yield from two_ranks_rows()
    data: FineGrainedDataModule
    if root is None:
        data = SyntheticBirdsDataModule(CLASSES, 30, 1, num_workers=0, val_fraction=0.0)
    else:
        data = CUBDataModule(root, num_workers=0, crop="box", val_fraction=0.0)
    classifier = build_classifier("tf_efficientnet_lite0", data.num_classes, "pypi").eval()
    torch.nn.init.normal_(
        classifier.linears[0].weight, std=0.05
    )  # a head of zeros splits into zeros
    data.input_config = classifier.config
    classifier = classifier.to(device)
    loaded = data.discovery_loader(list(range(CLASSES)))
    batches = [move_data_to_device(batch, torch.device(device)) for batch in loaded]
    with torch.no_grad():
        tokens = [classifier(batch["image"]).tokens for batch in batches]
    labels = torch.cat([batch["label"] for batch in batches])
    joined = torch.cat(tokens)
    groups = [joined[labels == label].flatten(0, 1).clamp(min=0) for label in range(CLASSES)]
    yield from nmf_rows(groups)
    yield cam_split_row(device)
    yield from map_rows(device)
    yield from pass_rows(classifier, batches, CLASSES)
    yield from explain_rows(classifier, "tf_efficientnet_lite0", batches, CLASSES, FILES)
    if device == "cpu":
        yield patch_row()
        yield from report_rows()


def main() -> int:
    """Run, print the table as it grows, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="CUB_200_2011; the built-in birds otherwise")
    parser.add_argument("--out", default="runs/bench", help="where bench.json goes")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--limit", type=int, help="only so many rows")
    given = parser.parse_args()
    table = Table("what", "against", "ours", "theirs", "ratio", "goal", "met")
    terminal = console()
    found = []
    for row in islice(rows(given.root, given.device), given.limit):
        terminal.print(f"{row.name}: {row.ratio:.3f} (goal {row.goal})")
        numbers = (f"{row.ours:.4g}", f"{row.theirs:.4g}", f"{row.ratio:.3f}")
        table.add_row(row.name, row.against, *numbers, row.goal, "yes" if row.met else "no")
        found.append({**asdict(row), "met": row.met})
    if missing():
        table.caption = f"Not installed, so not compared: {', '.join(missing())} (ppn[bench])"
    terminal.print(table)
    write_bytes(Path(given.out) / "bench.json", json.dumps(found, indent=2).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

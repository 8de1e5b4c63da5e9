"""NMF against other libraries, and `cam_split` against its arithmetic."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from experiments.benchmarks.libraries import installed, scikit_learn
from experiments.benchmarks.measure import Row, side_by_side
from ppn.discovery import NMF, ClassTokens
from ppn.refinement import CamSplit, ClassProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from experiments.benchmarks.libraries import Factorise
    from ppn.discovery import Parts


def nmf_rows(tokens: list[Tensor]) -> Iterator[Row]:
    """Factorise the tokens of some classes.

    Args:
        tokens: For each class (n, D), non-negative.
    """
    warnings.filterwarnings("ignore", module="sklearn")  # that 200 iterations are not enough
    width = tokens[0].shape[1]
    on_cpu = [rows.cpu() for rows in tokens]
    group = [
        ClassTokens(label, str(label), rows[None], torch.zeros(1, dtype=torch.long))
        for label, rows in enumerate(tokens)
    ]
    discoverer = NMF(token_weighting="none")
    libraries = installed()
    found: dict[int, list[Parts]] = {}
    for k in (3, 10):
        classes = f"NMF of {len(tokens)} classes, k = {k}"
        for library, factorise in libraries.items():
            errors = {"theirs": 0.0}

            def ours(k: int = k) -> None:
                found[k] = discoverer.discover(group, tokens[0].new_zeros(len(tokens), width), k)

            def theirs(
                k: int = k, work: Factorise = factorise, errors: dict[str, float] = errors
            ) -> None:
                errors["theirs"] = sum(work(group, k) for group in on_cpu)

            reference = factorise is scikit_learn
            quick, slow = side_by_side(ours, theirs, 5 if reference else 2)
            goal = ">= 5" if reference else ">= 1"
            limit = "two passes over the tokens per iteration"
            yield Row(classes, library, quick, slow, slow / quick, goal, limit)
            parts = zip(tokens, found[k], strict=True)
            a = sum(float((f - e @ p).square().sum(dtype=torch.float64)) for f, (p, e, _) in parts)
            b = errors["theirs"]
            yield Row(f"{classes}: objective", library, a, b, a / b, "<= 1.001", "")


def cam_split_row(
    device: str = "cpu", classes: int = 200, images: int = 30, width: int = 2048
) -> Row:
    """Refine classes of a wide backbone; the limit is the direct solution at full GEMM speed."""
    count = images * 49
    generator = torch.Generator().manual_seed(0)
    groups = [torch.randn(count, width, generator=generator).clamp(min=0) for _ in range(4)]
    coefficients = torch.rand(count, 3, generator=generator)
    parts = torch.rand(3, width, generator=generator)
    weight = torch.randn(width, generator=generator).double().to(device)
    groups = [group.to(device) for group in groups]
    coefficients, parts = coefficients.to(device), parts.to(device)
    refinement = CamSplit()

    def ours() -> None:
        for label in range(classes):
            group = groups[label % len(groups)]
            refinement.refine(ClassProblem(group, coefficients, parts, weight))

    # The smaller Gram matrix, its Cholesky factor, and the products with k columns.
    side, other = min(count, width), max(count, width)
    flops = 2 * side**2 * other + side**3 / 3 + 4 * side**2 * 3 + 8 * count * width * 3
    square = torch.randn(1024, 1024, generator=generator).to(device)
    gemm_flops = 2 * 1024**3

    def gemm() -> None:
        for _ in range(20):
            square @ square

    quick, slow = side_by_side(ours, gemm, repeats=3)
    limit = classes * flops / (20 * gemm_flops / slow)
    return Row(
        f"cam_split of {classes} classes, D = {width}",
        "its direct solution at the measured GEMM speed",
        quick,
        limit,
        quick / limit,
        "<= 2",
        "direct: 2 n^2 D + n^3/3 operations per class; ours iterates and does fewer",
    )

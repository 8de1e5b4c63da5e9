"""NMF against other libraries, and `cam_split` against its arithmetic."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import torch
from sklearn.decomposition import NMF

from experiments.benchmarks.measure import Row, side_by_side
from ppn.decomposition.parts import discover_parts
from ppn.decomposition.refine import ClassProblem, refine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


def nmf_rows(tokens: list[Tensor]) -> Iterator[Row]:
    """Factorise the tokens of some classes.

    Args:
        tokens: For each class (n, D), non-negative.
    """
    warnings.filterwarnings("ignore", module="sklearn")  # that 200 iterations are not enough
    width = tokens[0].shape[1]
    names = [str(label) for label in range(len(tokens))]
    for k in (3, 10):
        found: dict[str, list[float]] = {"ours": [], "theirs": []}

        def ours(k: int = k, errors: list[float] = found["ours"]) -> None:
            factors = discover_parts(
                tokens, torch.zeros(len(tokens), width), k, names, seeding="nndsvda"
            )
            errors[:] = [float(factor.error) for factor in factors]

        def theirs(k: int = k, errors: list[float] = found["theirs"]) -> None:
            errors.clear()
            for group in tokens:
                model = NMF(k, init="nndsvda", solver="cd", tol=1e-4, max_iter=200, random_state=0)
                model.fit_transform(group.numpy())
                errors.append(float(model.reconstruction_err_) ** 2)

        quick, slow = side_by_side(ours, theirs)
        classes = f"NMF of {len(tokens)} classes, k = {k}"
        passes = "two passes over the tokens per iteration"
        yield Row(classes, "scikit-learn", quick, slow, slow / quick, ">= 5", passes)
        a, b = sum(found["ours"]), sum(found["theirs"])
        yield Row(f"{classes}: objective", "scikit-learn", a, b, a / b, "<= 1.001", "")
        for library, work in _others(tokens, k):
            quick, slow = side_by_side(ours, work, repeats=3)
            yield Row(classes, library, quick, slow, slow / quick, ">= 1", passes)


def _others(tokens: list[Tensor], k: int) -> Iterator[tuple[str, Any]]:
    """Further libraries, where they are installed."""
    if importlib.util.find_spec("overcomplete"):
        from overcomplete.optimization import NMF as Overcomplete

        def hals() -> None:
            for group in tokens:
                Overcomplete(k, solver="hals", max_iter=200, tol=1e-4).fit(group)

        yield "overcomplete (HALS)", hals
    if importlib.util.find_spec("torchnmf"):
        from torchnmf.nmf import NMF as Torchnmf

        def multiplicative() -> None:
            for group in tokens:
                Torchnmf(group.shape, rank=k).fit(group, tol=1e-4, max_iter=200)

        yield "torchnmf", multiplicative


def cam_split_row(classes: int = 200, images: int = 30, width: int = 2048) -> Row:
    """Refine classes of a wide backbone; the limit is the direct solution at full GEMM speed."""
    count = images * 49
    generator = torch.Generator().manual_seed(0)
    groups = [torch.randn(count, width, generator=generator).clamp(min=0) for _ in range(4)]
    coefficients = torch.rand(count, 3, generator=generator)
    parts = torch.rand(3, width, generator=generator)
    weight = torch.randn(width, generator=generator).double()

    def ours() -> None:
        for label in range(classes):
            group = groups[label % len(groups)]
            refine(ClassProblem(group, coefficients, parts, weight, strength=3.0), "cam_split")

    # The smaller Gram matrix, its Cholesky factor, and the products with k columns.
    side, other = min(count, width), max(count, width)
    flops = 2 * side**2 * other + side**3 / 3 + 4 * side**2 * 3 + 8 * count * width * 3
    square = torch.randn(1024, 1024, generator=generator)
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

"""The NMF of other libraries, each as its documentation says, all with tolerance 1e-4.

Stopping rules differ: scikit-learn's is about the projected gradient, overcomplete's about the
change of the coefficients, torchnmf's about the error, every tenth iteration. So objectives stand
beside the times. All may take 200 iterations, as ours.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import torch
from sklearn.decomposition import NMF

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Factorise = Callable[[Tensor, int], float]
    """Tokens (n, D) >= 0 and k -> the squared error of the factorisation."""

ITERATIONS = 200
TOLERANCE = 1e-4
OPTIONAL = ("overcomplete", "torchnmf")


def scikit_learn(tokens: Tensor, k: int) -> float:
    """Coordinate descent from NNDSVDa."""
    model = NMF(k, init="nndsvda", solver="cd", tol=TOLERANCE, max_iter=ITERATIONS, random_state=0)
    model.fit_transform(tokens.numpy())
    return float(model.reconstruction_err_) ** 2


def overcomplete(tokens: Tensor, k: int) -> float:
    """HALS from NNDSVDa."""
    from overcomplete.optimization import NMF as Hals

    with torch.no_grad():
        codes, dictionary = Hals(k, solver="hals", tol=TOLERANCE).fit(tokens, ITERATIONS)
        return float((tokens - codes @ dictionary).double().square().sum())


def torchnmf(tokens: Tensor, k: int) -> float:
    """Multiplicative updates of the squared error, from a random start."""
    from torchnmf.nmf import NMF as Multiplicative

    torch.manual_seed(0)
    model = Multiplicative(tokens.shape, rank=k)
    with torch.enable_grad():
        model.fit(tokens, beta=2, tol=TOLERANCE, max_iter=ITERATIONS)
    with torch.no_grad():
        return float((tokens - model()).double().square().sum())


def missing() -> list[str]:
    """Optional libraries that are not installed."""
    return [name for name in OPTIONAL if importlib.util.find_spec(name) is None]


def installed() -> dict[str, Factorise]:
    """Those that are, by the name that the table gives them."""
    found: dict[str, Factorise] = {"scikit-learn": scikit_learn}
    absent = missing()
    if "overcomplete" not in absent:
        import matplotlib as mpl
        import matplotlib.cm

        # overcomplete 0.3 calls it when imported; matplotlib 3.9 removed it.
        if not hasattr(matplotlib.cm, "get_cmap"):
            matplotlib.cm.get_cmap = mpl.colormaps.get_cmap
        found["overcomplete (HALS)"] = overcomplete
    if "torchnmf" not in absent:
        found["torchnmf"] = torchnmf
    return found

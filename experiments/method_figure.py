"""The figure of docs/method.md: one image, from patch tokens to parts that sum to the logit.

`python experiments/method_figure.py` draws it from the demo's network (`make demo` comes first).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ppn.data.synthetic import SyntheticBirds
from ppn.prototypes.load import load

NETWORK = Path("runs/demo/prototypes/checkpoints/prototypes.ckpt")
OUT = Path(__file__).parents[1] / "docs/figures/method.png"


def draw(network: Path, out: Path) -> None:
    """Draw the steps for one test image.

    Args:
        network: Checkpoint of prototypes for the built-in birds.
        out: PNG file.
    """
    explained = load(str(network)).explain(SyntheticBirds(24, 1, "test").read(3).image)
    maps = np.stack(explained.maps)
    order = np.argsort(explained.contributions)[::-1][:3]
    shown = [maps.sum(0), *maps[order], maps.sum(0) - maps[order].sum(0)]
    values = [explained.logit - explained.bias, *np.take(explained.contributions, order)]
    values.append(values[0] - sum(values[1:]))
    titles = ["class activation map", "part 1", "part 2", "part 3", "other parts"]
    limit = float(np.abs(shown).max())
    figure = Figure(figsize=(9.6, 2.1), layout="constrained")
    axes = figure.subplots(1, 6)
    axes[0].imshow(explained.image)
    axes[0].set_title("image", fontsize=9)
    signs = ["", "=", "+", "+", "+"]
    for axis, values_of, title, value, sign in zip(
        axes[1:], shown, titles, values, signs, strict=True
    ):
        axis.imshow(values_of, cmap=matplotlib.colormaps["RdBu_r"], vmin=-limit, vmax=limit)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(f"{sign} {value:.2f}".strip(), fontsize=10)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, facecolor="white")


if __name__ == "__main__":
    draw(NETWORK, OUT)

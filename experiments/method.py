"""Draw docs/method.svg: the three steps of the method, with the numbers of a class of `make demo`.

Usage: python -m experiments.method [--run runs/demo] [--out docs/method.svg]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml

import ppn
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.discovery import NMF
from ppn.discovery.base import ClassTokens, Parts
from ppn.io.files import write_bytes
from ppn.visualization.heatmap import overlay, scale_tops
from ppn.visualization.images import data_uri
from ppn.visualization.numbers import MINUS, printed_sum
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from torch import Tensor

K, CHANNELS, ROWS, LABEL = 3, 24, 28, 0
WIDTH, HEIGHT = 640, 800
# One file for light and dark pages, which both GitHub and the site show by the reader's setting.
STYLE = """
text { font: 21px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #16181d }
.h { font-weight: 700; font-size: 25px } .s { fill: #5c6370 } .m { text-anchor: middle }
.n { font-weight: 700; text-anchor: middle } .i { font-style: italic }
.g { fill: #7d8594 } .l { stroke: #c9ccd1; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #eceef2 } .s { fill: #aab1be } .g { fill: #9aa2b1 } .l { stroke: #4b515d }
}
"""


class Drawing:
    """Elements of an SVG file, one after the other."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Words whose baseline begins (or, with "m" or "n", has its middle) at x, y."""
        self.elements.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{words}</text>')

    def cell(self, x: float, y: float, w: float, h: float, fill: str, opacity: float = 1) -> None:
        """A filled rectangle; `fill` is a colour or, without "#", a class of the style."""
        paint = f'fill="{fill}"' if fill.startswith("#") else f'class="{fill}"'
        self.elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" {paint} '
            f'opacity="{opacity:.2f}"/>'
        )

    def matrix(
        self,
        values: Tensor,
        corner: tuple[float, float],
        cell: tuple[float, float],
        by: str,
        fills: Sequence[str],
    ) -> None:
        """Values in [0, 1] as opacities; `fills` has a colour for each row or column."""
        for row, line in enumerate(values.tolist()):
            for column, value in enumerate(line):
                fill = fills[row if by == "row" else column]
                place = corner[0] + column * cell[0], corner[1] + row * cell[1]
                self.cell(*place, cell[0] - 0.6, cell[1] - 0.6, fill, 0.06 + 0.94 * value)

    def bars(self, values: Tensor, top: float, corner: tuple[float, float], fill: str) -> None:
        """Values as bars up and down from a line; `top` fills half of the height of 46."""
        x, middle = corner[0], corner[1] + 23
        for place, value in enumerate(values.tolist()):
            length = 23 * value / top
            self.cell(x + 21 * place, middle - max(length, 0), 17, abs(length), fill)
        self.elements.append(f'<path d="M{x} {middle}h{21 * CHANNELS}" class="l"/>')

    def tile(self, picture: Image.Image, x: float, y: float, side: float, edge: str = "") -> None:
        """A picture, with a frame where it has a colour."""
        uri = data_uri(picture, 2 * int(side))
        self.elements.append(
            f'<image x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" href="{uri}"/>'
        )
        paint = f'stroke="{edge}" stroke-width="3" fill="none"' if edge else 'class="l"'
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}" {paint}/>'
        )

    def content(self, title: str) -> str:
        """The file."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
            f"<title>{title}</title><style>{STYLE}</style>{''.join(self.elements)}</svg>\n"
        )


def discover(drawing: Drawing, tokens: Tensor, found: Parts, picture: Image.Image) -> None:
    """Step 1: patches of images, their tokens (n, N, D), and what they are factorised into."""
    grid = round(tokens.shape[1] ** 0.5)
    drawing.text(0, 26, "1  Discover: patches of a class share parts", "h")
    drawing.tile(picture, 0, 50, 140)
    places = [140 * i / grid for i in range(1, grid)]
    lines = "".join(f"M{place:.1f} 50v140M0 {50 + place:.1f}h140" for place in places)
    drawing.elements.append(f'<path d="{lines}" stroke="#ffffff" stroke-opacity=".75"/>')
    colours = [identity_colour(i) for i in range(K)]
    channels = strongest(found.parts, CHANNELS // 2)
    rows = strongest(found.coefficients.T[:, : 6 * tokens.shape[1]], ROWS).sort().values
    height = 140 / len(rows)
    shown = tokens.flatten(0, 1)[rows][:, channels].clamp(min=0)
    drawing.text(160, 126, "\N{RIGHTWARDS ARROW}")
    grey = ["g"] * len(rows)
    drawing.matrix(shown / shown.amax(0), (196, 50), (10, height), "row", grey)
    drawing.text(330, 126, "\N{ALMOST EQUAL TO}")
    coefficients = found.coefficients[rows]
    drawing.matrix(coefficients / coefficients.amax(0), (364, 50), (20, height), "column", colours)
    drawing.text(438, 126, "\N{MULTIPLICATION SIGN}")
    parts = found.parts[:, channels]
    drawing.matrix(parts / parts.amax(0), (470, 84), (14, 24), "row", colours)
    for x, words in ((70, "patches"), (256, "tokens F"), (394, "E"), (554, "parts P")):
        drawing.text(x, 216, words, "s m")


def strongest(values: Tensor, count: int) -> Tensor:
    """Return the columns in which rows are largest, as many for each row."""
    each = -(-count // len(values))
    chosen: list[int] = []
    for row in values.abs():
        taken = [i for i in row.argsort(descending=True).tolist() if i not in chosen]
        chosen += taken[:each]
    return torch.tensor(chosen[:count])


def refine(drawing: Drawing, prototypes: Tensor) -> None:
    """Step 2: the row of the head, and the prototypes that add up to it."""
    row = prototypes.sum(0)
    channels = strongest(prototypes, CHANNELS)
    top = float(prototypes[:, channels].abs().max().maximum(row.abs().max()))
    drawing.text(0, 274, "2  Refine: they sum to the row of the head", "h")
    for place in range(K + 1):
        y = 290 + 52 * place
        sign, name = ("=" if place == 1 else "+"), f'p<tspan dy="5" font-size="15">{place}</tspan>'
        words = 'v<tspan dy="5" font-size="15">c</tspan>' if place == 0 else f"{sign} {name}"
        drawing.text(28 if place == 0 else 0, y + 30, words, "i")
        values, fill = (
            (row, "g") if place == 0 else (prototypes[place - 1], identity_colour(place - 1))
        )
        drawing.bars(values[channels], top, (86, y), fill)
    drawing.text(86, 520, f"{CHANNELS} of {len(row)} channels; the sum is exact in all", "s")


def read(drawing: Drawing, explanation: ppn.Explanation) -> None:
    """Step 3: an image as a sum of maps."""
    drawing.text(0, 580, "3  Read: every logit is a sum of maps", "h")
    side, gap = 128, 24
    terms = [*explanation.contributions, explanation.bias]
    texts, total = printed_sum(terms, explanation.logit, explanation.adds_up)
    drawing.tile(explanation.image, 0, 600, side)
    drawing.text(side / 2, 600 + side + 30, total, "n")
    drawing.text(side / 2, 600 + side + 56, "logit", "s m")
    tops = scale_tops(explanation.drawn)
    for index in range(K):
        x, colour = (side + gap) * (index + 1), identity_colour(index)
        sign = "=" if index == 0 else MINUS if texts[index].startswith(MINUS) else "+"
        drawing.text(x - gap / 2, 672, sign, "m")
        heat = overlay(explanation.image, explanation.drawn[index], (256, 256), tops[index], colour)
        drawing.tile(heat, x, 600, side, colour)
        shown = texts[index].lstrip("+" if index == 0 else "+" + MINUS)
        drawing.text(x + side / 2, 600 + side + 30, shown, "n")
        drawing.text(x + side / 2, 600 + side + 56, f"part {index + 1}", "s m")
    sign = MINUS if texts[-1].startswith(MINUS) else "+"
    drawing.text(608, 672, f"{sign} b", "m i")
    drawing.text(608, 600 + side + 30, texts[-1].lstrip("+" + MINUS), "n")


def main() -> None:
    """Find three parts of one class of the demo's black box, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/method.svg"))
    given = parser.parse_args()
    black_box = ppn.load(given.run / "prototypes/checkpoints/prototypes.ckpt")
    birds = Path(__file__).parents[1] / "configs/data/synthetic_birds.yaml"
    data = SyntheticBirdsDataModule(**yaml.safe_load(birds.read_text())["init_args"])
    data.input_config = black_box.input_config
    batches = [(batch["image"], batch["label"]) for batch in data.discovery_loader([LABEL])]
    network = ppn.from_classifier(
        black_box.classifier.model,
        batches,
        k=K,
        class_names=black_box.class_names,
        input_config=black_box.input_config,
    )
    with torch.no_grad():
        seen = [network.classifier(images) for images, _ in batches]
        tokens = torch.cat([found.tokens for found in seen])
        weight, _ = network.classifier.effective_head()
    order = torch.arange(len(tokens))
    group = [ClassTokens(LABEL, network.class_names[LABEL], tokens, order, grid=seen[0].grid)]
    (found,) = NMF().discover(group, weight, K)
    split = data.read_split("test")
    bird = next(i for i, label in enumerate(split.labels) if label == LABEL)
    explanation = network.explain(split.read(bird).image, LABEL)
    drawing = Drawing()
    discover(drawing, tokens, found, network.explain(batches[0][0][0], LABEL).image)
    refine(drawing, network.head.prototypes[LABEL])
    read(drawing, explanation)
    title = "Patches give parts, parts give prototypes that sum to the row of the head, and maps"
    write_bytes(given.out, drawing.content(title).encode())


if __name__ == "__main__":
    main()

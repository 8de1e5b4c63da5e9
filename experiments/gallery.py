"""Draw the pictures of docs/gallery.md, and that of the report.

Usage: python -m experiments.gallery [--run runs/demo] [--out docs/gallery]
       [--data.root ROOT --ckpt CKPT] [--transformer FILE]

`make demo` comes first. Photographs of CUB-200-2011 belong to their photographers, so its birds are
drawn from their annotated points.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter, ImageFont

import ppn
from experiments.arguments import add_root
from experiments.maps import transformer
from ppn.data.cub import CUBDataModule
from ppn.io.files import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


SIDE = 600
PAPER, BODY, POINT = "#eef1ee", "#c3ccc6", "#3d4a45"
OUTLINE = ["beak", "forehead", "crown", "nape", "back", "tail", "belly", "breast", "throat"]
SAID = ("beak", "tail", "belly", "wing")
"""Points that get their name, left and right alike."""
REAL = ("Rhinoceros Auklet", "Laysan Albatross")
LARGE = 0.6
"""Least extent of a bird that is shown, over the side of the picture."""
EDITED = "Bar-winged Ember Finch"


def drawn(points: NDArray[np.floating], names: Sequence[str], size: int) -> Image.Image:
    """Draw a bird from its annotated points alone.

    Args:
        points: (P, 3) x and y in pixels of an image of `size`, and whether each is visible.
        names: (P) names of the points.
        size: Side of the image in pixels.
    """
    scale = SIDE / size
    seen = {
        name: (float(x) * scale, float(y) * scale)
        for name, (x, y, visible) in zip(names, points, strict=True)
        if visible
    }
    body = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(body)
    pen.polygon([seen[name] for name in OUTLINE if name in seen], fill=255)
    for name, (x, y) in seen.items():
        thin = any(word in name for word in ("leg", "beak", "tail"))
        nearest = min(
            (place for other, place in seen.items() if other in OUTLINE and other != name),
            key=lambda place: (place[0] - x) ** 2 + (place[1] - y) ** 2,
        )
        pen.line([(x, y), nearest], fill=255, width=20 if thin else 60)
        reach = 14 if thin else 34
        pen.ellipse([x - reach, y - reach, x + reach, y + reach], 255)
    body = body.filter(ImageFilter.GaussianBlur(12)).point(lambda value: min(255, 6 * value - 500))
    picture = Image.new("RGB", (SIDE, SIDE), PAPER)
    picture.paste(BODY, mask=body)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(30)
    for name, (x, y) in seen.items():
        pen.ellipse([x - 6, y - 6, x + 6, y + 6], fill=POINT)
        word = name.rsplit(" ", 1)[-1]
        if word in SAID and not (name.startswith("right") and f"left {word}" in seen):
            right = x < 0.72 * SIDE
            place = (x + (14 if right else -14), y)
            pen.text(place, word, POINT, font, anchor="lm" if right else "rm")
    return picture


def real(root: Path, ckpt: Path, out: Path) -> None:
    """Explain the first large bird of some classes that is recognised without doubt."""
    network = ppn.load(ckpt)
    data = CUBDataModule(str(root), num_workers=0)
    data.input_config = network.input_config
    wanted = {network.class_names.index(name): name for name in REAL}
    for batch in data.test_dataloader():
        for image, label, points in zip(
            batch["image"], batch["label"].tolist(), batch["keypoints"], strict=True
        ):
            there = points[points[:, 2] > 0, :2]
            if label not in wanted or len(there) < 11:
                continue
            if (there.amax(0) - there.amin(0)).max() < LARGE * image.shape[-1]:
                continue
            explanation = network.explain(image)
            if explanation.label != label or explanation.caution:
                continue
            bird = drawn(points.numpy(), data.part_names, image.shape[-1])
            told = replace(explanation, image=bird, patches=(None,) * network.k)
            told.save(out / f"real-{wanted.pop(label).lower().replace(' ', '-')}.webp")
        if not wanted:
            return


def small_transformer(file: Path, out: Path) -> None:
    """Explain the first bird that a small transformer with a class token knows without doubt."""
    model = transformer.trained(file)
    images, labels, _ = transformer.birds("train", 20)
    batches = list(zip(images.split(32), labels.split(32), strict=True))
    network = ppn.from_classifier(
        model, batches, k=3, class_names=transformer.NAMES, input_config=transformer.INPUT
    )
    tests, own, _ = transformer.birds("test", 4)
    for image, label in zip(tests, own.tolist(), strict=True):
        explanation = network.explain(image)
        if explanation.label == label and not explanation.caution:
            explanation.save(out / "transformer.webp")
            return


def edited(demo: Path, out: Path) -> None:
    """Explain a bird of the demo before and after the part that adds most is removed."""
    network = ppn.load(demo / "prototypes/checkpoints/prototypes.ckpt")
    bird = demo / f"birds/{EDITED.lower().replace(' ', '-')}.png"
    before = network.explain(bird)
    before.save(out.parent / "explanation.webp")
    network.remove(before.label, before.order[0] + 1)
    network.explain(bird, before.label).save(out / "edited.webp")
    rival = before.ranking[1].label
    network.undo()
    network.explain(bird).versus(rival).save(out / "versus.webp")


def report(page: Path, file: Path) -> None:
    """Take a picture of the top of a report, as a screen shows it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1240, "height": 890})
        tab.goto(page.resolve().as_uri())
        with replacing(file) as temporary:
            temporary.write_bytes(tab.screenshot())
        browser.close()


def main() -> None:
    """Draw what there is the material for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    add_root(parser, "CUB_200_2011")
    parser.add_argument("--ckpt", type=Path, help="prototypes of a classifier of it")
    parser.add_argument("--transformer", type=Path, default=Path("runs/gallery/transformer.pt"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    edited(given.run, given.out)
    report(given.run / "report/index.html", given.out.parent / "report.png")
    small_transformer(given.transformer, given.out)
    if given.root and given.ckpt:
        real(Path(given.root), given.ckpt, given.out)


if __name__ == "__main__":
    main()

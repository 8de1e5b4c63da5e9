"""The report of many classes: how large it is, and how soon its first page is there."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from experiments.benchmarks.measure import Row
from ppn.report.parts import Sighting
from ppn.report.render import write_report
from tests.report.conftest import build, card, heatmap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppn.report.content import Report
    from ppn.report.parts import ClassCard


def many_classes(classes: int, k: int, patches: int) -> Report:
    """Return a report of generated pictures in which each class has a page of its own.

    Pages differ in names alone: four sets of pictures take turns.
    """
    rng = np.random.default_rng(0)
    place = np.full((5, 5), 0.04)
    seen = [Sighting(_photo(rng), heatmap(rng), f"test {n}.jpg") for n in range(6)]
    pool = []
    for label in range(4):
        made = card(rng, label, k, patches)
        whole = [
            replace(
                p,
                patches=[replace(patch, image=_photo(rng)) for patch in p.patches],
                place=place,
                outside=0.1,
                sightings=seen,
            )
            for p in made.prototypes
        ]
        pool.append(replace(made, prototypes=whole))

    def page(label: int) -> ClassCard:
        return replace(pool[label % 4], label=label, name=f"Bird {label:03d}")

    def line(label: int) -> ClassCard:
        bare = [replace(p, patches=[], sightings=[]) for p in page(label).prototypes]
        return replace(page(label), prototypes=bare)

    return replace(
        build(k=k, classes=4, samples=10, patches=4),
        lines=[line(label) for label in range(classes)],
        card=page,
    )


def _photo(rng: np.random.Generator) -> Image.Image:
    """Draw what is as large in a file as a photograph of CUB-200-2011, or a little larger.

    At 224 and 116 pixels, as reports encode them: 11.0 and 2.3 KB; photographs take 10.6 and 2.2.
    """
    coarse = Image.fromarray(rng.integers(0, 256, (10, 10, 3)).astype(np.uint8))
    smooth = np.asarray(coarse.resize((224, 224), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 6, smooth.shape)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def folder_size(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def report_rows(classes: int = 200, k: int = 10, patches: int = 20) -> Iterator[Row]:
    """Yield the size of a report, and what opening it takes where a browser is installed."""
    with tempfile.TemporaryDirectory() as temporary:
        path = write_report(many_classes(classes, k, patches), Path(temporary))
        size = folder_size(Path(temporary)) / 1e6
        name = f"report of {classes} classes x {k} prototypes"
        yield Row(f"{name}, MB", "100 MB", size, 100, size / 100, "<= 1", "JPEG")
        seconds = _opening(path)
        if seconds is not None:
            yield Row(f"opening the {name}, s", "2 s", seconds, 2, seconds / 2, "<= 1", "browser")


def _opening(path: Path, repeats: int = 5) -> float | None:
    """Median seconds until a page is loaded; None without playwright and a Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        spent = []
        for _ in range(repeats):
            page = browser.new_page()
            page.goto(path.as_uri(), wait_until="load")
            timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
            spent.append(page.evaluate(timing) / 1000)
            page.close()
        browser.close()
    return statistics.median(spent)

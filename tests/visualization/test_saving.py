"""Pictures and figures are written in the format that the suffix says."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ppn.errors import DataError
from ppn.visualization.saving import picture_format, save_figure


def figure():
    drawn = Figure(figsize=(2, 1), dpi=100, facecolor="#ff0000")
    drawn.add_axes((0, 0, 1, 1)).axis("off")
    drawn.text(0.5, 0.5, "a word")
    return drawn


def picture():
    return Image.new("RGBA", (200, 100), (255, 0, 0, 255))


@pytest.mark.parametrize("drawn", [figure, picture])
@pytest.mark.parametrize(
    ("suffix", "kind"), [("png", "PNG"), ("PNG", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"),
                         ("webp", "WEBP")],
)  # fmt: skip
def test_pictures_are_what_their_suffix_says(tmp_path, drawn, suffix, kind):
    path = tmp_path / f"deep/a.{suffix}"
    assert save_figure(drawn(), path) == path
    with Image.open(path) as image:
        assert (image.format, image.size) == (kind, (200, 100))
        corner = np.array(image.convert("RGB"))[0, 0].astype(int)
    assert np.abs(corner - [255, 0, 0]).max() < 5


@pytest.mark.parametrize("drawn", [figure, picture])
def test_pdf_and_svg_are_pages(tmp_path, drawn):
    pdf = save_figure(drawn(), tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"CreationDate" not in pdf
    svg = save_figure(drawn(), str(tmp_path / "a.svg")).read_text()
    assert "<svg" in svg
    assert ("<image" in svg) == (drawn is picture)  # a figure stays vectors
    assert "dc:date" not in svg


@pytest.mark.parametrize("name", ["a.tiff", "a.gif", "a", ".png", "a.png.bak", "a.pdf "])
def test_other_suffixes_are_refused_before_anything_is_written(tmp_path, name):
    for write in (picture_format, lambda path: save_figure(picture(), path)):
        with pytest.raises(DataError, match=r"a picture can be \.png"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_link_and_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").symlink_to("real.png")
    assert save_figure(picture(), "~/a.png") == tmp_path / "a.png"
    assert (tmp_path / "a.png").is_symlink()
    assert Image.open(io.BytesIO((tmp_path / "real.png").read_bytes())).size == (200, 100)

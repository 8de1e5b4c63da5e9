"""Images of every kind."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppn.data.boxes import read_xml_box
from ppn.data.images import read_image, read_labels
from tests.fuzz.damage import damaged, outcome

KINDS = {
    "JPEG": "RGB",
    "PNG": "P",
    "BMP": "RGB",
    "GIF": "P",
    "TIFF": "RGB",
    "WEBP": "RGB",
    "PPM": "RGB",
    "JPEG2000": "RGB",
    # Pillow reads these, a data set has none; some run another program.
    "EPS": "RGB",
    "ICNS": "RGBA",
    "DDS": "RGB",
}


def encoded(kind):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 18, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    file = io.BytesIO()
    image = Image.fromarray(pixels).convert(KINDS[kind])
    if kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        image.save(file, kind, exif=exif)
    else:
        image.save(file, kind)
    return file.getvalue()


WHOLE = {kind: encoded(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of much that it can read all the same
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_damaged_images(folder, kind, data):
    path = folder / f"{kind}.img"
    path.write_bytes(data.draw(damaged(WHOLE[kind])))
    for upright in (False, True):
        image = outcome(lambda upright=upright: read_image(path, upright), path)
        if image is not None:
            assert image.mode == "RGB"
            assert min(image.size) > 0
            image.convert("L")  # it is decoded
    labels = outcome(lambda: read_labels(path), path)
    if labels is not None:
        assert labels.dtype == np.uint8
        assert labels.ndim in (2, 3)


XML = b"""<annotation><object><name>dog</name><bndbox><xmin>3</xmin><ymin>4</ymin>
<xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"""


@given(damaged(XML))
def test_damaged_boxes(folder, content):
    path = folder / "box.xml"
    path.write_bytes(content)
    box = outcome(lambda: read_xml_box(path), path)
    assert box is None or (np.isfinite(box).all() and (box[2:] >= box[:2]).all())


def test_entities_are_not_expanded_without_end(folder):
    """A billion laughs: a few hundred bytes that stand for gigabytes."""
    entities = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
    path = folder / "laughs.xml"
    path.write_text(f'<!DOCTYPE x [<!ENTITY l0 "ha">{entities}]><annotation>&l9;</annotation>')
    assert outcome(lambda: read_xml_box(path), path) is None

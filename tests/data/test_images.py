"""Image files of every kind, odd and broken."""

import warnings

import numpy as np
import pytest
from PIL import Image

from ppn.data.folder import ImageFolderDataModule
from ppn.data.images import read_image, read_labels
from ppn.errors import DataError
from tests import fakes

GRADIENT = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))


def colours():
    """Red, green and blue thirds."""
    pixels = np.zeros((48, 63, 3), np.uint8)
    for channel in range(3):
        pixels[:, 21 * channel : 21 * (channel + 1), channel] = 255
    return Image.fromarray(pixels)


def thirds(image):
    pixels = np.array(image).astype(int)
    assert pixels.shape == (48, 63, 3)
    return [pixels[10:40, 21 * i + 5 : 21 * i + 16].mean((0, 1)).argmax() for i in range(3)]


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGB", "a.jpg"),
        ("CMYK", "a.jpg"),
        ("YCbCr", "a.jpg"),
        ("RGBA", "a.png"),
        ("P", "a.png"),
        ("P", "a.gif"),
        ("RGB", "a.bmp"),
        ("RGB", "a.webp"),
        ("RGB", "a.tif"),
    ],
)
def test_colours_survive_every_kind_of_file(mode, name, tmp_path):
    colours().convert(mode).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.mode == "RGB"
    assert thirds(image) == [0, 1, 2]


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.jpg"),
        ("L", "a.png"),
        ("LA", "a.png"),
        ("I;16", "a.png"),
        ("I;16", "a.tif"),
        ("I", "a.tif"),
    ],
)
def test_grey_and_deep_gradients_neither_clip_nor_vanish(mode, name, tmp_path):
    kinds = {"I;16": np.uint16, "I": np.int32}
    if mode in kinds:
        image = Image.fromarray((GRADIENT.astype(np.int64) * 257).astype(kinds[mode]))
    else:
        image = Image.fromarray(GRADIENT).convert(mode)
    assert image.mode == mode
    image.save(tmp_path / name)
    pixels = np.array(read_image(tmp_path / name)).astype(int)
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels - GRADIENT[..., None]).max() <= 4


def test_dim_samples_in_32_bits_are_not_taken_for_16_bits(tmp_path):
    Image.fromarray(GRADIENT.astype(np.int32)).save(tmp_path / "a.tif")
    assert np.array_equal(np.array(read_image(tmp_path / "a.tif"))[..., 0], GRADIENT)


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(GRADIENT > 127).save(tmp_path / "a.png")
    pixels = np.array(read_image(tmp_path / "a.png"))
    assert pixels.shape == (48, 64, 3)
    assert np.array_equal(pixels[..., 1], np.where(GRADIENT > 127, 255, 0))


def test_transparency_is_dropped_in_silence(tmp_path):
    image = colours().convert("P")
    image.save(tmp_path / "p.png", transparency=b"\x00\x80" * 4)
    half = colours().convert("RGBA")
    half.putalpha(128)
    half.save(tmp_path / "rgba.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert thirds(read_image(tmp_path / "p.png")) == [0, 1, 2]
        opened = np.array(read_image(tmp_path / "rgba.png"))
    assert np.array_equal(opened, np.array(colours()))


def test_only_upright_obeys_the_cameras_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise for display
    colours().save(tmp_path / "a.jpg", exif=exif, quality=95)
    stored = read_image(tmp_path / "a.jpg")
    assert thirds(stored) == [0, 1, 2]
    upright = np.array(read_image(tmp_path / "a.jpg", upright=True)).astype(int)
    assert upright.shape == (63, 48, 3)
    assert [upright[21 * i + 10, 24].argmax() for i in range(3)] == [0, 1, 2]


def test_own_images_are_shown_upright(tmp_path):
    root = fakes.split_folders(tmp_path / "own")
    exif = Image.Exif()
    exif[0x0112] = 6
    path = next((root / "train").rglob("*.jpg"))
    colours().save(path, exif=exif)
    source = ImageFolderDataModule(str(root)).train_source
    index = next(
        i for i in range(len(source)) if source.name(i) == path.relative_to(root).as_posix()
    )
    assert source.read(index).image.size == (48, 63)


def broken(kind, path):
    """Put something at a path that is no whole image."""
    if kind == "directory":
        path.mkdir()
    elif kind == "float":
        Image.fromarray(GRADIENT.astype(np.float32)).save(path, format="TIFF")
    else:
        colours().save(path, format="PNG" if path.suffix == ".png" else "JPEG")
        whole = path.read_bytes()
        path.write_bytes(
            {
                "empty": b"",
                "text": b"<html>\n404\n</html>\n",
                "cut": whole[: len(whole) // 2],
                "head": whole[:40],
                "rotten": whole[:60] + bytes(len(whole) - 60),
            }[kind]
        )


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "head", "rotten", "directory"])
@pytest.mark.parametrize("read", [read_image, read_labels])
def test_broken_files_are_named_in_one_sentence(read, kind, name, tmp_path):
    broken(kind, tmp_path / name)
    with pytest.raises(DataError) as error:
        read(tmp_path / name)
    said = str(error.value)
    assert str(tmp_path / name) in said
    assert "cannot be read" in said
    assert "\n" not in said


def test_floating_point_samples_are_refused(tmp_path):
    broken("float", tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif cannot be read .*floating-point"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_missing_files_say_so(read, tmp_path):
    with pytest.raises(
        DataError, match=r"a\.png is missing: (check its name|complete the data set)"
    ):
        read(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "shape"), [("L", ()), ("P", ()), ("RGB", (3,)), ("RGBA", (3,))])
def test_labels_keep_their_values(mode, shape, tmp_path):
    values = np.random.default_rng(0).integers(0, 200, (5, 7, *([len(mode)] if shape else [])))
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image = Image.fromarray(values.astype(np.uint8), "L").convert("P")
        image.putpalette([255 - i // 3 for i in range(768)])
        values = np.array(image)
    image.save(tmp_path / "a.png")
    read = read_labels(tmp_path / "a.png")
    assert read.shape == (5, 7, *shape)
    assert np.array_equal(read, values[..., :3] if shape else values)


@pytest.mark.parametrize("upright", [False, True])
def test_a_bomb_is_refused(upright, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    colours().save(tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path / "a.png", upright)

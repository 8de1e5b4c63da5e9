import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor

from ppn.data.contact_sheet import GAP, UNIT, Picture, Sheet, draw_sheet, grid_of, placed
from ppn.data.cub import CUBDataModule
from ppn.data.dataset import Annotated
from ppn.data.marks import DOT, colour_of, mask_colours, place_tags
from ppn.data.preview import choose, make_sheet, seen_by_network, write_png
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.data.transforms import Transform
from ppn.errors import DataError
from ppn.types import InputConfig
from tests import fakes

BASE = (90, 100, 110)
PARTS = ("beak", "crown", "tail")


def sample(width=200, height=150, **annotations):
    return Annotated(Image.new("RGB", (width, height), BASE), **annotations)


def sheet(*samples, names=("Bird",), **more):
    pictures = [Picture(s, names[i % len(names)], "file.jpg") for i, s in enumerate(samples)]
    return Sheet("Birds", "some of them", pictures, **more)


def pixel_at(image, drawn, position, x, y):
    """The colour on the sheet where pixel (x, y) of an image is."""
    (left, top, _, _), scale = placed(drawn.pictures[position], grid_of(drawn), position)
    return image.getpixel((round(left + x * scale), round(top + y * scale)))


@pytest.mark.parametrize("position", [0, 1, 4])
def test_dots_are_where_the_visible_keypoints_are(position):
    points = np.array([[30.0, 40.0, 1.0], [120.0, 30.0, 0.0], [160.0, 110.0, 1.0]])
    # Wide and tall images are centred in their place, and enlarged differently.
    others = [sample(*shape) for shape in ((200, 150), (60, 90), (300, 80))]
    samples = [*others, sample(), sample()]
    samples[position] = sample(keypoints=points)
    drawn = sheet(*samples, part_names=PARTS)
    image = draw_sheet(drawn)
    for part, (x, y, _) in enumerate(points):
        found = pixel_at(image, drawn, position, x, y)
        expected = BASE if part == 1 else ImageColor.getrgb(colour_of(part))
        assert found == expected


@pytest.mark.parametrize("shape", [(60, 150), (300, 80)])
def test_images_stand_in_the_middle_of_their_place(shape):
    drawn = sheet(sample(*shape), sample(), sample(), sample())
    grid = grid_of(drawn)
    left, top = (UNIT * value for value in grid.corner(0))
    width, height = (UNIT * value for value in grid.tile)
    pixels = np.asarray(draw_sheet(drawn))[top : top + height, left : left + width]
    rows, columns = np.nonzero((pixels == BASE).all(2))
    assert abs(rows.min() - (height - 1 - rows.max())) <= 1
    assert abs(columns.min() - (width - 1 - columns.max())) <= 1
    assert (np.ptp(rows) + 1 == height) != (np.ptp(columns) + 1 == width)


def test_a_box_is_drawn_around_its_content_and_leaves_it_alone():
    drawn = sheet(sample(box=np.array([50.0, 40.0, 150.0, 120.0])))
    image = draw_sheet(drawn)
    ink = (28, 33, 40)
    for x, y in ((50, 80), (150, 80), (100, 40), (100, 120)):
        around = [
            pixel_at(image, drawn, 0, x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)
        ]
        assert ink in around
    assert pixel_at(image, drawn, 0, 100, 80) == BASE
    assert pixel_at(image, drawn, 0, 30, 80) == BASE


def test_masks_are_translucent_and_in_place():
    mask = np.zeros((150, 200), np.uint8)
    mask[50:100, 80:120] = 2
    drawn = sheet(sample(mask=mask), mask_names=("wing", "tail"))
    image = draw_sheet(drawn)
    colour = np.array(ImageColor.getrgb(mask_colours(("wing", "tail"), ())[1]))
    inside = np.array(pixel_at(image, drawn, 0, 100, 75))
    share = (inside - BASE) / (colour - BASE)
    assert np.ptp(share) < 0.05  # a mixture of both
    assert 0.2 < share.mean() < 0.6
    assert pixel_at(image, drawn, 0, 60, 75) == BASE


def test_areas_and_keypoints_of_one_name_have_one_colour():
    colours = mask_colours(("tail", "body", "beak"), PARTS)
    assert (colours[0], colours[2]) == (colour_of(2), colour_of(0))
    assert colours[1] not in {colour_of(part) for part in range(3)}


def test_names_stand_below_their_image_and_do_not_reach_the_next_one():
    short = sheet(sample(), sample(), names=("Finch",))
    long = sheet(sample(), sample(), names=("Finch of many words " * 20,))
    grid = grid_of(short)
    left, top = (UNIT * value for value in grid.corner(0))
    width, height = (UNIT * value for value in grid.tile)
    below = top + height
    letters = {}
    for name, drawn in (("short", short), ("long", long)):
        pixels = np.asarray(draw_sheet(drawn).convert("L"))[below : below + 22 * UNIT]
        letters[name] = np.flatnonzero((pixels[:, left : left + width] < 120).any(0))
        assert (pixels[:, left + width + 2 : left + width + GAP * UNIT] == 255).all()
    assert 0 < letters["short"].max() < width / 3
    assert letters["long"].max() > 0.9 * width


def test_the_legend_names_every_part_that_can_be_seen():
    bare = draw_sheet(sheet(sample(), part_names=PARTS))
    points = np.array([[30.0, 40.0, 1.0]] * 3)
    full = draw_sheet(sheet(sample(keypoints=points), part_names=PARTS))
    assert full.height > bare.height
    legend = full.crop((0, bare.height - 40, full.width, full.height))
    colours = {colour for _, colour in legend.getcolors(1 << 20)}
    assert {ImageColor.getrgb(colour_of(part)) for part in range(3)} <= colours


def test_numbers_hide_neither_each_other_nor_dots():
    x, y = np.meshgrid(np.linspace(20, 240, 5), np.linspace(15, 180, 3))
    points = np.column_stack([x.ravel(), y.ravel(), np.ones(15)])
    tags = place_tags(points, (264, 200))
    assert sorted(tag.number for tag in tags) == list(range(1, 16))
    for tag in tags:
        assert 0 < tag.x < 264
        assert 0 < tag.y < 200
        assert all(math.dist((tag.x, tag.y), point[:2]) > DOT + 6 for point in points)
        others = [o for o in tags if o is not tag]
        assert all(abs(o.x - tag.x) > 13 or abs(o.y - tag.y) > 13 for o in others)


def test_numbers_stay_on_their_image():
    corners = np.array([[1.0, 1.0, 1.0], [99.0, 1.0, 1.0], [1.0, 79.0, 1.0], [99.0, 79.0, 1.0]])
    for tag in place_tags(corners, (100, 80)):
        assert 6 < tag.x < 94
        assert 6 < tag.y < 74


def test_keypoints_outside_of_the_image_have_no_number():
    points = np.array([[-3.0, 10.0, 1.0], [20.0, 10.0, 1.0], [20.0, 10.0, 0.0]])
    assert [tag.number for tag in place_tags(points, (100, 100))] == [2]


def test_images_spread_over_the_classes_and_follow_from_the_seed():
    labels = np.repeat([0, 1, 2, 3], [50, 1, 20, 20])
    chosen = choose(labels, 4, seed=0)
    assert labels[chosen].tolist() == [0, 1, 2, 3]
    assert choose(labels, 4, seed=0) == chosen
    assert choose(labels, 4, seed=1) != chosen
    assert np.bincount(labels[choose(labels, 7, seed=0)]).tolist() == [2, 1, 2, 2]
    assert sorted(choose(labels, 500, seed=0)) == list(range(91))
    assert len(set(labels[choose(labels, 2, seed=5)])) == 2


def test_the_box_crop_takes_annotations_along(tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011")
    plain = make_sheet(CUBDataModule(str(root), crop="frame"), "CUB", images=3)
    cut = make_sheet(CUBDataModule(str(root), crop="box"), "CUB", images=3)
    for before, after in zip(plain.pictures, cut.pictures, strict=True):
        assert before.detail == after.detail
        assert after.sample.image.size == (80, 70)
        # The box begins at (20, 10).
        part = before.sample.keypoints[:, 2].argmax()
        x, y = before.sample.keypoints[part, :2].astype(int)
        u, v = after.sample.keypoints[part, :2].astype(int)
        assert (u, v) == (x - 20, y - 10)
        assert before.sample.image.getpixel((x, y)) == after.sample.image.getpixel((u, v))
    assert [p.name for p in plain.pictures] == ["Bird 0", "Bird 1", "Bird 2"]


def test_the_network_sees_augmented_images_in_training_only():
    data = SyntheticBirdsDataModule(num_classes=2, train_per_class=1, draw_size=96)
    data.augmentation = "standard"
    config = data.input_config
    for split, augmented in (("train", True), ("test", False)):
        made = make_sheet(data, "birds", split, images=2, transformed=True)
        source = data.train_source if split == "train" else data.test_source
        index = next(i for i in range(len(source)) if source.name(i) == made.pictures[0].detail)
        plain = seen_by_network(source.read(index), Transform(config, data.crop), config)
        found = made.pictures[0].sample
        assert found.image.size == (224, 224)
        assert found.mask.shape == (224, 224)
        same = np.array_equal(np.asarray(found.image), np.asarray(plain.image))
        assert same != augmented
        assert ("augmentation: standard" in made.subtitle) == augmented


def test_annotations_follow_the_augmentation():
    data = SyntheticBirdsDataModule(num_classes=4, train_per_class=2, augmentation="standard")
    made = make_sheet(data, "birds", images=8, transformed=True)
    hits = []
    for picture in made.pictures:
        seen = picture.sample
        for part, (x, y, visible) in enumerate(seen.keypoints):
            if visible:
                hits.append(seen.mask[int(y), int(x)] == part + 1)
    assert len(hits) > 20
    assert np.mean(hits) > 0.9  # thin parts may miss by a pixel


def test_what_the_network_sees_keeps_its_colours():
    config = InputConfig((64, 64), (0.3, 0.4, 0.5), (0.2, 0.2, 0.3))
    seen = seen_by_network(sample(), Transform(config), config)
    assert seen.image.size == (64, 64)
    assert np.abs(np.asarray(seen.image).astype(int) - BASE).max() <= 1
    assert (seen.box, seen.keypoints, seen.mask) == (None, None, None)


def test_the_sheet_repeats_for_the_same_seed():
    data = SyntheticBirdsDataModule(num_classes=3, train_per_class=3, draw_size=96)
    made = [make_sheet(data, "birds", images=3, seed=s, transformed=True) for s in (1, 1, 2)]
    torch.rand(3)  # whatever else draws does not matter
    images = [np.asarray(m.pictures[0].sample.image) for m in made]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


@pytest.mark.parametrize("images", [0, 500])
def test_a_sheet_has_a_sensible_number_of_images(images):
    with pytest.raises(DataError, match="1 to 120 images"):
        make_sheet(SyntheticBirdsDataModule(num_classes=2), "birds", images=images)


def test_names_in_other_scripts_do_not_break_a_sheet():
    drawn = draw_sheet(sheet(sample(), names=("Grünfink\n鳥 [bold]",)))
    assert drawn.width > 0


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "sheet.png"
    save, targets = Image.Image.save, []

    def watched(image, target, **options):
        targets.append(target)
        save(image, target, **options)

    monkeypatch.setattr(Image.Image, "save", watched)
    write_png(Image.new("RGB", (4, 4), "red"), path)
    write_png(Image.new("RGB", (4, 4), "blue"), path)
    assert len(targets) == 2
    assert path not in targets
    assert {target.parent for target in targets} == {path.parent}  # renaming needs one file system
    assert Image.open(path).getpixel((0, 0)) == (0, 0, 255)

    def full_disk(image, target, **options):
        target.write_bytes(b"half of")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(DataError, match="no space left"):
        write_png(Image.new("RGB", (4, 4), "red"), path)
    assert Image.open(path).getpixel((0, 0)) == (0, 0, 255)
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]

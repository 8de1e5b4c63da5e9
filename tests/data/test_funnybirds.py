"""FunnyBirds on its fake and on real renderings: parts lie where their colours are."""

import json

import numpy as np
import pytest
import torch

from ppn.data.funnybirds import COLOURS, FunnyBirds, FunnyBirdsDataModule
from ppn.data.images import read_labels
from ppn.data.interventions import Interventions
from ppn.errors import DataError
from ppn.types import InputConfig
from tests import fakes
from tests.data.markers import marker

KINDS = ("beak", "eye", "foot", "tail", "wing")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return fakes.funnybirds(tmp_path_factory.mktemp("set") / "FunnyBirds", interventions=True)


def kind_of(part):
    return part.rstrip("012")


def test_removed_parts_have_no_keypoint_and_no_pixels(root):
    train = FunnyBirds(root, "train")
    assert train.removed[:4] == [[], ["beak"], [], ["beak", "wing"]]
    for index in range(4):
        seen = train.read(index).keypoints[:, 2] == 1
        shown = set(np.unique(train.mask(index)).tolist()) - {0, 255}
        for part, name in enumerate(train.part_names):
            missing = kind_of(name) in train.removed[index]
            assert seen[part] == (part + 1 in shown) == (not missing)
    assert FunnyBirds(root, "test").removed == [[]] * 6


def test_objects_behind_are_background_and_mixed_pixels_unknown(root):
    mask = FunnyBirds(root, "train").mask(0)
    assert (mask[5:15, 100:115] == 0).all()
    assert (mask[70:72, 40:50] == 255).all()
    assert (mask == 255).sum() == 20
    assert mask[22, 36] == 9  # the rest of the bird


@pytest.mark.parametrize("parts", [(), ("beak",), ("eye", "wing"), KINDS])
def test_interventions_are_the_authors_renderings_without_parts(root, parts):
    test = FunnyBirds(root, "test")
    pixels = np.array(test.without_parts(3, parts))
    kept = "_".join(kind for kind in KINDS if kind not in parts)
    path = root / "test_interventions/1/000003" / f"body_{kept}.png"
    assert np.array_equal(pixels, read_labels(path))
    if "beak" in parts:
        assert (pixels.min(-1) < 100).all()
    else:
        assert np.abs(marker(pixels) - [58.5, 41.5]).max() <= 0.5


def test_every_region_of_an_image_is_that_of_its_part_or_object(root):
    test = FunnyBirds(root, "test")
    assert test.kinds["eye"] == ["eye01", "eye02"]
    assert test.traits == {0: (0, 0, 0, 0, 0), 1: (1, 0, 0, 0, 0), 2: (0, 1, 0, 0, 0)}
    data = FunnyBirdsDataModule(str(root), num_workers=0)
    data.input_config = InputConfig((90, 90), crop_pct=1.0)  # the middle of 120 x 90
    changes = Interventions.of(data.view("test"))
    found = changes.regions(3)
    whole = test.mask(3)[:, 15:105]
    count, objects = test.background_objects(3)
    assert (count, np.unique(objects).tolist()) == (2, [0, 3])  # the fake shows another one
    assert found.shape == (5 + 2, 90, 90)
    for place, names in enumerate(test.kinds.values()):
        codes = [1 + list(COLOURS).index(name) for name in names]
        assert np.array_equal(found[place].numpy(), np.isin(whole, codes))
        assert found[place].any()
    assert not found[5:].any()
    kept, gone = (changes.without_parts(3, parts) for parts in ([], ["beak"]))
    assert (kept - gone)[:, 41, 58 - 15].abs().max() > 0.5
    assert changes.without_object(3, 1).shape == data.view("test")[3]["image"].shape


def test_there_are_interventions_where_the_complete_set_is(root, tmp_path):
    assert Interventions.of(FunnyBirdsDataModule(str(root)).view("val")) is None
    assert Interventions.of(FunnyBirdsDataModule(str(root), background=1).view("test")) is None
    small = fakes.funnybirds(tmp_path / "FunnyBirds")
    assert Interventions.of(FunnyBirdsDataModule(str(small)).view("test")) is None


def test_traits_follow_the_numbers_of_classes(root):
    numbered = FunnyBirds(root, "test").numbered([4, 0, 2], list("abcde"))
    assert numbered.traits[4] == (0, 0, 0, 0, 0)
    assert numbered.traits[0] == (1, 0, 0, 0, 0)
    assert set(numbered.traits) == {0, 2, 4}


def test_what_is_no_intervention_is_refused(root):
    test = FunnyBirds(root, "test")
    assert test.without_background_object(0, 1).size == (120, 90)
    with pytest.raises(DataError, match="no part 'leg': parts are beak, eye, foot, tail, wing"):
        test.without_parts(0, ["leg"])
    with pytest.raises(DataError, match="is missing"):
        test.without_background_object(0, 9)
    with pytest.raises(DataError, match="train_interventions is missing: get the complete"):
        FunnyBirds(root, "train").without_parts(0, ["beak"])


@pytest.mark.parametrize("workers", [0, 2])
def test_part_maps_are_read_once(workers, tmp_path):
    root = fakes.funnybirds(tmp_path / "FunnyBirds")
    data = FunnyBirdsDataModule(str(root), num_workers=workers, val_fraction=0.0, batch_size=3)
    data.input_config = InputConfig((64, 64))
    first = list(data.discovery_loader([0, 1, 2]))
    for path in (root / "train_part_map").rglob("*.png"):
        path.unlink()
    again = list(data.discovery_loader([0, 1, 2]))
    for one, two in zip(first, again, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(DataError, match="is missing"):
        FunnyBirds(root, "train").read(0)


@pytest.fixture(scope="module")
def real(funnybirds_root):
    return {split: FunnyBirds(funnybirds_root, split) for split in ("train", "test")}


def test_real_counts(real, funnybirds_root):
    assert (len(real["train"]), len(real["test"])) == (250, 150)
    for source, count in ((real["train"], 25), (real["test"], 15)):
        assert np.bincount(source.labels).tolist() == [count] * 10
        for index in range(0, len(source), 30):
            assert source.read(index).image.size == (256, 256)
    without = sum(bool(removed) for removed in real["train"].removed)
    assert 80 <= without <= 160  # about half, as the authors' generator draws
    assert not any(real["test"].removed)
    scenes = json.loads((funnybirds_root / "dataset_train.json").read_text())
    assert [s["class_idx"] for s in scenes] == real["train"].labels.tolist()


def test_real_keypoints_lie_on_pixels_of_their_parts(real, funnybirds_root):
    seen = np.zeros(8, int)
    for split, source in real.items():
        for index in range(0, len(source), 6):
            place = source.name(index).split("/", 1)[1]
            colours = read_labels(funnybirds_root / f"{split}_part_map" / place)
            sample = source.read(index)
            mask = source.mask(index)
            for part, (x, y, visible) in enumerate(sample.keypoints):
                colour = COLOURS[source.part_names[part]]
                shown = (colours == colour).all(-1)
                assert bool(visible) == shown.any()
                if visible:
                    assert tuple(colours[int(y), int(x)]) == colour
                    assert mask[int(y), int(x)] == part + 1
                    assert np.array_equal(shown, mask == part + 1)
                    seen[part] += 1
                if kind_of(source.part_names[part]) in source.removed[index]:
                    assert not visible
            x0, y0, x1, y1 = sample.box.astype(int)
            bird = (mask > 0) & (mask < 255)
            assert bird[y0:y1, x0:x1].sum() == bird.sum() > 0
            assert all(
                edge.any() for edge in (bird[y0], bird[y1 - 1], bird[:, x0], bird[:, x1 - 1])
            )
            assert (mask == 255).mean() < 0.02  # edges, where the renderer mixed two colours
    assert (seen > 5).all()


@pytest.mark.parametrize("crop", ["frame", "box"])
@pytest.mark.parametrize("augmentation", ["none", "flip", "standard"])
def test_real_masks_show_the_part_at_its_keypoint_after_transforms(
    crop, augmentation, funnybirds_root
):
    data = FunnyBirdsDataModule(str(funnybirds_root), crop=crop, masks=True)
    data.input_config = InputConfig((224, 224))
    view = data.view("train", augmentation)
    hits = []
    for index in range(0, len(view), 16):
        torch.manual_seed(index)
        batch = view[index]
        assert batch["mask"].shape == (224, 224)
        points = batch["keypoints"]
        inside = (points[:, 2] == 1) & ((points[:, :2] >= 0) & (points[:, :2] < 224)).all(1)
        for part in torch.nonzero(inside)[:, 0].tolist():
            x, y = points[part, :2].int().tolist()
            # Parts a pixel wide may shrink away: a neighbour has to show them.
            around = batch["mask"][max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            hits.append((batch["mask"][y, x] == part + 1, (around == part + 1).any()))
    exact, near = np.array(hits, dtype=float).mean(0)
    assert len(hits) > 30
    assert exact > 0.93
    assert near > 0.97


def test_a_bird_before_another_background_is_the_same_bird(root):
    own, other = FunnyBirds(root, "test"), FunnyBirds(root, "test", background=1)
    for index in range(len(own)):
        before, after = (np.asarray(data.read(index).image) for data in (own, other))
        mask = own.mask(index)
        bird = (mask > 0) & (mask < 255)
        assert np.array_equal(before[bird], after[bird])
        assert not np.array_equal(before[~bird], after[~bird])
    with pytest.raises(DataError, match="background is -1"):
        FunnyBirds(root, "test", -1)

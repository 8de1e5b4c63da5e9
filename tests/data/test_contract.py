"""What every DataModule promises, on a fake of each in its official layout."""

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from ppn.data.catalog import CATALOG
from ppn.data.folder import ImageFolderDataModule
from ppn.data.published import PublishedDataModule
from ppn.data.split import balanced
from ppn.errors import DataError
from tests import ddp
from tests.data.markers import colour, extent, marker, pixels_of
from tests.data.sets import SETS, write_all

PUBLISHED = [name for name, fake in SETS.items() if issubclass(fake.module, PublishedDataModule)]
BOXED = [name for name, fake in SETS.items() if fake.boxes]
ANNOTATED = [
    name
    for name, fake in SETS.items()
    if (fake.boxes or fake.masks) and name != "synthetic" and not name.startswith("aircraft_")
]
MARKED = [name for name, fake in SETS.items() if fake.marked is not None]
MASKED = [name for name, fake in SETS.items() if fake.masks]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("sets"))


@pytest.fixture
def build(roots):
    return lambda name, **more: SETS[name].build(roots[name], **more)


def names_of(data, split):
    view = data.view(split)
    return [view.source.name(int(index)) for index in view.indices]


def hashes_of(data, split):
    view = data.view(split)
    return [
        hashlib.sha256(view.source.read(int(index)).image.tobytes()).hexdigest()
        for index in view.indices
    ]


def loaders_of(data):
    """Every loader with the split that it reads."""
    yield "train", data.train_dataloader()
    yield "val", data.val_dataloader()
    yield "test", data.test_dataloader()
    yield "test", data.predict_dataloader()
    yield "train", data.discovery_loader(range(data.num_classes))


def rank_reads(roots):
    """What one process reads of each set: test, validation and its share of discovery."""
    read = {}
    for name, fake in SETS.items():
        data = fake.build(roots[name], batch_size=2)
        groups, images = data.discovery_groups(8, data.batch_size)
        own = [groups[i] for i in balanced(images, 2)[torch.distributed.get_rank()]]
        loaders = data.test_dataloader(), data.val_dataloader(), data.discovery_loader(*own)
        read[name] = [
            [i for batch in loader for i in batch["index"].tolist()] for loader in loaders
        ]
    return read


def test_every_data_set_is_held_to_the_contract():
    tested = {fake.module for fake in SETS.values()}
    assert tested >= {*CATALOG.values(), ImageFolderDataModule}


def test_two_processes_see_each_image_once(roots):
    ranks = ddp.run(rank_reads, roots)
    for name, fake in SETS.items():
        data = fake.build(roots[name])
        wanted = (np.arange(fake.test), data.view("val").indices, data.view("train").indices)
        for loader, expected in enumerate(wanted):
            shares = [rank[name][loader] for rank in ranks]
            assert sorted(itertools.chain(*shares)) == expected.tolist(), name
            assert all(shares), name


@pytest.mark.parametrize("name", SETS)
class TestContract:
    def test_classes_and_counts_are_those_of_the_fake(self, name, build):
        fake, data = SETS[name], build(name)
        assert data.class_names == fake.names
        assert data.num_classes == len(set(data.class_names)) == 3
        assert all(data.class_names)
        assert len(data.part_names) == fake.parts
        assert tuple(data.train_source.mask_names) == fake.masks
        assert (len(data.train_source), len(data.test_source)) == (fake.train, fake.test)
        for source, count in ((data.train_source, 4), (data.test_source, 2)):
            assert source.labels.dtype == np.int64
            assert np.bincount(source.labels).tolist() == [count] * 3
            assert source.class_names == data.class_names

    def test_labels_are_those_of_the_pictures(self, name, build):
        if name == "synthetic":
            pytest.skip("its classes do not differ in one colour")
        data = build(name)
        for source in (data.train_source, data.test_source):
            seen = [colour(np.array(source.read(i).image)) for i in range(len(source))]
            assert seen == source.labels.tolist()

    def test_no_image_is_in_two_splits(self, name, build):
        data = build(name)
        for identify in (names_of, hashes_of):
            found = {split: identify(data, split) for split in ("train", "val", "test")}
            every = list(itertools.chain(*found.values()))
            assert len(every) == len(set(every)) == 18
            assert [len(found[split]) for split in ("train", "val", "test")] == [9, 3, 6]

    def test_validation_is_a_seeded_stratified_share_of_training(self, name, build):
        data = build(name)
        val = data.view("val")
        assert val.source is data.train_source
        assert sorted(val.labels) == [0, 1, 2]
        assert sorted(data.view("train").labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        drawn = {
            seed: {
                split: names_of(build(name, split_seed=seed), split) for split in ("val", "test")
            }
            for seed in range(6)
        }
        again = build(name, split_seed=0)
        assert {split: names_of(again, split) for split in ("val", "test")} == drawn[0]
        assert len({tuple(sorted(d["val"])) for d in drawn.values()}) > 1
        if name != "folder":  # without a split of its own, test images are drawn as well
            assert all(d["test"] == drawn[0]["test"] for d in drawn.values())
        assert len(build(name, val_fraction=0.0).view("train")) == 12

    def test_batches_are_as_documented(self, name, build):
        fake, data = SETS[name], build(name)
        for split, loader in loaders_of(data):
            read = []
            for batch in loader:
                size = len(batch["label"])
                documented = {
                    "image": ((size, 3, 96, 96), torch.float32),
                    "label": ((size,), torch.int64),
                    "index": ((size,), torch.int64),
                    "keypoints": ((size, fake.parts, 3), torch.float32),
                    "box": ((size, 4), torch.float32),
                }
                found = {key: (tuple(v.shape), v.dtype) for key, v in batch.items()}
                assert found == documented
                assert all(torch.isfinite(batch[key]).all() for key in ("image", "keypoints"))
                assert batch["label"].min() >= 0
                assert batch["label"].max() < data.num_classes
                assert set(batch["keypoints"][..., 2].unique().tolist()) <= {0.0, 1.0}
                low, high = batch["box"][:, :2], batch["box"][:, 2:]
                assert (low >= 0).all()
                assert (low < high).all()
                assert (high <= 96).all()
                read += batch["index"].tolist()
            assert sorted(read) == data.view(split).indices.tolist()

    def test_discovery_reads_training_images_class_after_class_and_unchanged(self, name, build):
        data = build(name, augmentation="standard")
        batches = list(data.discovery_loader([2, 0]))
        torch.manual_seed(123)
        again = list(data.discovery_loader([2, 0]))
        for first, second in zip(batches, again, strict=True):
            assert all(torch.equal(first[key], second[key]) for key in first)
        assert torch.cat([b["label"] for b in batches]).tolist() == [2, 2, 2, 0, 0, 0]
        indices = torch.cat([b["index"] for b in batches]).tolist()
        assert indices[:3] == sorted(indices[:3])
        assert set(indices) <= set(data.view("train").indices.tolist())
        plain = data.view("train")
        at = {int(index): position for position, index in enumerate(plain.indices)}
        images = torch.cat([b["image"] for b in batches])
        assert torch.equal(images, torch.stack([plain[at[i]]["image"] for i in indices]))

    def test_masks_come_when_asked_for_and_hold_known_values(self, name, build):
        fake, data = SETS[name], build(name, masks=True)
        for _, loader in loaders_of(data):
            for batch in loader:
                assert ("mask" in batch) == bool(fake.masks)
                if fake.masks:
                    assert batch["mask"].shape == (len(batch["label"]), 96, 96)
                    assert batch["mask"].dtype == torch.uint8
                    values = set(batch["mask"].unique().tolist())
                    assert values <= {*range(len(fake.masks) + 1), 255}
                    assert values & set(range(1, len(fake.masks) + 1))


@pytest.mark.parametrize("name", BOXED)
def test_boxes_lie_on_the_objects(name, build):
    if name == "synthetic":
        pytest.skip("its boxes are tested in test_synthetic")
    fake, data = SETS[name], build(name)
    samples = [data.train_source.read(i) for i in range(fake.train)]
    boxed = [sample for sample in samples if sample.box is not None]
    assert len(boxed) == fake.boxes
    for sample in boxed:
        assert np.abs(sample.box - extent(np.array(sample.image))).max() == 0


@pytest.mark.parametrize("name", MARKED)
def test_keypoints_lie_on_the_markers(name, build):
    data = build(name)
    seen = 0
    for i in range(12):
        sample = data.train_source.read(i)
        x, y, visible = sample.keypoints[SETS[name].marked]
        if visible:
            assert np.abs(marker(np.array(sample.image)) - [x, y]).max() <= 0.5
            seen += 1
    assert seen >= 6


@pytest.mark.parametrize("name", [name for name in MASKED if name != "synthetic"])
def test_masks_lie_on_the_objects(name, build):
    source = build(name).train_source
    for i in range(12):
        pixels = np.array(source.read(i).image)
        mask = source.mask(i)
        assert mask.shape == pixels.shape[:2]
        shown = pixels.max(-1) > 140
        assert (mask[shown] > 0).all()
        if name == "pets":  # the whole animal, of which the object is the head
            shown = pixels.max(-1) > 75
        covered = (mask > 0) & (mask < 255)
        assert (covered & shown).sum() / (covered | shown).sum() > 0.97


@pytest.mark.parametrize("augmentation", ["none", "flip", "standard"])
@pytest.mark.parametrize("crop", ["frame", "box"])
@pytest.mark.parametrize("name", ANNOTATED)
def test_annotations_follow_the_pixels(name, crop, augmentation, build):
    fake, data = SETS[name], build(name, masks=True, crop=crop)
    view = data.view("train", augmentation)
    found = 0
    for seed in range(6 if augmentation == "none" else 14):
        torch.manual_seed(seed)
        batch = view[seed % len(view)]
        pixels = pixels_of(batch["image"])
        box, visible = batch["box"].numpy(), extent(pixels)
        boxed = view.source.read(int(batch["index"])).box is not None
        if not boxed:
            assert (box <= visible + 1.5)[:2].all()
            assert (box >= visible - 1.5)[2:].all()
        else:
            assert np.abs(box - visible).max() <= 1.5
        if fake.marked is None:
            found += 1
            continue
        x, y, seen = batch["keypoints"][fake.marked].tolist()
        if seen and 10 < x < 86 and 10 < y < 86:
            # An earlier step may have cut a rim off the marker that a later one moved inside.
            assert np.abs(marker(pixels) - [x, y]).max() <= 2
            if fake.masks:
                assert batch["mask"][int(y), int(x)] == 1
            found += 1
    assert found >= (3 if augmentation == "none" else 5)


@pytest.mark.parametrize("name", PUBLISHED)
class TestPublished:
    def test_root_may_be_the_folder_or_the_one_that_holds_it(self, name, build, roots):
        inside = build(name)
        around = SETS[name].build(roots[name].parent)
        far = SETS[name].build(roots[name].parent.parent / name)
        assert inside.folder == around.folder == far.folder == roots[name]

    def test_whatever_is_missing_is_named_in_one_sentence(self, name, tmp_path):
        fake = SETS[name]
        root = fake.write(tmp_path / fake.folder)
        data = fake.build(root)
        card = data.card
        layouts = (card.layout, *card.other_layouts)
        layout = next(names for names in layouts if (root / names[0]).exists())
        for missing in layout:
            (root / missing).rename(tmp_path / "aside")
            with pytest.raises(DataError) as error:
                SETS[name].build(root).setup("test")
            (tmp_path / "aside").rename(root / missing)
            said = str(error.value)
            assert "\n" not in said
            assert card.page in said
            assert card.folder in said
            if layout is card.layout:
                assert str(root / missing) in said
                assert all(entry in said for entry in layout)
        fake.build(root).setup("test")

    def test_the_card_tells_a_part_from_the_whole(self, name, build):
        data = build(name)
        state, note = data.card.compare(data.train_source, data.test_source)
        assert state == "partial"
        assert f"3 of {data.card.classes} classes" in note
        assert f"12 of {data.card.train} training images" in note
        assert f"6 of {data.card.test} test images" in note
        small = replace(data.card, classes=3, train=12, test=6)
        state, note = small.compare(data.train_source, data.test_source)
        assert state == "complete"
        assert "complete: 3 classes, 12 training images, 6 test images" in note

import numpy as np
import pytest

from ppn.data.cub import CUB, CUBDataModule
from ppn.errors import DataError
from ppn.types import InputConfig
from tests import fakes


@pytest.fixture
def root(tmp_path):
    return fakes.cub(tmp_path / "CUB_200_2011")


def replace_line(path, number, text):
    lines = path.read_text().splitlines()
    lines[number] = text
    path.write_text("\n".join(lines) + "\n")


def test_official_layout_is_read(root):
    train, test = CUB(root, "train"), CUB(root, "test")
    assert train.class_names == ["Bird 0", "Bird 1", "Bird 2"]
    assert train.part_names == fakes.PARTS
    assert np.bincount(train.labels).tolist() == [4, 4, 4]
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    sample = train.read(5)
    assert sample.box.tolist() == [20, 10, 100, 80]
    assert sample.keypoints[0].tolist() == [30, 20, 1]  # image 1 of its class: part 1 is hidden
    assert sample.keypoints[1].tolist() == [0, 0, 0]
    assert train.name(5) == "002.Bird_1/Bird_1_0001.jpg"


def test_no_image_is_in_two_splits(root):
    data = CUBDataModule(str(root), val_fraction=0.25)
    names = {
        split: {data.view(split).source.name(i) for i in data.view(split).indices}
        for split in ("train", "val", "test")
    }
    assert [len(names[split]) for split in ("train", "val", "test")] == [9, 3, 6]
    assert not names["train"] & names["val"]
    assert not (names["train"] | names["val"]) & names["test"]


def test_discovery_reads_training_images_class_by_class_without_augmentation(root):
    data = CUBDataModule(str(root), val_fraction=0.25, num_workers=0, batch_size=2)
    data.input_config = InputConfig((32, 32))
    batches = list(data.discovery_loader([2, 0]))
    labels = [label for batch in batches for label in batch["label"].tolist()]
    assert labels == [2, 2, 2, 0, 0, 0]
    again = list(data.discovery_loader([2, 0]))
    assert all((a["image"] == b["image"]).all() for a, b in zip(batches, again, strict=True))
    held_out = set(data.view("val").indices.tolist())
    read = {i for batch in batches for i in batch["index"].tolist()}
    assert not read & held_out


def test_a_class_without_images_is_named(root):
    (root / "classes.txt").write_text("1 001.A\n2 002.B\n3 003.C\n4 004.Missing_Bird\n")
    with pytest.raises(DataError, match=r"Class 3 \(Missing Bird\) has no training image"):
        CUBDataModule(str(root)).discovery_loader([0, 3])


@pytest.mark.parametrize(
    ("name", "number", "text", "message"),
    [
        ("image_class_labels.txt", 0, "1 77", "class 77, which classes.txt does not list"),
        ("image_class_labels.txt", 2, "3", "line 3: expected 2 columns"),
        ("bounding_boxes.txt", 1, "2 a b c d", "line 2: expected 5 columns"),
        ("images.txt", 0, "999 x.jpg", "no line for image 1"),
        ("parts/part_locs.txt", 0, "1 99 1 1 1", "part 99 is not listed"),
    ],
)
def test_inconsistent_lists_name_file_and_line(root, name, number, text, message):
    replace_line(root / name, number, text)
    with pytest.raises(DataError, match=message):
        CUB(root, "train")


def test_a_wrong_root_says_what_it_should_hold(tmp_path):
    with pytest.raises(DataError, match="root must be the folder CUB_200_2011"):
        CUBDataModule(str(tmp_path)).num_classes  # noqa: B018


def test_windows_line_ends_are_read(root):
    path = root / "train_test_split.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(CUB(root, "train")) == 12


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_is_named_in_one_sentence(root, workers):
    path = root / "images/001.Bird_0/Bird_0_0001.jpg"
    path.write_bytes(path.read_bytes()[:300])
    data = CUBDataModule(str(root), num_workers=workers, val_fraction=0.0)
    with pytest.raises(DataError, match=r"Bird_0_0001\.jpg cannot be read") as error:
        list(data.discovery_loader([0]))
    assert "\n" not in str(error.value)


def test_a_missing_image_is_named(root):
    (root / "images/001.Bird_0/Bird_0_0001.jpg").unlink()
    with pytest.raises(DataError, match=r"Bird_0_0001\.jpg is missing"):
        CUB(root, "train").read(1)


def test_real_subset(cub_root):
    train, test = CUB(cub_root, "train"), CUB(cub_root, "test")
    assert (len(train), len(test)) == (300, 243)
    assert train.class_names[0] == "Black footed Albatross"
    assert train.part_names == fakes.PARTS
    for source in (train, test):
        for index in range(0, len(source), 50):
            sample = source.read(index)
            width, height = sample.image.size
            seen = sample.keypoints[sample.keypoints[:, 2] == 1]
            assert len(seen) >= 5
            assert (seen[:, :2] <= [width, height]).all()
            x0, y0, x1, y1 = sample.box
            inside = (seen[:, 0] >= x0 - 5) & (seen[:, 0] <= x1 + 5)
            assert inside.mean() > 0.9
            assert 0 <= x0 < x1 <= width + 1
            assert 0 <= y0 < y1 <= height + 1


def test_real_keypoints_lie_in_their_images_and_stay_there(cub_root):
    data = CUBDataModule(str(cub_root), crop="frame")
    data.input_config = InputConfig((224, 224))
    for split in ("train", "test"):
        view = data.view(split)
        for position in range(0, len(view), 12):
            sample = view.source.read(int(view.indices[position]))
            seen = sample.keypoints[sample.keypoints[:, 2] == 1, :2]
            assert (seen >= 0).all()
            assert (seen <= sample.image.size).all()
            batch = view[position]
            kept = batch["keypoints"][:, 2] == 1
            assert kept.sum() <= len(seen)
            assert (
                (batch["keypoints"][kept, :2] >= 0) & (batch["keypoints"][kept, :2] < 224)
            ).all()


def test_real_class_attributes(cub_root):
    names, table = CUB(cub_root, "train").class_attributes()
    assert table.shape == (10, 312)
    assert len(names) == len(set(names)) == 312
    assert table.min() >= 0
    assert table.max() <= 100
    assert np.unique(table, axis=0).shape == (10, 312)


def test_class_attributes_are_named_where_the_archive_left_the_names(tmp_path):
    root = fakes.cub(tmp_path / "data/CUB_200_2011", attributes=True)
    names, table = CUB(root, "train").class_attributes()
    assert (names[0], names[311]) == ("has_bill_shape::shape_0", "has_bill_shape::shape_311")
    assert table.shape == (3, 312)
    (root.parent / "attributes.txt").unlink()
    assert CUB(root, "train").class_attributes()[0][:2] == ["1", "2"]


def test_segmentations_are_what_most_annotators_marked(tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011", segmentations=True)
    beside = root.parent / "segmentations"
    for place in (root / "segmentations", beside):
        if place == beside:
            (root / "segmentations").rename(beside)
        source = CUB(root, "train")
        for index in range(3):  # the first has an alpha channel
            mask = source.mask(index)
            assert mask.shape == (90, 120)
            assert mask[10:80, 20:100].all()
            assert mask.sum() == 70 * 80
    (beside / "001.Bird_0/Bird_0_0001.png").unlink()
    assert CUB(root, "train").mask(1) is None
    data = CUBDataModule(str(root), masks=True, num_workers=0, val_fraction=0.0)
    masks = next(batch["mask"] for batch in data.discovery_loader([0]))
    assert (masks[1] == 255).all()
    assert set(masks[0].unique().tolist()) == {0, 1}

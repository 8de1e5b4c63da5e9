"""The user's own folders: what is a split, what is a class, and what is left out."""

import logging

import numpy as np
import pytest
from PIL import Image, features

from ppn.data.folder import ImageFolderDataModule
from ppn.data.split import split_named
from ppn.errors import DataError
from tests.data.sets import SETS

CLASSES = ("ant", "bee", "cat")


def image(label=0, number=0):
    pixels = np.random.default_rng([label, number]).integers(0, 255, (24, 32, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def tree(root, folders, count=6):
    """Write images into each folder."""
    for label, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            image(label, i).save(root / folder / f"im{i}.jpg")
    return root


def split_tree(root, splits, classes=CLASSES, count=6):
    return tree(root, [f"{split}/{name}" for split in splits for name in classes], count)


def read(root, **options):
    return ImageFolderDataModule(str(root), num_workers=0, **options)


def files(data, split):
    view = data.view(split)
    return {view.source.name(int(index)) for index in view.indices}


@pytest.fixture
def told(caplog):
    """What was said on the terminal."""
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("name", "split", "bare"),
    [
        ("train", "train", True),
        ("Train", "train", True),
        ("TRAINING", "train", True),
        ("train_cropped", "train", False),
        ("train2017", "train", False),
        ("my-train", "train", False),
        ("valid", "val", True),
        ("dev", "val", True),
        ("Validation", "val", True),
        ("val_cropped", "val", False),
        ("test_cropped", "test", False),
        ("Testing", "test", True),
        ("trainer", None, True),
        ("contest", None, True),
        ("great test birds", None, False),
        ("valley", None, True),
        ("123", None, True),
        ("", None, False),
    ],
)
def test_usual_names_of_splits_are_known(name, split, bare):
    found, alone = split_named(name)
    assert found == split
    assert split is None or alone == bare


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("training", "testing"),
        ("train_cropped", "test_cropped"),
        ("train2017", "test2017"),
        ("bird_train", "bird_test"),
    ],
)
def test_splits_are_understood_by_their_usual_names(train, test, tmp_path, told):
    data = read(split_tree(tmp_path, (train, test)), val_fraction=0)
    assert data.class_names == list(CLASSES)
    assert files(data, "train") == {f"{train}/{c}/im{i}.jpg" for c in CLASSES for i in range(6)}
    assert files(data, "test") == {f"{test}/{c}/im{i}.jpg" for c in CLASSES for i in range(6)}
    assert data.split_note == ""
    assert data.title == tmp_path.name
    assert told() == []


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation", "val_cropped"])
def test_a_validation_split_stands_in_for_a_test_split_and_that_is_said(name, tmp_path, told):
    data = read(split_tree(tmp_path, ("train", name)), val_fraction=0.5)
    assert files(data, "test") == {f"{name}/{c}/im{i}.jpg" for c in CLASSES for i in range(6)}
    assert all(file.startswith("train/") for file in files(data, "val"))
    assert len(files(data, "val")) == 9
    assert told() == [data.split_note]
    assert f"the 18 images of {name}/ are the test images" in data.split_note


def test_a_validation_split_beside_a_test_split_is_used_as_it_is(tmp_path, told):
    data = read(split_tree(tmp_path, ("Train", "valid", "test")), val_fraction=0.1)
    for split, folder in (("train", "Train"), ("val", "valid"), ("test", "test")):
        assert files(data, split) == {f"{folder}/{c}/im{i}.jpg" for c in CLASSES for i in range(6)}
        view = data.view(split)
        names = [view.source.name(int(i)).split("/")[1] for i in view.indices]
        assert names == [data.class_names[label] for label in view.labels]
    assert data.split_note == ""


@pytest.mark.parametrize("splits", [("train",), ()])
def test_drawn_test_images_are_said_to_be_drawn(splits, tmp_path, told):
    root = split_tree(tmp_path, splits) if splits else tree(tmp_path, CLASSES)
    data = read(root, test_fraction=0.5, split_seed=3)
    assert len(files(data, "test")) == 9
    assert told() == [data.split_note]
    assert "9 of the 18 images were drawn as test images" in data.split_note
    assert "test_fraction 0.5, split_seed 3" in data.split_note


def test_a_test_split_may_lack_a_class_and_labels_do_not_shift(tmp_path):
    root = split_tree(tmp_path, ("train",))
    tree(root, ["test/bee", "test/cat"], 2)
    (root / "test/ant").mkdir()
    data = read(root)
    assert data.class_names == list(CLASSES)
    assert data.test_source.labels.tolist() == [1, 1, 2, 2]


def flat(root):
    tree(root, ["train", "test"])


def class_first(root):
    tree(root, [f"{name}/{split}" for name in CLASSES for split in ("train", "test")])


def foreign_splits(root):
    split_tree(root, ("Lernbilder", "Pruefbilder"))


def deep(root):
    tree(root, [f"birds/{name}" for name in CLASSES])


def deep_splits(root):
    split_tree(root / "data", ("train", "test"))


def beside_classes(root):
    tree(root, [*CLASSES, "test"])


def vehicles(root):
    tree(root, ["car", "plane", "train"])


def no_training(root):
    split_tree(root, ("valid", "test"))


def twice(root):
    split_tree(root, ("train", "train_cropped", "test"))


def capitals_twice(root):
    split_tree(root, ("train", "Train", "test"))


def no_folders(root):
    image().save(root / "a.jpg")


def one_nested(root):
    tree(root, ["ant", "bee", "cat/left", "cat/right"])


def empty_class(root):
    tree(root, ["ant", "bee"])
    (root / "cat").mkdir()


def unread_class(root):
    empty_class(root)
    (root / "cat/a.heic").write_bytes(b"?")
    (root / "cat/b.HEIC").write_bytes(b"?")


def new_class(root):
    split_tree(root, ("train",))
    split_tree(root, ("test",), ("ant", "wasp"))


def unlabelled_test(root):
    split_tree(root, ("train",))
    tree(root, ["test"])


NAME_THEM = "name the splits train/ and test/"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (flat, "train holds no class folders: put the images of each class into a folder"),
        (class_first, f"ant holds only folders: {NAME_THEM}"),
        (foreign_splits, f"Lernbilder holds only folders: {NAME_THEM}"),
        (deep, "holds only birds/, .*give .*birds as root"),
        (deep_splits, "holds only data/, .*give .*data as root"),
        (beside_classes, f"test is named like a split, .*class folder ant/: {NAME_THEM}"),
        (vehicles, "train is named like a split, .*rename train/ if it is a class"),
        (no_training, "holds val.*/ but no training images: name the folder .* train/"),
        (twice, "train and .*train_cropped are both named like one split: name the splits train/"),
        (capitals_twice, "Train and .*train are both named like one split"),
        (no_folders, "holds no class folders: .*or list the images in a CSV file"),
        (one_nested, f"cat holds only folders: {NAME_THEM}"),
        (empty_class, r"cat holds no image that is read: remove the folder, or add images"),
        (unread_class, r"cat holds no image that is read, only \.heic \(2\): remove the folder"),
        (unlabelled_test, "test holds no class folders: .*or move it elsewhere if their classes"),
        (new_class, "test/wasp is a class that .*train lacks: add images"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_unclear_folders_are_refused_in_one_sentence(write, said, tmp_path):
    root = tmp_path / "own"
    root.mkdir()
    write(root)
    with pytest.raises(DataError, match=said) as error:
        read(root).class_names  # noqa: B018
    text = str(error.value)
    assert "\n" not in text
    assert str(root) in text
    assert "data set" not in text
    assert "download" not in text


@pytest.mark.parametrize("name", ["imagenet", "inaturalist", "cars_folders"])
def test_hidden_folders_of_published_data_sets_are_left_out_too(name, tmp_path):
    fake = SETS[name]
    root = fake.write(tmp_path / fake.folder)
    folders = [path for path in root.rglob("*") if path.is_dir()]
    for folder in folders:
        (folder / ".ipynb_checkpoints").mkdir()
    data = fake.build(root)
    assert data.class_names == fake.names
    assert len(data.train_source) == 12


@pytest.mark.parametrize("root", ["nowhere", "a.jpg"])
def test_the_root_must_be_a_folder(root, tmp_path):
    image().save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=f"{root} is not a folder: root must be the folder of your"):
        read(tmp_path / root).class_names  # noqa: B018


def test_an_empty_root_is_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tree(tmp_path, CLASSES))
    with pytest.raises(DataError, match="root is empty"):
        read("").class_names  # noqa: B018


def test_what_is_left_out_is_counted_and_named_by_kind(tmp_path, told):
    root = tree(tmp_path, CLASSES)
    tree(root, ["ant/.ipynb_checkpoints", ".cache", "__MACOSX"])
    tree(root, ["#recycle", "bee/__pycache__"], 1)
    for name in ("Thumbs.db", "notes.txt", "more.txt", "a.HEIC", "._im0.jpg", "README"):
        (root / "bee" / name).write_bytes(b"?")
    (root / "odd\x1b[31m.\x1b[31m").write_bytes(b"?")
    image().save(root / "stray.png")
    data = read(root, test_fraction=0.5)
    assert data.class_names == list(CLASSES)
    assert len(data.train_source) + len(data.test_source) == 18
    (left_out,) = [line for line in told() if line.startswith("Left out")]
    for kind in (
        ".txt (2)",
        ".db (1)",
        ".heic (1)",
        "hidden files (1)",
        "files without a suffix (1)",
        "files of another kind (1)",
        "images outside of class folders (1)",
        "hidden folders (#recycle, .cache, .ipynb_checkpoints, ...)",
    ):
        assert kind in left_out
    assert "\x1b" not in left_out
    assert "\n" not in left_out


def test_folders_beside_the_splits_are_left_out_and_said(tmp_path, told):
    root = split_tree(tmp_path, ("train", "test"))
    (root / "labels").mkdir()
    for i in range(3):
        (root / "labels" / f"{i}.xml").write_text("")
    assert read(root).class_names == list(CLASSES)
    assert told() == [f"Left out in {root}: labels/ (3 files)."]


def test_a_split_of_another_name_is_not_left_out(tmp_path):
    root = split_tree(tmp_path, ("train", "holdout"))
    with pytest.raises(DataError, match=r"holdout holds images of ant but is not named like a sp"):
        read(root).class_names  # noqa: B018


READ = ["gif", "png", "bmp", "webp", "tif", "jpeg", "JPG", "jfif", "ppm"]
READ += [kind for kind, codec in (("jp2", "jpg_2000"), ("avif", "avif")) if features.check(codec)]


def test_every_format_that_can_be_read_is_read(tmp_path, told):
    root = tree(tmp_path, CLASSES)
    for kind in READ:
        image().save(root / "ant" / f"more.{kind}")
    data = read(root, test_fraction=0.5)
    found = {
        s.name(i): s.read(i) for s in (data.train_source, data.test_source) for i in range(len(s))
    }
    assert {f"ant/more.{kind}" for kind in READ} < set(found)
    assert told() == [data.split_note]


@pytest.mark.parametrize("splits", [True, False])
def test_classes_named_by_numbers_sort_as_numbers(splits, tmp_path):
    numbers = ["1", "2", "3", "9", "10", "11", "100"]
    if splits:
        root = split_tree(tmp_path, ("train", "test"), numbers, 2)
    else:
        root = tree(tmp_path, numbers, 2)
    data = read(root, test_fraction=0.5)
    assert data.class_names == numbers
    source = data.train_source
    names = [source.name(i).split("/")[-2] for i in range(len(source))]
    assert names == [numbers[label] for label in source.labels]


def test_one_name_among_numbers_makes_them_text(tmp_path):
    assert read(tree(tmp_path, ["1", "2", "10", "owl"])).class_names == ["1", "10", "2", "owl"]


def test_an_empty_test_split_says_what_to_do_about_own_images(tmp_path):
    data = read(tree(tmp_path, CLASSES, 1))
    with pytest.raises(DataError, match="test split has no images: raise test_fraction, or add"):
        data.test_dataloader()


def test_links_back_are_not_followed(tmp_path, told):
    root = tree(tmp_path / "own", CLASSES)
    (root / CLASSES[0] / "all").symlink_to(root)
    (root / CLASSES[1] / "same").symlink_to(root / CLASSES[1])
    data = read(root)
    assert len(data.train_source) + len(data.test_source) == 6 * len(CLASSES)
    assert any("links to a folder around them (2)" in line for line in told())
    (root / CLASSES[0] / "all").unlink()
    (root / CLASSES[0] / "more").symlink_to(tree(tmp_path / "elsewhere", ["x"]) / "x")
    data = read(root)
    assert len(data.train_source) + len(data.test_source) == 6 * len(CLASSES) + 6

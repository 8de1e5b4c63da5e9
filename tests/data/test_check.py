import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from ppn.data.check import check
from ppn.data.cub import CUBDataModule
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.dataset import Annotated, AnnotatedDataset
from ppn.data.repeats import DIGEST_BYTES, find_repeats
from ppn.data.synthetic import SyntheticBirdsDataModule
from tests import fakes

FIRST = "001.Bird_0/Bird_0_0000.jpg"  # in train
OTHER_CLASS = "002.Bird_1/Bird_1_0000.jpg"  # in train
TEST = "003.Bird_2/Bird_2_0005.jpg"


@pytest.fixture
def root(tmp_path):
    return fakes.cub(tmp_path / "CUB_200_2011")


def run(data, **options):
    sentences = []
    return check(data, sentences.append, **options), sentences


class Plain(AnnotatedDataset):
    """Images of noise whose annotations a test sets."""

    class_names = ("A", "B")
    part_names = ("beak", "tail")
    mask_names = ("bird",)

    def __init__(self, count=4, prefix=""):
        self.prefix = prefix
        self.labels = np.arange(count) % 2
        self.reads = []
        self.change = {}  # index -> attributes of its annotated image
        self._lock = threading.Lock()

    def read(self, index):
        with self._lock:
            self.reads.append(index)
        pixels = np.random.default_rng(index).integers(0, 255, (8, 10, 3), dtype=np.uint8)
        sample = Annotated(
            Image.fromarray(pixels),
            np.array([0.0, 0.0, 10.0, 8.0]),
            np.array([[1.0, 2.0, 1.0], [10.0, 8.0, 1.0]]),
            np.zeros((8, 10), np.uint8),
        )
        for name, value in self.change.get(index, {}).items():
            setattr(sample, name, value)
        if sample.image is None:
            raise ValueError("a parser stumbled\nover this")
        return sample

    def name(self, index):
        return f"{self.prefix}image{index}"


class PlainModule(FineGrainedDataModule):
    def __init__(self, train=4, test=2):
        super().__init__()
        self.splits = {"train": Plain(train), "test": Plain(test, "test/")}

    def read_split(self, split):
        return self.splits[split]


def test_a_whole_data_set_is_right_and_a_subset_is_a_note(root):
    result, sentences = run(CUBDataModule(str(root)))
    assert (result.errors, sentences) == (0, [])
    assert "3 of 200 classes, 12 of 5994 training images, 6 of 5794 test images" in result.note
    train, test = result.splits["train"], result.splits["test"]
    assert (train.images, train.per_class, train.boxes, train.keypoints) == (
        12,
        (4, 4.0, 4),
        12,
        12,
    )
    assert (test.images, test.masks, test.empty) == (6, 0, [])
    assert result.repeated is None


def test_every_broken_or_missing_file_is_named_once(root):
    whole = (root / "images" / FIRST).read_bytes()
    (root / "images" / FIRST).write_bytes(whole[: len(whole) // 2])
    (root / "images" / OTHER_CLASS).write_text("<html>")
    (root / "images" / TEST).unlink()
    result, sentences = run(CUBDataModule(str(root)), workers=3)
    assert result.errors == len(sentences) == 3
    for path, sentence in zip((FIRST, OTHER_CLASS, TEST), sentences, strict=True):
        assert path in sentence
        assert "\n" not in sentence
    assert "truncated" in sentences[0]
    assert "missing" in sentences[2]


def test_a_broken_mask_is_named_and_masks_are_counted(root):
    for path in (FIRST, OTHER_CLASS):
        target = (root / "segmentations" / path).with_suffix(".png")
        target.parent.mkdir(parents=True)
        Image.new("L", (120, 90)).save(target)
    broken = (root / "segmentations" / FIRST).with_suffix(".png")
    broken.write_bytes(b"no image")
    result, sentences = run(CUBDataModule(str(root)))
    assert len(sentences) == 1
    assert str(broken) in sentences[0]
    assert result.splits["train"].masks == 1


def test_masks_must_fit_their_image_and_their_names():
    data = PlainModule()
    values = np.zeros((8, 10), np.uint8)
    values[0, :3] = (1, 255, 7)
    data.splits["train"].change = {
        1: {"mask": values},
        3: {"mask": np.ones((5, 10), np.uint8)},
    }
    _, sentences = run(data)
    assert len(sentences) == 2
    assert "image1 holds the value 7" in sentences[0]
    assert "image3 is 10 x 5 pixels, but its image is 10 x 8" in sentences[1]


def test_whatever_goes_wrong_with_a_file_is_one_sentence():
    data = PlainModule()
    data.splits["test"].change = {1: {"image": None}}
    data.splits["train"].change = {0: {"keypoints": np.zeros((3, 3))}}
    _, sentences = run(data)
    assert len(sentences) == 2
    assert "shape (3, 3), but 2 parts have names" in sentences[0]
    expected = (
        "test/image1 cannot be read (ValueError: a parser stumbled over this): replace the file."
    )
    assert sentences[1] == expected


def test_annotations_outside_of_their_image_are_counted_with_an_example():
    data = PlainModule()
    data.splits["train"].change = {
        0: {"box": np.array([2.0, 2.0, 10.0, 8.0])},
        1: {"box": np.array([2.0, 2.0, 11.0, 8.0])},
        2: {"box": np.array([5.0, 2.0, 5.0, 8.0])},
        3: {"keypoints": np.array([[-1.0, 2.0, 1.0], [99.0, 99.0, 0.0]])},
    }
    data.splits["test"].change = {0: {"keypoints": np.zeros((2, 3)), "box": None}}
    result, sentences = run(data)
    train = result.splits["train"]
    assert sentences == []
    assert train.outside_boxes.count == 2
    assert train.outside_boxes.first == "image1: (2, 2) to (11, 8) in an image of 10 x 8 pixels"
    assert train.outside_keypoints.count == 1
    assert train.outside_keypoints.first.startswith("image3: beak at (-1, 2)")
    test = result.splits["test"]
    assert (test.outside_boxes.count, test.boxes, test.keypoints) == (0, 1, 1)


def test_labels_without_a_class_and_classes_without_an_image_are_named():
    data = PlainModule(train=6)
    data.splits["train"].labels = np.array([0, 0, 0, 0, 2, -1])
    result, sentences = run(data)
    assert len(sentences) == 2
    assert "image4 has label 2, but there are 2 classes" in sentences[0]
    assert result.splits["train"].empty == ["B"]
    assert result.splits["train"].per_class == (0, 2.0, 4)


def test_every_image_is_read_once_and_few_are_under_way():
    data = PlainModule(train=60, test=20)
    train = data.splits["train"]
    done, ahead = [], []

    def advance():
        done.append(1)
        ahead.append(len(train.reads) + len(data.splits["test"].reads) - len(done))

    check(data, pytest.fail, workers=2, advance=advance)
    assert sorted(train.reads) == list(range(60))
    assert len(done) == 80
    assert max(ahead) <= 8  # four for each thread


def test_images_in_both_splits_and_with_two_labels_are_named(root):
    shutil.copy(root / "images" / FIRST, root / "images" / TEST)
    shutil.copy(root / "images" / FIRST, root / "images" / OTHER_CLASS)
    assert run(CUBDataModule(str(root)))[1] == []
    result, sentences = run(CUBDataModule(str(root)), leaks=True)
    assert result.errors == len(sentences) == 2
    assert sentences[0].startswith("The same image is in train")
    assert all(path in sentences[0] for path in (FIRST, OTHER_CLASS, TEST))
    assert f"{FIRST} (Bird 0), {OTHER_CLASS} (Bird 1)" in sentences[1]
    assert result.repeated == 0


def test_images_are_compared_by_pixels_and_repeats_within_a_class_only_counted(root):
    target = root / "images" / "001.Bird_0/Bird_0_0001.jpg"
    with Image.open(root / "images" / FIRST) as image:
        image.save(target, format="PNG")  # other bytes, the same pixels
    result, sentences = run(CUBDataModule(str(root)), leaks=True)
    assert (sentences, result.repeated) == ([], 1)


def test_images_that_could_not_be_read_are_not_repeats_of_each_other():
    sources = {"train": Plain(4), "test": Plain(0)}
    digests = {name: np.zeros((len(s), DIGEST_BYTES), np.uint8) for name, s in sources.items()}
    assert find_repeats(sources, digests, pytest.fail) == 0
    digests["train"][[1, 3]] = 5  # a pair of the same class
    assert find_repeats(sources, digests, pytest.fail) == 1


def test_the_built_in_birds_are_right():
    data = SyntheticBirdsDataModule(
        num_classes=3, train_per_class=2, test_per_class=1, draw_size=96
    )
    result, sentences = run(data, leaks=True)
    assert (sentences, result.repeated, result.note) == ([], 0, "")
    assert result.splits["train"].masks == 6

"""Which images and labels a loader means, however it is made."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from ppn.data.source import Source
from ppn.errors import DataError
from ppn.types import InputConfig

SIZE = 8
COUNT = 18


class Images(Dataset):
    """Image i is filled with i and has label i % 3; what was read is noted."""

    def __init__(self, count=COUNT, relabel=None):
        self.count, self.relabel, self.read = count, relabel or (lambda label: label), []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(int(index))
        return torch.full((3, SIZE, SIZE), float(index)), self.relabel(int(index) % 3)


class Listed(Images):
    classes = ("ant", "bee", "cat")

    @property
    def targets(self):
        return [i % 3 for i in range(self.count)]


def given(loader, count=3):
    """(pixel value, label, index) of every image, in the order in which a source gives them."""
    source = Source(loader, InputConfig((SIZE, SIZE)))
    found = []
    for images, rows, labels, indices in source.batches(count):
        values = images[rows, 0, 0, 0].long().tolist()
        found += zip(values, labels, indices.tolist(), strict=True)
    return source, found


EVEN = list(range(0, COUNT, 2))


@pytest.mark.parametrize("data", [Images, Listed])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, range(COUNT)),
        ({"shuffle": True}, range(COUNT)),
        ({"shuffle": True, "drop_last": True}, range(COUNT)),
        ({"drop_last": True}, range(16)),
        ({"sampler": SubsetRandomSampler(EVEN)}, EVEN),
        ({"sampler": SubsetRandomSampler(torch.tensor(EVEN))}, EVEN),
        ({"sampler": EVEN}, EVEN),
        ({"sampler": [1, 1, 4, 5, 4, 6]}, [1, 4, 5, 6]),
    ],
)
def test_the_samplers_images_are_used_and_no_other_is_read(data, options, expected):
    dataset = data()
    _, found = given(DataLoader(dataset, batch_size=4, **options))
    assert sorted(value for value, _, _ in found) == list(expected)
    assert set(dataset.read) == set(expected)
    assert all(value == index and label == value % 3 for value, label, index in found)


@pytest.mark.parametrize("sampler", [SubsetRandomSampler(EVEN), SequentialSampler(EVEN)])
def test_batch_samplers_choose_too(sampler):
    loader = DataLoader(Images(), batch_sampler=BatchSampler(sampler, 4, drop_last=False))
    chosen = EVEN if isinstance(sampler, SubsetRandomSampler) else range(9)
    assert sorted(value for value, _, _ in given(loader)[1]) == list(chosen)
    listed = DataLoader(Images(), batch_sampler=[[3, 1], [17], [1, 4, 5]])
    assert [value for value, _, _ in given(listed)[1]] == [1, 3, 4, 5, 17]


@pytest.mark.parametrize("own", [False, True])
def test_a_random_sampler_chooses_what_the_loader_would_give_next(own):
    generator = torch.Generator().manual_seed(5) if own else None
    weights = [1.0] * 6 + [0.01] * 12
    loader = DataLoader(
        Images(), batch_size=4, sampler=WeightedRandomSampler(weights, 12, generator=generator)
    )
    torch.manual_seed(3)
    _, found = given(loader)
    assert torch.initial_seed() == 3
    torch.manual_seed(3)
    ours = {value for value, _, _ in found}
    assert ours == {int(v) for x, _ in loader for v in x[:, 0, 0, 0]}
    assert len(found) == len(ours) < 12


def test_the_callers_random_state_is_left_alone():
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(Listed(), batch_size=4, shuffle=True, generator=generator)
    before = torch.get_rng_state(), generator.get_state()
    given(loader)
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], generator.get_state())


def test_a_sampler_without_end_is_left_when_all_images_were_seen():
    class Endless:
        def __iter__(self):
            while True:
                yield from ([0, 1, 2], [3, 4, 5])

    assert len(given(DataLoader(Images(6), batch_sampler=Endless()))[1]) == 6


def test_loaders_that_decide_while_they_read_are_used_as_they_are():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.full((3, SIZE, SIZE), float(i)), i % 3) for i in (5, 3, 4)])

    class Half(DataLoader):
        def __iter__(self):
            return iter(list(super().__iter__())[:2])

    source, found = given(DataLoader(Stream(), batch_size=2))
    assert [value for value, _, _ in found] == [5, 3, 4]
    assert source.image(0) is None
    _, found = given(Half(Images(), batch_size=4))
    assert [value for value, _, _ in found] == list(range(8))


def test_shuffling_changes_nothing_and_classes_come_in_one_piece():
    plain, shuffled = (DataLoader(Listed(), batch_size=4, shuffle=shuffle) for shuffle in (0, 1))
    source, found = given(plain)
    assert source.by_class
    assert [label for _, label, _ in found] == sorted(i % 3 for i in range(COUNT))
    assert given(shuffled)[1] == found
    source, unlisted = given(DataLoader(Images(), batch_size=4, shuffle=True))
    assert not source.by_class
    assert sorted(unlisted) == sorted(found)


@pytest.mark.parametrize(
    ("relabel", "names"),
    [
        (lambda label: label, ["ant", "bee", "cat"]),
        (lambda label: (label + 1) % 3, ["cat", "ant", "bee"]),
        (lambda label: label + 2, ["0", "1", "ant", "bee", "cat"]),
        (lambda label: label % 2, None),
    ],
)
def test_labels_are_what_items_say_and_names_follow_them(relabel, names):
    source, found = given(DataLoader(Listed(relabel=relabel), batch_size=4), count=5)
    assert source.by_class
    assert all(label == relabel(value % 3) for value, label, _ in found)
    assert [label for _, label, _ in found] == sorted(label for _, label, _ in found)
    count = len(names) if names else 2
    assert source.class_names(count) == names


def test_targets_that_say_nothing_about_labels_are_not_followed():
    class Coarse(Listed):
        @property
        def targets(self):
            return [0] * 9 + [1] * 9

    source, found = given(DataLoader(Coarse(), batch_size=4))
    assert not source.by_class
    assert source.class_names(3) is None
    assert all(label == value % 3 for value, label, _ in found)
    assert len(found) == COUNT


def test_a_label_that_turns_out_otherwise_is_named():
    class Odd(Listed):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, 2 if index == 37 else label

    dataset = Odd(400)
    with pytest.raises(DataError, match=r"training image 37 is 2, but others .* have 1"):
        given(DataLoader(dataset, batch_size=50))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for label, name in enumerate("abcd"):
        (folder / name).mkdir()
        for i in range(4):
            Image.new("RGB", (SIZE, SIZE), (10 * label, i, 0)).save(folder / name / f"{i}.png")
    return folder


def parts(dataset):
    return random_split(dataset, [6, 10], torch.Generator().manual_seed(0))


WRAPPERS = {
    "itself": lambda data: data,
    "subset": lambda data: Subset(data, [15, 3, 9, 7]),
    "subset of subset": lambda data: Subset(Subset(data, range(1, 16)), [0, 5, 14]),
    "split": lambda data: parts(data)[1],
    "joined": lambda data: ConcatDataset([Subset(data, [1, 2]), data]),
    "joined splits": lambda data: ConcatDataset(parts(data)),
}


@pytest.mark.parametrize("way", WRAPPERS)
def test_names_of_classes_and_files_are_found_in_what_is_wrapped(root, way):
    dataset = WRAPPERS[way](ImageFolder(root, T.PILToTensor()))
    dataset_of_floats = DataLoader(dataset, batch_size=3, collate_fn=floats)
    source, found = given(dataset_of_floats, count=4)
    assert source.by_class
    assert source.class_names(4) == list("abcd")
    assert len(found) == len(dataset)
    for value, label, index in found:
        assert value == 10 * label
        image, name = source.image(index)
        assert name == f"{'abcd'[label]}/{int(image[1, 0, 0])}.png"


class Relabelled(Dataset):
    """A user's wrapper, which lists nothing."""

    def __init__(self, inner, relabel, count=16):
        self.inner, self.relabel, self.count = inner, relabel, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image, label = self.inner[index]
        return image, self.relabel(label)


@pytest.mark.parametrize(
    ("relabel", "count", "names"),
    [
        (lambda label: label, 16, list("abcd")),
        (lambda label: 3 - label, 16, list("dcba")),
        (lambda label: label + 1, 16, ["0", *"abcd"]),
        (lambda label: label % 2, 16, None),
        (lambda label: label, 12, None),  # some images of it, nobody knows which
    ],
)
def test_names_inside_of_a_wrapper_are_those_that_its_items_bear_out(root, relabel, count, names):
    dataset = Relabelled(ImageFolder(root, T.ToTensor()), relabel, count)
    source, _ = given(DataLoader(dataset, batch_size=5), count=5)
    assert source.class_names(len(names) if names else 4) == names


def floats(items):
    return torch.stack([image.float() for image, _ in items]), torch.tensor([y for _, y in items])


def test_a_target_transform_is_followed(root):
    folder = ImageFolder(root, T.ToTensor(), target_transform=lambda label: label % 2)
    source, found = given(DataLoader(folder, batch_size=5, shuffle=True), count=2)
    assert source.by_class
    assert [label for _, label, _ in found] == [0] * 8 + [1] * 8
    assert source.class_names(2) is None
    swapped = ImageFolder(root, T.ToTensor(), target_transform=lambda label: 3 - label)
    assert given(DataLoader(swapped), count=4)[0].class_names(4) == list("dcba")


def test_names_of_class_numbers_and_of_features_are_taken():
    class Numbered(Images):
        class_to_idx = {"cat": 2, "ant": 0, "bee": 1}  # noqa: RUF012

    class Column:
        names = ("ant", "bee", "cat")

    class Featured(Images):
        features = {"image": None, "label": Column()}  # noqa: RUF012

    for data in (Numbered(), Featured(), Subset(Numbered(), [1, 2])):
        assert Source(DataLoader(data), InputConfig()).class_names(3) == ["ant", "bee", "cat"]
    assert Source(DataLoader(Numbered()), InputConfig()).class_names(5)[2:] == ["cat", "3", "4"]
    disagreeing = ConcatDataset([Numbered(), Listed(), ListedOtherwise()])
    assert Source(DataLoader(disagreeing), InputConfig()).class_names(3) is None


class ListedOtherwise(Images):
    classes = ("x", "y", "z")


def test_tensors_are_read_class_by_class():
    dataset = TensorDataset(torch.arange(6.0)[:, None, None, None].expand(6, 3, 8, 8),
                            torch.tensor([2, 0, 1, 1, 0, 2]))  # fmt: skip
    source, found = given(DataLoader(dataset, batch_size=4))
    assert source.by_class
    assert [value for value, _, _ in found] == [1, 4, 2, 3, 0, 5]


X = torch.arange(4.0)[:, None, None, None].expand(4, 3, SIZE, SIZE).contiguous()
Y = torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(
    "batch",
    [
        (X, Y),
        [X, Y, "more"],
        (X.numpy(), Y.numpy()),
        (list(X), Y.tolist()),
        (X, tuple(np.int32(label) for label in Y)),
        (X, Y[:, None]),
        {"image": X, "label": Y},
        {"pixel_values": X, "labels": Y},
        {"images": X, "targets": Y, "mask": None},
    ],
)
def test_batches_as_people_have_them(batch):
    _, found = given([batch])
    assert found == [(0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 1, 3)]


def test_items_as_dictionaries_are_read_again():
    class Items(Images):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return {"pixel_values": image, "labels": label}

    source, found = given(DataLoader(Items(), batch_size=4, shuffle=True))
    assert len(found) == COUNT
    assert float(source.image(7)[0].mean()) == 7


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (X, "gives a Tensor"),
        ({"x": X, "y": Y}, "a dict with 'x', 'y'"),
        ((X, None), "labels such as None"),
        ((X, ("a", "b", "c", "a")), "labels such as 'a': give the number"),
        ((X, Y[:3]), "for 4 images"),
        ((X, Y + 0.5), "labels are float32"),
        ((X, Y - 1), "label -1, but the classifier has 3 classes"),
        ((X, Y + 1), "label 3, but the classifier has 3 classes: labels must be 0 to 2"),
        ((X, torch.eye(4)), r"labels are \(4, 4\), but the classifier has 3 classes"),
        ((X, torch.full((4, 3), 0.3)), "without mixing or smoothing"),
        ((X.byte(), Y), "images are uint8"),
        ((X[0], Y), "collate them"),
        ((list("abcd"), Y), "collate them"),
        ((X.reshape(4, SIZE, SIZE, 3), Y), "channels last"),
        ((torch.where(X == 2, torch.nan, X), Y), "training image 2 contain NaN"),
        ((torch.where(X == 3, -torch.inf, X), Y), "training image 3 contain NaN"),
    ],
)
def test_what_no_classifier_takes_is_refused_in_a_sentence(batch, message):
    with pytest.raises(DataError, match=message) as error:
        given([batch])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (None, "is a NoneType"),
        (lambda: 0, "is a function"),
        ("photos", "is a str"),
        ({"train": 1}, "is a dict"),
        (X, "is a Tensor"),
        (Images(), r"a data set \(Images\): give DataLoader"),
        ([], "gives no image"),
        ([(X[:0], Y[:0])], "gives no image"),
        ([(X, Y), (X[:, :, :4], Y)], r"images of \(3, 8, 8\) and of \(3, 4, 8\)"),
        ([(X, Y), (X, torch.eye(4)[:, :3])], "numbers in some batches"),
    ],
)
def test_what_is_not_a_loader_is_refused_in_a_sentence(loader, message):
    with pytest.raises(DataError, match=message):
        given(loader)


def test_empty_batches_are_passed_over():
    assert len(given([(X[:0], Y[:0]), (X, Y), (X[:0], Y[:0])])[1]) == 4


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0, 1, 0, 1]),
        torch.tensor([0.0, 1.0, 0.0, 1.0]),
        torch.tensor([[0], [1], [0], [1]]),
        torch.tensor([False, True, False, True]),
    ],
)
def test_one_logit_is_for_the_images_labelled_one(labels, once):
    batches = [(X[:1], labels[:1]), (X[1:], labels[1:])]
    source, found = given(iter(batches) if once else batches, count=1)
    assert source.mode(1) == "binary"
    assert found == [(1, 0, 1), (3, 0, 3)]
    assert "labelled 1" in source.note(1)


def test_one_logit_and_its_own_images_alone():
    source, found = given([(X, torch.zeros(4, dtype=torch.long))], count=1)
    assert found == [(i, 0, i) for i in range(4)]
    assert "all are labelled 0" in source.note(1)
    with pytest.raises(DataError, match="label 2, but the classifier has one logit"):
        given([(X, Y)], count=1)


def test_one_logit_has_the_name_of_the_class_labelled_one():
    class Two(Listed):
        classes = ("no", "yes")

        @property
        def targets(self):
            return [min(1, i % 3) for i in range(self.count)]

        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, min(1, label)

    source, found = given(DataLoader(Two(), batch_size=4), count=1)
    assert source.class_names(1) == ["yes"]
    assert sorted(value for value, _, _ in found) == [i for i in range(COUNT) if i % 3]


@pytest.mark.parametrize("dtype", [torch.long, torch.float32, torch.bool])
def test_an_image_belongs_to_each_class_of_its_row(dtype):
    rows = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]]).to(dtype)
    source, found = given([(X, rows)])
    assert source.mode(3) == "multilabel"
    assert source.note(3) is None
    assert sorted(found) == [(0, 0, 0), (0, 2, 0), (2, 1, 2), (3, 0, 3), (3, 1, 3), (3, 2, 3)]
    with pytest.raises(DataError, match="no image of any class"):
        given([(X, torch.zeros(4, 3))])


def test_sampling_again_and_again_is_as_good_as_once():
    sampler = RandomSampler(range(6), replacement=True, num_samples=200)
    _, found = given(DataLoader(Images(6), batch_size=4, sampler=sampler))
    assert [value for value, _, _ in found] == list(range(6))

"""Explainers that learn from training images: what they see, share and keep."""

from types import SimpleNamespace

import pytest
import torch

from ppn.errors import CheckpointError, DataError
from ppn.explainers.base import Inputs
from ppn.explainers.training import (
    SomeOfTraining,
    TrainingImages,
    fit_explainers,
    learn_again,
    load_state,
    save_state,
)
from ppn.types import Tokens
from tests.toys import LikeTheClass, OneCell

GRID = (2, 2)


def tokens_of(images, patches=True):
    tokens = images.flatten(2).mT
    return Tokens(
        tokens, GRID, tokens.mean(1), torch.ones(len(images)), torch.zeros(len(images), 3)
    )


def stream(batch_size):
    """Images of classes 0 and 2, their only channel is label + index / 10."""
    network = SimpleNamespace(
        tokens=tokens_of, device=torch.device("cpu"), class_names=["a", "b", "c"]
    )
    batches = []
    for label in (0, 2):
        for first in range(0, 5, batch_size):
            index = torch.arange(first, min(first + batch_size, 5))
            image = (label + index / 10)[:, None, None, None].expand(-1, 1, *GRID)
            same = torch.full_like(index, label)
            keypoints = index[:, None, None].float().expand(-1, 2, 3)
            batches.append({"image": image, "label": same, "index": index, "keypoints": keypoints})
    return TrainingImages(network, batches)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_classes_come_whole_with_their_annotations_and_without_pixels(batch_size):
    found = list(stream(batch_size).classes())
    assert [one.label for one in found] == [0, 2]
    for one in found:
        assert one.batch["index"].tolist() == list(range(5))
        assert one.batch["keypoints"].shape == (5, 2, 3)
        assert len(one.batch["image"]) == 0
        assert torch.allclose(one.tokens.pooled[:, 0], one.label + torch.arange(5) / 10)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_halves_are_every_other_image_of_each_class_however_they_are_read(batch_size):
    for second, kept in ((False, [0, 2, 4]), (True, [1, 3])):
        half = SomeOfTraining(stream(batch_size), lambda place, of=second: place % 2 == of)
        for one in half.classes():
            assert one.batch["index"].tolist() == kept
            assert len(one.batch["image"]) == 0
            assert torch.allclose(one.tokens.pooled[:, 0], one.label + torch.tensor(kept) / 10)
        read = [(one.label, index) for one in half for index in one.batch["index"].tolist()]
        assert read == [(label, index) for label in (0, 2) for index in kept]
        assert all(len(one.batch["image"]) == len(one.tokens.pooled) for one in half)
    alone = stream(5)
    alone.loader = [{name: value[:1] for name, value in alone.loader[0].items()}]
    with pytest.raises(DataError, match="Class 'a' has too few training images to divide: 1"):
        list(SomeOfTraining(alone, bool).classes())
    assert learn_again(LikeTheClass(), alone, True) is None


class Noting(LikeTheClass):
    """Remembers which images it has learned from."""

    def fit(self, images):
        for one in images.classes():
            learned_from.append(one.batch["index"].tolist())
        super().fit(images)

    def class_directions(self):
        return self.means[:, None]


learned_from = []


def test_a_group_of_each_half_is_left_out():
    for left_out, first, second in (
        (None, [0, 2, 4], [1, 3]),
        ((0, 2), [2], [3]),
        ((1, 2), [0, 4], [1]),
    ):
        learned_from.clear()
        assert learn_again(Noting(), stream(5), True, left_out) is not None
        assert learned_from == [first, first, second, second]  # of two classes
    learned_from.clear()
    assert learn_again(Noting(), stream(2), False, (2, 3)) is not None
    assert learned_from == [[0, 1, 3, 4]] * 4


def test_other_processes_take_over_what_the_first_has_learned():
    sent = []
    ours, theirs = LikeTheClass(), LikeTheClass()
    fit_explainers([OneCell(), ours], stream(2), broadcast=lambda s: sent.append(s) or s)
    nothing = TrainingImages(stream(2).network, iter([]))
    fit_explainers([OneCell(), theirs], nothing, first=False, broadcast=lambda _: sent[0])
    assert torch.equal(ours.means, theirs.means)
    assert torch.allclose(ours.means[:, 0], torch.tensor([0.2, 0.0, 2.2]))


def test_what_was_learned_in_inference_mode_takes_gradients():
    explainer = LikeTheClass()
    with torch.inference_mode():
        fit_explainers([explainer], stream(2))
    assert not explainer.means.is_inference()


def test_state_is_kept_in_a_file(tmp_path):
    ours, theirs = LikeTheClass(), LikeTheClass()
    fit_explainers([ours], stream(5))
    save_state(ours, tmp_path / "state.safetensors")
    load_state(theirs, tmp_path / "state.safetensors")
    images = torch.rand(3, 1, *GRID)
    inputs = Inputs(images, tokens_of(images), torch.arange(3))
    target = torch.tensor([0, 1, 2])
    assert torch.equal(*(e.attribute(inputs, target).maps for e in (ours, theirs)))


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "state.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"like_the_class has learned .*: delete it"):
        load_state(LikeTheClass(), path)


def test_a_file_of_another_explainer_is_refused(tmp_path):
    save_state(OneCell(), tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match="it holds nothing"):
        load_state(LikeTheClass(), tmp_path / "state.safetensors")

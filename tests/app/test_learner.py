import time

import pytest
import torch
from torch import nn

from ppn.app.annotation import Annotation, draw_pool
from ppn.app.learner import Learner
from ppn.classifier.model import Classifier
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.types import InputConfig

PARTS = ["crown", "tail"]


class Net(nn.Module):
    """Colours of patches, and a linear layer on their mean."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 12, 8, stride=8)
        self.fc = nn.Linear(12, 3)

    def forward(self, images):
        return self.fc(self.features(images).relu().mean((2, 3)))


@pytest.fixture
def data():
    return SyntheticBirdsDataModule(
        num_classes=3, train_per_class=8, test_per_class=1, draw_size=64, val_fraction=0
    )


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Classifier(Net().eval(), InputConfig((64, 64)), "features")


def until(said):
    for _ in range(600):
        if said():
            return
        time.sleep(0.1)
    raise AssertionError


def answer(work, data, position):
    """What a person who knows the birds answers."""
    source = data.train_source
    name = work.image(position)["name"]
    index = [source.name(i) for i in range(len(source))].index(name)
    for part in PARTS:
        x, y, seen = source.read(index).keypoints[source.part_names.index(part)]
        work.answer(position, part, (x / 64, y / 64) if seen else None)
    return index


def test_parts_are_learned_and_shown_on_images_that_were_not_clicked(tmp_path, data, classifier):
    pool = draw_pool(data)
    learner = Learner(data, classifier, PARTS, pool)
    work = Annotation(data, PARTS, tmp_path / "clicks.csv", pool, learner)
    for position in range(3):
        answer(work, data, position)
    until(lambda: len(learner._unsure) == len(pool))
    unsure = learner.uncertainty(pool.tolist())
    assert ((unsure > 0) & (unsure < 1)).all()
    assert len(unsure.unique()) > 12
    assert not work.parts_so_far()["ready"]
    for position in range(3, 10):
        answer(work, data, position)
    until(lambda: work.parts_so_far()["ready"])
    found = work.parts_so_far()
    assert found["current"]
    assert [row["part"] for row in found["rows"]] == PARTS
    assert [len(row["pictures"]) for row in found["rows"]] == [8, 8]
    assert "Learned from 10 images" in found["note"]
    work.close()
    assert not learner._thread.is_alive()


def test_points_are_learned_where_the_classifier_sees_them(tmp_path, data, classifier):
    data.crop = "box"
    learner = Learner(data, classifier, PARTS, draw_pool(data))
    work = Annotation(data, PARTS, tmp_path / "clicks.csv", None, learner)
    work.image(0)
    work.answer(0, "crown", (0.25, 0.5))
    work.answer(0, "tail", None)
    (index,) = learner._answers
    moved = learner._moved(index, learner._answers[index])
    assert torch.allclose(moved[0], torch.tensor([16.0, 32.0, 1.0]), atol=0.2)
    assert moved[1, 2] == 0
    work.close()


def test_a_failure_is_told_and_the_page_goes_on(tmp_path, data, classifier, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(classifier, "forward", fail)
    pool = draw_pool(data)
    learner = Learner(data, classifier, PARTS, pool)
    work = Annotation(data, PARTS, tmp_path / "clicks.csv", pool, learner)
    until(lambda: not learner._thread.is_alive())
    for position in range(10):
        answer(work, data, position)
    found = work.parts_so_far()
    assert found["ready"]
    assert found["current"]
    assert found["note"] == "The parts cannot be learned (RuntimeError: out of memory)."
    work.close()

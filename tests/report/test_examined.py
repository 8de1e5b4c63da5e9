from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ppn.data.folder import ImageFolderDataModule
from ppn.prototypes.load import load
from ppn.report.confusion import confusion
from ppn.report.examined import GRID, Examination, Examined
from ppn.report.parts import Flagged
from tests.commands.conftest import world  # noqa: F401 - a fixture


def seen(labels, predicted, probability=None):
    n = len(labels)
    sure = np.full(n, 0.5) if probability is None else np.array(probability)
    return Examined(np.arange(n), np.array(labels), np.array(predicted), sure, *[np.zeros(0)] * 3)


def test_mistakes_of_different_kinds_come_first():
    found = seen([0, 0, 0, 1, 2], [1, 1, 0, 2, 2], [0.6, 0.9, 1.0, 0.7, 1.0])
    assert found.mistakes == [1, 3, 0]  # the surest of the most frequent kind, another kind, more


def test_the_table_counts_every_image_and_opens_those_explained(make_sample):
    names = ["Bird 000", "Bird 001", "Bird 002"]
    sample = replace(make_sample([1.0, 2.0]), class_name="Bird 001", true_class="Bird 000")
    found = confusion(seen([0, 0, 0, 1, 2], [1, 1, 0, 2, 2]), names, [sample])
    assert [[cell.count for cell in row] for row in found.rows] == [[1, 2, 0], [0, 0, 1], [0, 0, 1]]
    assert found.rows[0][1].sample == 0
    assert found.rows[1][2].sample is None
    assert (found.wrong, found.images) == (3, 5)
    assert [(true, guess, cell.count) for true, guess, cell in found.pairs] == [
        ("Bird 000", "Bird 001", 2),
        ("Bird 001", "Bird 002", 1),
    ]


def test_the_classes_with_most_mistakes_are_shown():
    labels = [*range(60), 59, 59]
    predicted = [*range(58), 59, 58, 58, 58]
    found = confusion(seen(labels, predicted), [str(i) for i in range(60)], [])
    assert found.classes == 60
    assert len(found.names) == 24
    assert {"58", "59"} <= set(found.names)


@pytest.mark.parametrize(
    ("kind", "other", "words"),
    [
        ("outside", None, "mostly background"),
        ("duplicate", "Part 2", "like part 2"),
        ("little", None, "carries little"),
    ],
)
def test_flags_are_told_in_plain_words(kind, other, words):
    assert Flagged(0, "a", 0, "Part 1", kind, 0.9, other).words == words


def test_the_pass_is_what_each_image_alone_gives(world):  # noqa: F811
    base, _ = world
    network = load(base / "run/checkpoints/prototypes.ckpt")
    data = ImageFolderDataModule(str(base / "photos"), num_workers=0, batch_size=3)
    data.input_config = network.input_config
    view = data.view("train")
    pass_ = Examination(network)
    for batch in DataLoader(view, 3):
        tokens = network.tokens(batch["image"])
        pass_.update(batch, tokens, network.head(tokens).contributions)
    found = pass_.result()
    assert found.indices.tolist() == view.indices.tolist()
    added = {}
    places = np.zeros((2, network.k, GRID, GRID))
    for at, index in enumerate(found.indices.tolist()):
        item = view.at([index])[0]
        label = int(item["label"])
        own = network.explain(item["image"], label)
        assert found.labels[at] == label
        assert found.predicted[at] == own.predicted.label
        assert found.probability[at] == pytest.approx(own.predicted.probability, abs=1e-5)
        added[index] = label, own.contributions
        for part, grid in enumerate(own.maps):
            positive = np.clip(grid, 0, None)
            if positive.any():  # the whole picture: there is no box
                assert found.places[label, part].sum() > 0
            places[label, part] += 1
    assert np.isnan(found.outside).all()
    for label in range(2):
        for part in range(network.k):
            mine = [i for i, (of, _) in added.items() if of == label]
            order = sorted(mine, key=lambda i: -added[i][1][part])
            kept = [i for i in found.best[label, part].tolist() if i >= 0]
            assert kept == order[: len(kept)]
            assert len(kept) == min(len(mine), found.best.shape[2])


def test_evidence_outside_of_the_box_is_counted():
    from ppn.report.examined import _outside, _places

    maps = torch.zeros(2, 1, 4, 4)
    maps[:, 0, 0, 0] = 1.0  # the upper left sixteenth
    image = torch.zeros(2, 3, 64, 64)
    box = torch.tensor([[32.0, 32, 64, 64], [0.0, 0, 64, 64]])
    share, told = _outside(maps, {"image": image, "box": box})
    assert share[0, 0] == pytest.approx(1.0)
    assert told.tolist() == [1.0, 0.0]  # a box of the whole frame stands for none
    cells = _places(maps, {"image": image, "box": box})
    assert cells[0].sum() == 0
    assert cells[1, 0, 0, 0] > 0.5

"""Why one class and not another."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import ppn
from ppn.errors import DataError
from ppn.explanation.versus import Versus
from tests.explanation.test_record import explanation

NAMES = ["ant", "bee", "cat"]
SIZES = {"test_resnet": 64, "test_convnext": 64, "test_vit": 160, "test_mambaout": 160}


@pytest.fixture(scope="module", params=SIZES)
def case(request):
    """A network of each head case, and images."""
    torch.manual_seed(0)
    size = SIZES[request.param]
    model = timm.create_model(request.param, num_classes=3).eval()
    images = torch.randn(6, 3, size, size)
    batches = [(images, torch.tensor([0, 1, 2, 0, 1, 2]))]
    return model, ppn.from_classifier(model, batches, k=3, class_names=NAMES), images


def test_differences_add_up_to_that_of_the_black_boxes_logits(case):
    model, network, images = case
    with torch.no_grad():
        logits = model(images[:1])[0]
    for one, other in ((0, 1), (2, 0)):
        found = network.explain(images[0], one).versus(other)
        assert found.difference == pytest.approx(float(logits[one] - logits[other]), abs=1e-5)
        total = sum(pair.difference for pair in found.pairs) + found.bias
        assert total == pytest.approx(found.difference, abs=1e-4 * float(logits.std()))
        assert found.adds_up
        differences = [pair.difference for pair in found.pairs]
        assert differences == sorted(differences, reverse=True)
        assert sorted(pair.first for pair in found.pairs) == [0, 1, 2]
        assert sorted(pair.second for pair in found.pairs) == [0, 1, 2]
        for pair in found.pairs:
            mine = found.first.contributions[pair.first]
            theirs = found.second.contributions[pair.second]
            assert pair.difference == mine - theirs
        back = network.explain(images[0], other).versus(NAMES[one])
        assert back.difference == pytest.approx(-found.difference, abs=1e-5)


def test_an_edited_network_is_compared_as_it_is(case):
    _, network, images = case
    before = network.explain(images[0], "ant").versus("bee")
    network.remove("bee", 1)
    try:
        after = network.explain(images[0], "ant").versus("bee")
        lost = before.second.contributions[0]
        assert after.difference == pytest.approx(before.difference + lost, abs=1e-5)
        assert after.adds_up
        assert after.notes[0].startswith("Edited: part 1 of bee removed")
        assert "edited network" in " ".join(after.notes)
    finally:
        network.restore()


def made(**changes):
    """Two classes whose maps look at the same two corners, in the other order."""
    grids = [np.zeros((4, 4), np.float32) for _ in range(2)]
    grids[0][0, 0] = grids[1][3, 3] = 1
    first = explanation(maps=tuple(grids), contributions=(2.0, 1.5), bias=-0.5, logit=3.0)
    second = explanation(
        maps=tuple(grids[::-1]), contributions=(1.0, 0.25), bias=0.0, logit=1.25, label=0,
        class_name="auk", probability=0.2, **changes,
    )  # fmt: skip
    return Versus(first, second)


def test_parts_are_paired_by_the_place_that_they_look_at():
    found = made()
    assert [(p.first, p.second, p.difference) for p in found.pairs] == [(0, 1, 1.75), (1, 0, 0.5)]
    assert found.bias == -0.5
    assert found.residual == 0
    assert found.verdict == "gull is ahead of auk by 1.75; most of all by part 1 (1.75)."
    assert "by the place" in found.notes[0]


def test_what_does_not_add_up_is_said():
    found = made()
    found = Versus(found.first, replace(found.second, logit=0.5))
    assert not found.adds_up
    assert "do not add up" in " ".join(found.notes)


def test_values_survive_json():
    content = made().to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["pairs"][0] == {"prototypes": [1, 2], "difference": 1.75}
    assert content["classes"][1]["explained_class"]["name"] == "auk"


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_pictures_are_drawn(tmp_path, suffix):
    path = made().save(tmp_path / f"pair{suffix}")
    assert path.stat().st_size > 5000
    if suffix == ".png":
        with Image.open(path) as picture:
            assert picture.width > 1500


def test_mistakes_are_one_sentence(case, tmp_path):
    _, network, images = case
    found = network.explain(images[0], "ant")
    with pytest.raises(DataError, match="ant cannot be held against itself"):
        found.versus("ant")
    with pytest.raises(DataError, match="There is no class 'wasp'"):
        found.versus("wasp")
    with pytest.raises(DataError, match="has lost its network"):
        pickle.loads(pickle.dumps(found)).versus("bee")
    with pytest.raises(DataError, match="not the path of a picture"):
        made().save(tmp_path / "pair.txt")

"""The one way from images to explanations."""

import numpy as np
import pytest
import timm
import torch

import ppn
from ppn.explanation.explain import explain
from ppn.explanation.record import Patch

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
    return ppn.from_classifier(model, batches, k=2, class_names=NAMES), images


def test_contributions_and_bias_are_the_black_boxes_logit_of_the_target(case):
    network, images = case
    with torch.no_grad():
        logits = network.classifier.model(images)
    target = [2, 1, 0, 0, 1, 2]
    found = explain(network, images, list("abcdef"), target)
    for row, (given, label) in enumerate(zip(found, target, strict=True)):
        assert (given.name, given.label, given.class_name) == ("abcdef"[row], label, NAMES[label])
        assert given.logit == pytest.approx(float(logits[row, label]), abs=1e-5)
        total = sum(given.contributions) + given.bias
        assert total - given.logit == given.residual
        assert abs(given.residual) <= 1e-4 * float(logits.std())
        assert given.adds_up
        if network.classifier.inspection.averages:
            means = [grid.mean() for grid in given.maps]
            assert means == pytest.approx(list(given.contributions), rel=1e-3, abs=1e-6)
        assert given.probability == pytest.approx(float(logits[row].softmax(0)[label]), abs=1e-6)
        order = logits[row].argsort(descending=True).tolist()
        assert [ranked.label for ranked in given.ranking] == order


def test_a_batch_is_explained_as_its_images_are_one_by_one(case):
    network, images = case
    together = explain(network, images, list("abcdef"))
    for given, image in zip(together, images, strict=True):
        alone = network.explain(image)
        assert given.label == alone.label
        assert given.contributions == pytest.approx(alone.contributions, abs=1e-5)
        assert np.allclose(given.maps, alone.maps, atol=1e-5)
        assert given.scale == pytest.approx(alone.scale, rel=1e-5)
        assert np.array_equal(np.asarray(given.image), np.asarray(alone.image))


def test_patches_and_true_classes_are_there_where_they_are_given(case):
    network, images = case
    bare = explain(network, images[:1], ["a"])[0]
    assert (bare.patches, bare.true_class) == ((None, None), "")
    asked = []

    def patch(label, part):
        asked.append((label, part))
        return Patch(bare.image, (0.0, 0.0, 8.0, 8.0), part, "near") if part else None

    told = explain(network, images[:1], ["a"], true=[2], patch=patch)[0]
    assert told.true_class == "cat"
    assert asked == [(told.label, 0), (told.label, 1)]
    assert told.patches[0] is None
    assert told.patches[1].name == "near"

"""The package's own method as an explainer: the same prototypes, on a classifier that is shared."""

import pytest
import timm
import torch

import ppn
from ppn.data.cub import CUBDataModule
from ppn.discovery import NMF
from ppn.explainers.base import Inputs
from ppn.explainers.part_prototypes import PartPrototypes
from ppn.explainers.training import TrainingImages
from ppn.metrics.evaluate import class_batches
from ppn.refinement import Equal, Unrefined
from tests import fakes
from tests.toys import SharedChannels


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    data = CUBDataModule(str(fakes.cub(tmp_path_factory.mktemp("birds"))), num_workers=0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    return ppn.from_classifier(model, data, k=2, refinement=Equal()), data


def learned(fitted, explainer):
    network, data = fitted
    explainer.prepare(network)
    explainer.fit(TrainingImages(network, class_batches(data, network)))
    return explainer


def test_prototypes_are_those_of_from_classifier(fitted):
    network, _ = fitted
    explainer = learned(fitted, PartPrototypes(NMF(), Equal()))
    assert torch.allclose(explainer.directions, network.head.prototypes, atol=1e-6)
    assert explainer.maps_per_class == 2
    assert explainer.name == "nmf + equal"


def test_the_network_it_is_prepared_for_stays_as_it_is(fitted):
    network, _ = fitted
    before = network.head.prototypes.clone()
    explainer = learned(fitted, PartPrototypes(NMF(), Unrefined(), k=3))
    assert torch.equal(network.head.prototypes, before)
    assert explainer.directions.shape[1] == explainer.maps_per_class == 3
    assert not explainer.exact
    assert explainer.name == "nmf + unrefined (k=3)"


def test_it_explains_and_says_logits(fitted):
    network, data = fitted
    explainer = learned(fitted, PartPrototypes(SharedChannels(), Equal()))
    images = next(iter(data.test_dataloader()))["image"]
    tokens = network.tokens(images)
    inputs = Inputs(images, tokens, torch.arange(len(images)))
    target = torch.zeros(len(images), dtype=torch.long)
    found = explainer.attribute(inputs, target)
    assert torch.allclose(explainer.surrogate(inputs), tokens.logits, atol=1e-5)
    assert torch.allclose(found.maps.mean((2, 3)), found.contributions, atol=1e-5)

"""Our metrics where Quantus, xplique, captum or scikit-learn define the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ppn.explainers.base import Attribution, Inputs
from ppn.metrics import (
    Accuracy,
    EnergyMask,
    EvaluationShape,
    PixelDeletion,
    PixelInsertion,
    PointingMask,
)
from ppn.metrics.changed import Changed
from ppn.metrics.compactness import gini
from ppn.metrics.intervals import bootstrap_interval
from ppn.metrics.probe import Probe
from ppn.metrics.randomisation import rank_correlation
from tests.metrics.test_funnybirds import OBJECTS, TRAITS, K, Tiles, classify, place

B, S, C = 4, 16, 3
PLAIN = {"abs": False, "normalise": False, "disable_warnings": True}


@pytest.fixture
def quantus():
    return pytest.importorskip("quantus")


@pytest.fixture
def model():
    """Of one channel: the sum over each quarter, and a linear layer."""
    torch.manual_seed(2)
    layers = nn.AvgPool2d(S // 2, divisor_override=1), nn.Flatten(), nn.Linear(4, C)
    return nn.Sequential(*layers).eval()


def drawn(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def of_object(metric, maps, inside):
    metric.setup(EvaluationShape(1, 1, (), S)).update(maps, inside, torch.ones_like(inside))
    return metric.figures(metric.compute())[metric.key]


def given(maps, **more):
    """The arguments of Quantus's metrics of maps alone."""
    blank = np.zeros((len(maps), 1, S, S), np.float32)
    labels = np.zeros(len(maps), int)
    return {"model": None, "x_batch": blank, "y_batch": labels, "a_batch": maps.numpy(), **more}


def test_pointing_is_the_pointing_game_of_quantus(quantus):
    maps, inside = drawn(B, 1, S, S), drawn(2, B, S, S)[1] > 0.5
    theirs = quantus.PointingGame(**PLAIN)(**given(maps, s_batch=inside[:, None].numpy()))
    assert 0 < np.mean(theirs) < 1
    assert of_object(PointingMask(), maps, inside) == pytest.approx(np.mean(theirs))


def test_energy_of_positive_maps_is_the_relevance_mass_accuracy_of_quantus(quantus):
    maps, inside = drawn(B, 1, S, S), drawn(2, B, S, S)[1] > 0.3
    metric = quantus.RelevanceMassAccuracy(**PLAIN)
    theirs = metric(**given(maps, s_batch=inside[:, None].numpy()))
    assert of_object(EnergyMask(), maps, inside) == pytest.approx(np.mean(theirs), abs=1e-6)


def test_gini_is_the_sparseness_of_quantus(quantus):
    maps = drawn(B, 1, S, S) ** 3
    theirs = quantus.Sparseness(**{**PLAIN, "abs": True})(**given(maps))
    assert gini(maps.flatten(1)).tolist() == pytest.approx(theirs, abs=1e-4)


def test_rank_correlation_is_that_of_the_parameter_randomisation_of_quantus(quantus):
    first, second = drawn(2, B, 5, 5).mul(9).round()
    pairs = (maps.flatten(1).numpy() for maps in (first, second))
    theirs = quantus.similarity_func.correlation_spearman(*pairs, batched=True)
    assert rank_correlation(first, second).tolist() == pytest.approx(theirs.tolist())


def changed(metric, model, images, maps):
    """What one of our metrics of changed pixels says of a model's predictions."""
    with torch.no_grad():
        logits = model(images)
    metric.setup(EvaluationShape(C, 1, (), S))
    inputs = Inputs(images, SimpleNamespace(logits=logits), torch.arange(B))
    says = SimpleNamespace(attribute=lambda inputs, target: Attribution(maps))
    metric.update(Probe(SimpleNamespace(classify=lambda x, most: model(x).detach()), says, inputs))
    return metric.figures(metric.compute()), logits.argmax(1)


def test_pixel_deletion_is_the_pixel_flipping_of_quantus(quantus, model):
    images, maps = drawn(B, 1, S, S) - 0.3, drawn(2, B, 1, S, S)[1]
    figures, predicted = changed(PixelDeletion(step=224 * 224 // 8), model, images, maps)
    ours = figures["pixel_deletion_curve"]
    flipping = quantus.PixelFlipping(features_in_step=S * S // 8, perturb_baseline=0.0, **PLAIN)
    theirs = flipping(
        model=model,
        x_batch=images.numpy(),
        y_batch=predicted.numpy(),
        a_batch=maps.numpy(),
        softmax=True,
    )
    assert len(ours) == 9  # theirs leaves out the image itself
    assert ours[1:] == pytest.approx(np.mean(theirs, axis=0).tolist(), abs=1e-5)
    assert np.ptp(ours) > 0.05


@pytest.mark.parametrize("kind", [PixelDeletion, PixelInsertion])
def test_pixel_deletion_and_insertion_are_those_of_xplique(model, kind):
    tensorflow = pytest.importorskip("tensorflow")  # which xplique wants
    theirs = getattr(pytest.importorskip("xplique.metrics"), kind.__name__.removeprefix("Pixel"))
    images, maps = drawn(B, 1, S, S) - 0.3, drawn(2, B, 1, S, S)[1]
    ours, predicted = changed(kind(224 * 224 // 8, "zero"), model, images, maps)
    weight, bias = (p.detach().numpy() for p in model[2].parameters())

    def same(inputs):
        quarters = tensorflow.nn.avg_pool2d(inputs, S // 2, S // 2, "VALID") * (S // 2) ** 2
        return tensorflow.reshape(quarters, (-1, 4)) @ weight.T + bias

    metric = theirs(
        same,
        images.permute(0, 2, 3, 1).numpy(),
        np.eye(C, dtype=np.float32)[predicted],
        steps=8,
        activation="softmax",
    )
    area = metric.evaluate(maps[:, 0].numpy())
    assert ours[f"pixel_{kind.__name__[5:].lower()}"] == pytest.approx(area, abs=1e-5)
    assert 0.05 < area < 0.95


def test_losses_without_parts_are_the_ablations_of_captum():
    captum = pytest.importorskip("captum.attr")
    labels = [0, 1, 3]
    tiles = Tiles(labels, 0.2 + drawn(3, K + OBJECTS))
    images = torch.stack([tiles.draw(row) for row in range(3)])
    tokens = SimpleNamespace(logits=classify(images))
    inputs = Inputs(images, tokens, torch.arange(3))
    probe = Probe(SimpleNamespace(classify=classify), None, inputs, None, tiles)
    ours = Changed(probe).losses(torch.tensor(labels))
    groups = torch.full((1, 1, 16, 16), K + OBJECTS)
    for tile in range(K + OBJECTS):
        groups[(0, 0, *place(tile))] = tile
    ablation = captum.FeatureAblation(classify)
    found = ablation.attribute(images, target=torch.tensor(labels), feature_mask=groups)
    theirs = [[found[(row, 0, *place(t))][0, 0] for t in range(K + OBJECTS)] for row in range(3)]
    assert len(TRAITS[0]) == K
    assert torch.allclose(ours.float(), torch.tensor(theirs), atol=1e-6)
    assert ours[0, K + 1] > 0.1


def test_accuracy_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, labels = drawn(40, C), torch.arange(40) % C
    metric = Accuracy().setup(EvaluationShape(C, 1))
    metric.update(logits, logits, labels)
    theirs = sklearn.accuracy_score(labels, logits.argmax(1))
    assert metric.figures(metric.compute())["accuracy"] == pytest.approx(theirs)


def test_intervals_are_the_percentile_bootstrap_of_scipy():
    from scipy.stats import bootstrap

    values = drawn(40).double().numpy()
    rng = np.random.default_rng(0)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=4000, random_state=rng)
    ours = bootstrap_interval(values, draws=4000)
    low, high = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.1 * (high - low))

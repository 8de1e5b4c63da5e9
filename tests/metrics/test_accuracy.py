from __future__ import annotations

import pytest
import torch

from ppn.metrics import Accuracy, ClassShares, EvaluationShape, Fidelity
from ppn.metrics.resampling import image_counts

SHAPE = EvaluationShape(num_classes=3, k=2)


def test_accuracy_of_network_and_black_box():
    labels = torch.tensor([0, 1, 2, 2])
    metric = Accuracy().setup(SHAPE)
    right = torch.eye(3)[labels]
    wrong = torch.eye(3)[torch.tensor([0, 2, 2, 0])]
    metric.update(wrong[:3], right[:3], labels[:3])
    metric.update(wrong[3:], right[3:], labels[3:])
    result = metric.compute()
    assert metric.figures(result) == {"images": 4, "accuracy": 0.5, "blackbox_accuracy": 1.0}


def test_both_accuracies_and_agreement_are_means_of_classes_and_of_draws():
    generator = torch.Generator().manual_seed(0)
    network, blackbox = torch.randn(2, 9, 3, generator=generator)
    labels, counts = torch.arange(9) % 2, image_counts(torch.arange(9))  # none of the third class
    metrics = Accuracy().setup(SHAPE), Fidelity().setup(SHAPE)
    for rows in torch.arange(9).split(4):
        metrics[0].update(network[rows], blackbox[rows], labels[rows], counts[rows])
        metrics[1].update(network[rows], blackbox[rows], labels[rows], counts[rows])
    accuracy, agreement = ((metric, metric.compute()) for metric in metrics)
    found = {
        "accuracy": accuracy[0].values(accuracy[1]),
        "agreement": agreement[0].values(agreement[1]),
        **accuracy[0].beside(accuracy[1]),
    }
    right = {
        "accuracy": network.argmax(1) == labels,
        "agreement": network.argmax(1) == blackbox.argmax(1),
        "blackbox_accuracy": blackbox.argmax(1) == labels,
    }
    assert found.keys() == right.keys()
    for name, of in right.items():
        by_class = [of[labels == label].double().mean() for label in (0, 1)]
        assert torch.equal(found[name].classes[:2], torch.stack(by_class))
        assert found[name].classes[2].isnan()
        draws = (of.double() @ counts) / counts.sum(0)
        assert torch.allclose(found[name].draws, draws[draws.isfinite()])
    assert 0 < right["agreement"].sum() < 9


def test_shares_and_accuracy_of_each_class():
    metric = ClassShares().setup(SHAPE)
    contributions = torch.tensor([[3.0, 1.0], [1.0, 3.0], [5.0, -1.0]])
    labels = torch.tensor([0, 0, 2])
    metric.update(contributions[:1], labels[:1], torch.tensor([0]))
    metric.update(contributions[1:], labels[1:], torch.tensor([1, 2]))
    result = metric.compute()
    assert result.share.tolist() == [[0.5, 0.5], [0, 0], [1.25, -0.25]]
    assert result.accuracy.tolist() == pytest.approx([0.5, 0, 1])
    assert result.images.tolist() == [2, 0, 1]

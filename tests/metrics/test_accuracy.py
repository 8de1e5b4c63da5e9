from __future__ import annotations

import pytest
import torch

from ppn.metrics import Accuracy, ClassShares, EvaluationShape

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

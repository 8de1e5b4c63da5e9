from __future__ import annotations

import statistics

import pytest
import torch

from ppn.metrics import EvaluationShape, Fidelity

SHAPE = EvaluationShape(num_classes=3, k=2)


def test_figures_equal_the_literal_loops():
    generator = torch.Generator().manual_seed(0)
    blackbox = torch.randn(9, 4, generator=generator)
    logits = blackbox + 0.8 * torch.randn(9, 4, generator=generator)
    metric = Fidelity().setup(SHAPE)
    metric.update(logits, blackbox)
    result = metric.compute()
    pairs = list(zip(logits.flatten().tolist(), blackbox.flatten().tolist(), strict=True))
    errors = [abs(a - b) for a, b in pairs]
    agree = sum(
        a.index(max(a)) == b.index(max(b))
        for a, b in zip(logits.tolist(), blackbox.tolist(), strict=True)
    )
    std = statistics.pstdev(b for _, b in pairs)
    assert 0 < agree < 9
    assert metric.figures(result) == {
        "agreement": agree / 9,
        "max_logit_error": max(errors),
        "mean_logit_error": pytest.approx(sum(errors) / 36, rel=1e-12),
        "logit_std": pytest.approx(std, rel=1e-12),
        "max_relative_logit_error": pytest.approx(max(errors) / std, rel=1e-12),
        "mean_relative_logit_error": pytest.approx(sum(errors) / 36 / std, rel=1e-12),
    }
    assert result.images == 9


def test_the_black_box_itself_is_exact():
    logits = torch.randn(5, 3)
    metric = Fidelity().setup(SHAPE)
    metric.update(logits, logits)
    figures = metric.figures(metric.compute())
    assert figures["agreement"] == 1
    assert figures["max_logit_error"] == figures["mean_relative_logit_error"] == 0


def test_equal_logits_have_no_scale():
    metric = Fidelity().setup(SHAPE)
    metric.update(torch.ones(2, 3), torch.ones(2, 3))
    assert metric.compute().further["max_relative_logit_error"] == 0
    metric.update(torch.zeros(2, 3), torch.ones(2, 3))
    assert metric.compute().further["max_relative_logit_error"] == float("inf")


def test_a_broken_logit_is_not_hidden():
    metric = Fidelity().setup(SHAPE)
    metric.update(torch.tensor([[0.0, float("nan")]]), torch.zeros(1, 2))
    metric.update(torch.zeros(1, 2), torch.zeros(1, 2))
    assert metric.compute().further["max_logit_error"].isnan()


def test_a_batch_without_images_changes_nothing():
    metric = Fidelity().setup(SHAPE)
    metric.update(torch.zeros(0, 3), torch.zeros(0, 3))
    metric.update(torch.eye(3), torch.eye(3))
    assert metric.compute().images == 3

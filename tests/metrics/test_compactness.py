from __future__ import annotations

import math

import pytest
import torch

from ppn.metrics import Compactness, EvaluationShape
from ppn.metrics.compactness import effective_prototypes, gini, hoyer
from ppn.metrics.resampling import image_counts

SHAPE = EvaluationShape(num_classes=3, k=2)


def literal(row):
    """Gini by all pairs, Hoyer by its formula, K_eff by adding one prototype after the other."""
    k, size = len(row), [abs(v) for v in row]
    total, norm = sum(size), math.sqrt(sum(v * v for v in row))
    unequal = sum(abs(a - b) for a in size for b in size)
    g = unequal / (2 * k * total) if total else 0.0
    h = (math.sqrt(k) - total / norm) / (math.sqrt(k) - 1) if norm and k > 1 else 0.0
    positive = sorted((v for v in row if v > 0), reverse=True)
    needed, running = 0, 0.0
    while positive and running < 0.9 * sum(positive):
        running += positive[needed]
        needed += 1
    return g, h, needed


@pytest.mark.parametrize("k", [1, 2, 5])
def test_figures_equal_the_literal_loops(k):
    generator = torch.Generator().manual_seed(k)
    values = torch.randn(12, k, generator=generator, dtype=torch.float64)
    values[3] = 0
    values[4] = -values[4].abs()
    metric = Compactness().setup(SHAPE)
    metric.update(values)
    result = metric.compute()
    figures = [literal(row) for row in values.tolist()]
    needed = [n for _, _, n in figures if n]
    negative = sum(v < 0 for row in values.tolist() for v in row)
    assert metric.figures(result) == {
        "effective_prototypes": pytest.approx(sum(needed) / len(needed)),
        "negative_share": pytest.approx(negative / (12 * k)),
        "gini": pytest.approx(sum(g for g, _, _ in figures) / 12, abs=1e-12),
        "hoyer": pytest.approx(sum(h for _, h, _ in figures) / 12, abs=1e-12),
    }
    assert result.images == len(needed)


def test_what_is_beside_the_score_is_a_mean_of_classes_and_of_draws():
    values = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) % 2  # none of the third class
    counts = image_counts(torch.arange(9))
    metric = Compactness().setup(SHAPE)
    for rows in torch.arange(9).split(4):
        metric.update(values[rows], labels[rows], counts[rows])
    found = metric.beside(metric.compute())
    each = {"negative_share": (values < 0).double().mean(1), "gini": gini(values)}
    each["hoyer"] = hoyer(values)
    assert found.keys() == each.keys()
    for name, of in each.items():
        by_class = [of[labels == label].mean() for label in (0, 1)]
        assert torch.allclose(found[name].classes[:2], torch.stack(by_class))
        assert found[name].classes[2].isnan()
        draws = (of @ counts) / counts.sum(0)
        assert torch.allclose(found[name].draws, draws)


def test_extremes():
    values = torch.tensor([[3.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [-2, 0, 0, 0]]).double()
    assert gini(values).tolist() == [0.75, 0, 0, 0.75]
    assert hoyer(values).tolist() == [1, 0, 0, 1]
    assert effective_prototypes(values).tolist() == [1, 4, 0, 0]


def test_exactly_the_share_is_enough():
    assert effective_prototypes(torch.tensor([[9.0, 1, 0], [8, 1, 1]]).double()).tolist() == [1, 2]


def test_constants_name_the_share():
    assert Compactness(share=0.8).constants["share"] == 0.8

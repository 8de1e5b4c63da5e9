import statistics

import pytest
import torch

from ppn.metrics import Completeness, EvaluationShape
from ppn.metrics.resampling import image_counts

SHAPE = EvaluationShape(num_classes=3, k=2)


def test_figures_equal_the_literal_loops_over_batches():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(7, 2, 3, 4, generator=generator)
    contributions = maps.mean((2, 3)) + 0.3 * torch.randn(7, 2, generator=generator)
    metric = Completeness().setup(SHAPE)
    labels, counts = torch.tensor([0, 1, 0, 1, 1, 0, 1]), image_counts(torch.arange(7))
    for rows in (slice(0, 4), slice(4, 4), slice(4, 7)):
        metric.update(maps[rows], contributions[rows], None, labels[rows], counts[rows])
    result = metric.compute()
    wanted = contributions.double().flatten().tolist()
    means = [statistics.fmean(m.flatten().tolist()) for image in maps.double() for m in image]
    errors = [abs(a - b) for a, b in zip(means, wanted, strict=True)]
    spread = statistics.pstdev(wanted)
    assert metric.figures(result) == {
        "completeness_error": pytest.approx(statistics.fmean(errors) / spread, rel=1e-9),
        "max_completeness_error": pytest.approx(max(errors) / spread, rel=1e-9),
    }
    assert result.known.sum() == 14
    values = metric.values(result)
    relative = torch.tensor(errors).double().view(7, 2) / spread
    assert torch.allclose(values.prototypes[1], relative[labels == 1].mean(0))
    assert torch.allclose(values.classes[0], relative[labels == 0].mean())
    assert values.classes[2].isnan()
    draws = (counts * relative.mean(1, keepdim=True)).sum(0) / counts.sum(0)
    assert torch.allclose(values.draws, draws[draws.isfinite()])


def test_maps_whose_mean_is_the_contribution_are_complete():
    maps = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    metric = Completeness().setup(SHAPE._replace(k=3))
    metric.update(maps, maps.mean((2, 3)))
    assert metric.compute().further["max_completeness_error"] < 1e-12

"""Every metric: the same on 1 and 2 processes, for every batch size, and after reset."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.distributed as dist

from ppn.explainers import RandomMaps
from ppn.metrics import (
    Comprehensiveness,
    Consistency,
    EnergyBox,
    EnergyMask,
    EvaluationShape,
    ExplanationSize,
    Observation,
    PointingBox,
    PointingMask,
    Purity,
    default_metrics,
)
from ppn.metrics.maps import peak
from ppn.metrics.noise import stability_noise
from ppn.metrics.resampling import image_counts
from tests.ddp import run

FURTHER = (
    PointingBox,
    PointingMask,
    EnergyBox,
    EnergyMask,
    Comprehensiveness,
    Purity,
    ExplanationSize,
)
IMAGES, C, K, P, S = 23, 4, 3, 5, 64
# Which images each rank has, and in which batches: uneven, and one rank with nothing at all.
PLANS = [(range(0, 17), 4), (range(17, 23), 5)], [(range(IMAGES), 7), (range(0), 7)]


def metrics():
    shape = EvaluationShape(C, K, [f"part {p}" for p in range(P)], S)
    further = [kind() for kind in FURTHER]
    return {m.key: m.setup(shape) for m in default_metrics([Consistency(threshold=0.4), *further])}


def batch(indices):
    """What there is to see of the images `indices`, each made from its own index alone."""
    indices = torch.tensor(list(indices), dtype=torch.long)
    labels = indices % 3  # class 3 has no images
    draw = RandomMaps().maps
    maps = draw(indices, labels, (K, 4, 4), 0, 0).mul(5).round()
    noisy = maps + 8 * stability_noise(maps, indices, seed=0)
    parts = draw(indices, labels, (P, 1, 3), 1, 0).squeeze(2)
    parts = parts * torch.tensor([S, S, 1.0])
    parts[..., 2] = parts[..., 2].gt(0.3).float()
    logits = draw(indices, labels, (1, 1, C), 2, 0)[:, 0, 0]
    wrong = logits + stability_noise(logits, indices, seed=3)
    corner = 8 + draw(indices, labels, (2, 1, 2), 4, 0)[:, 0, 0] * 40
    box = torch.cat([corner, corner + 16], 1)
    mask = draw(indices, labels, (1, 8, 8), 5, 0)[:, 0].mul(2.6).round()
    mask = torch.where(mask == 2, 255, mask).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return Observation(
        {"label": labels, "index": indices, "keypoints": parts, "box": box, "mask": mask},
        wrong,
        logits,
        maps,
        noisy,
        peak(maps, (S, S)),
        peak(noisy, (S, S)),
        wrong[:, :K] - 0.5,
        additive=True,
        counts=image_counts(indices),
    )


def feed(all_metrics, indices, size):
    indices = list(indices)
    for start in range(0, len(indices), size):
        seen = batch(indices[start : start + size])
        for metric in all_metrics.values():
            metric.observe(seen)


def computed(all_metrics):
    return {name: metric.compute()._asdict() for name, metric in all_metrics.items()}


def on_this_rank():
    results = []
    ours = metrics()
    for plan in PLANS:
        for metric in ours.values():
            metric.reset()
        feed(ours, *plan[dist.get_rank()])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchmetrics warns where a rank saw no batch
            results.append(computed(ours))
            results.append(computed(ours))  # again: from torchmetrics' cache
    # More images after a result: the rank's own states must be back, not the synced ones.
    for metric in ours.values():
        metric.reset()
    for size in (3, 4):
        feed(ours, PLANS[0][dist.get_rank()][0], size)
        counted = computed(ours)["consistency"]["images"]
    results.append(counted)
    return results


def check(result, expected):
    for name, figures in expected.items():
        for figure, value in figures.items():
            torch.testing.assert_close(
                result[name][figure],
                value,
                rtol=1e-12,
                atol=1e-12,
                equal_nan=True,
                msg=f"{name}, {figure}: {result[name][figure]} instead of {value}",
            )


@pytest.fixture(scope="module")
def expected():
    ours = metrics()
    feed(ours, range(IMAGES), IMAGES)
    result = computed(ours)
    assert 0 < result["consistency"]["score"] < 100  # the data can tell right from wrong
    assert 0 < result["stability"]["score"] < 100
    assert 0 < result["stability"]["empty_share"] < 1
    assert 0 < result["distinctiveness"]["score"] < 1
    assert 0 < result["distinct_peaks"]["score"] < 1
    assert 0 < result["agreement"]["score"] < 1
    assert 0 < result["accuracy"]["score"] < 1
    assert 0 < result["accuracy"]["others"]["blackbox_accuracy"].total.sum() < IMAGES
    assert result["effective_prototypes"]["score"] > 1
    assert result["completeness_error"]["score"] > 0.1
    assert len(result) == len(default_metrics()) + len(FURTHER)
    for kind in FURTHER[:5]:
        assert 0 < result[kind.key]["score"] < 1, kind
    return result


@pytest.mark.parametrize("size", [1, 5])
def test_every_batch_size_and_reset(expected, size):
    ours = metrics()
    feed(ours, range(5), 5)
    computed(ours)
    for metric in ours.values():
        metric.reset()
    feed(ours, reversed(range(IMAGES)), size)
    check(computed(ours), expected)


def test_states_are_sums_and_maxima_of_fixed_shape():
    fresh, fed = metrics(), metrics()
    feed(fed, range(4), 4)
    for name, metric in fresh.items():
        reductions = {reduction.__name__ for reduction in metric._reductions.values()}
        assert reductions <= {"dim_zero_sum", "dim_zero_max", "best_of"}
        for state, default in metric._defaults.items():
            assert getattr(fed[name], state).shape == default.shape
            assert default.dtype in (torch.int64, torch.float64)


def test_two_processes_equal_one(expected):
    ranks = run(on_this_rank)
    assert len(ranks) == 2
    for results in ranks:
        for result in results[:-1]:
            check(result, expected)
        assert torch.equal(results[-1], 2 * expected["consistency"]["images"])

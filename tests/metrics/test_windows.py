from __future__ import annotations

import pytest
import torch

from ppn.errors import DataError
from ppn.metrics import Consistency, EvaluationShape, Stability
from ppn.metrics.consistency import SWEEP_THRESHOLDS
from ppn.metrics.resampling import image_counts
from ppn.metrics.windows import SWEEP_HALF_SIZES, mean_over_prototypes, part_hits
from tests.metrics import literal

C, K, P, S = 5, 3, 4, 224  # class 3 has no images


def shape(num_classes, k, num_parts, size=S):
    return EvaluationShape(num_classes, k, [f"part {p}" for p in range(num_parts)], size)


def sample(seed, k=K, grid=(7, 5), images=24):
    """Maps on a coarse scale (ties), parts near the maxima, some invisible, some off the image."""
    generator = torch.Generator().manual_seed(seed)
    maps = (4 * torch.rand(images, k, *grid, generator=generator)).round()
    moved = maps + (torch.rand(maps.shape, generator=generator) > 0.97)
    labels = torch.tensor([0, 1, 2, 4])[torch.randint(4, (images,), generator=generator)]
    peaks = torch.tensor([[literal.peak(m, (S, S)) for m in image] for image in maps])
    near = peaks[:, torch.arange(P) % k].flip(-1).float()
    spread = torch.tensor([20.0, 45.0, 60.0, 300.0])[:, None]
    shift = (2 * torch.rand(near.shape, generator=generator) - 1) * spread
    visible = (torch.rand(images, P, 1, generator=generator) > 0.2).float()
    keypoints = torch.cat([near + shift, visible], -1)
    keypoints[(labels == 2), 0, 2] = 0  # a part that one class never shows
    keypoints[..., :2][keypoints[..., 2] == 0] = float("nan")
    return maps, moved, keypoints, labels, peaks


@pytest.fixture(scope="module", params=[(0, 3, (7, 5)), (1, 1, (4, 4))], ids=["k3", "k1"])
def case(request):
    seed, k, grid = request.param
    maps, moved, keypoints, labels, peaks = sample(seed, k, grid)
    moved_peaks = torch.tensor([[literal.peak(m, (S, S)) for m in image] for image in moved])
    return maps, moved, keypoints, labels, peaks, moved_peaks


def test_consistency_equals_the_literal_loops(case):
    maps, _, keypoints, labels, peaks, _ = case
    metric = Consistency().setup(shape(C, maps.shape[1], P))
    metric.update(maps, keypoints, labels)
    result = metric.compute()
    score, best = literal.consistency(peaks, keypoints, labels)
    assert 0 < score <= 100
    assert result.score.item() == pytest.approx(score, abs=1e-12)
    for (c, j), (part, share) in best.items():
        assert result.best_part[c, j] == part
        assert result.best_share[c, j].item() == share
        assert bool(result.consistent[c, j]) == (share >= 0.8)
    assert result.images.tolist() == [(labels == c).sum() for c in range(C)]
    assert not result.consistent[3].any()
    expected = torch.tensor(
        [
            [literal.consistency(peaks, keypoints, labels, h, t)[0] for t in SWEEP_THRESHOLDS]
            for h in SWEEP_HALF_SIZES
        ]
    )
    assert len(expected.unique()) > 2
    torch.testing.assert_close(result.sweep, expected.double(), rtol=0, atol=1e-5)


def test_stability_equals_the_literal_loops(case):
    maps, moved, keypoints, labels, peaks, moved_peaks = case
    metric = Stability().setup(shape(C, maps.shape[1], P))
    metric.update(maps, moved, keypoints, labels)
    result = metric.compute()
    score, empty = literal.stability(peaks, moved_peaks, keypoints, labels)
    assert 0 < score < 100
    assert 0 < empty < 1
    assert result.score.item() == pytest.approx(score, abs=1e-12)
    assert result.empty_share.item() == pytest.approx(empty, abs=1e-12)
    for value, half in zip(result.sweep, SWEEP_HALF_SIZES, strict=True):
        expected = literal.stability(peaks, moved_peaks, keypoints, labels, half)[0]
        assert value.item() == pytest.approx(expected, abs=1e-12)
    seen = result.images > 0
    assert result.stable_share.shape == (C, maps.shape[1])
    assert 100 * result.stable_share[seen].mean().item() == pytest.approx(score, abs=1e-12)
    assert not result.stable_share[~seen].any()


@pytest.mark.parametrize("kind", [Consistency, Stability])
def test_a_draw_is_the_score_of_the_images_as_often_as_it_has_them(case, kind):
    maps, _, keypoints, labels, peaks, moved_peaks = case
    sizes = shape(C, maps.shape[1], P)
    given = (peaks, moved_peaks) if kind is Stability else (peaks,)
    counts = image_counts(torch.arange(len(maps)))
    metric = kind().setup(sizes)
    for rows in torch.arange(len(maps)).split(7):
        some = [tensor[rows] for tensor in (*given, keypoints, labels)]
        metric.update(*some, counts[rows])
    values = metric.values(metric.compute())
    for draw in range(3):
        again = counts[:, draw].long()
        repeated = kind().setup(sizes)
        repeated.update(*(t.repeat_interleave(again, 0) for t in (*given, keypoints, labels)))
        assert values.draws[draw].item() == pytest.approx(repeated.compute().score.item())
    assert values.classes.isnan().tolist() == [label == 3 for label in range(C)]
    assert values.classes.nanmean().item() == pytest.approx(metric.compute().score.item())
    assert values.prototypes.shape == (C, maps.shape[1])


def test_known_maxima_may_stand_for_maps(case):
    maps, moved, keypoints, labels, peaks, moved_peaks = case
    sizes = shape(C, maps.shape[1], P)
    pairs = [
        (Consistency().setup(sizes), (maps, keypoints, labels), (peaks, keypoints, labels)),
        (
            Stability().setup(sizes),
            (maps, moved, keypoints, labels),
            (peaks, moved_peaks, keypoints, labels),
        ),
    ]
    for metric, by_map, by_peak in pairs:
        metric.update(*by_map)
        expected = metric.compute()
        metric.reset()
        metric.update(*by_peak)
        for ours, theirs in zip(metric.compute(), expected, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("peak", "point", "hit"),
    [
        (100, 136.0, True),
        (100, 136.9, True),  # truncated
        (100, 137.0, False),
        (100, 64.0, True),
        (100, 63.9, False),
        (20, 0.0, True),
        (20, -0.9, True),  # int() truncates towards zero
        (20, -1.0, False),  # the window is cut at the image's edge
        (200, 224.0, True),  # ... where both ends belong to it
        (200, 225.0, False),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_window_and_truncation(peak, point, hit, axis):
    peaks = torch.full((1, 1, 2), 112)
    peaks[0, 0, axis] = peak
    keypoints = torch.tensor([[[112.0, 112.0, 1.0]]])
    keypoints[0, 0, 1 - axis] = point  # peaks are y, x; keypoints x, y
    assert part_hits(peaks, keypoints, [36], (S, S)).item() is hit
    keypoints[0, 0, 2] = 0
    assert not part_hits(peaks, keypoints, [36], (S, S)).any()


def test_parts_of_images_without_annotations():
    hits = part_hits(torch.zeros(2, 3, 2).long(), torch.zeros(2, 0, 3), [18, 36], (S, S))
    assert hits.shape == (2, 2, 3, 0)


def maps_with_maximum_at(cells):
    maps = torch.zeros(*cells.shape, 49)
    maps.scatter_(2, cells[..., None], 1.0)
    return maps.unflatten(2, (7, 7))


def test_a_perfect_detector_scores_100_and_a_blind_one_0():
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(49, (30, P), generator=generator)
    labels = torch.arange(30) % 2
    centres = torch.stack([cells % 7, cells // 7], -1) * 32.0 + 16
    keypoints = torch.cat([centres, torch.ones(30, P, 1)], -1)
    metric = Consistency().setup(shape(2, P, P))
    metric.update(maps_with_maximum_at(cells), keypoints, labels)
    result = metric.compute()
    assert result.score == 100
    assert (result.sweep == 100).all()
    assert (result.best_share == 1).all()
    assert result.best_part.tolist() == [list(range(P))] * 2
    blind = Consistency().setup(shape(2, 1, 1))
    keypoints[..., :2] = (keypoints[..., :2] + 112) % 224  # always far from the maximum
    blind.update(maps_with_maximum_at(cells[:, :1]), keypoints[:, :1], labels)
    assert blind.compute().score == 0
    assert not blind.compute().best_share.any()
    stability = Stability().setup(shape(2, P, P))
    maps = maps_with_maximum_at(cells)
    stability.update(maps, maps, keypoints, labels)
    assert stability.compute().score == 100


def test_the_threshold_itself_is_consistent():
    keypoints = torch.tensor([[[112.0, 112.0, 1.0]]] * 5)
    peaks = torch.full((5, 1, 2), 112)
    peaks[0] = 0
    metric = Consistency().setup(shape(2, 1, 1))
    metric.update(peaks, keypoints, torch.zeros(5).long())
    result = metric.compute()
    assert result.score == 100  # 4 of 5; the class without images does not count
    assert result.sweep[2].tolist() == [100, 100, 100, 0]
    metric = Consistency(threshold=0.81).setup(shape(2, 1, 1))
    metric.update(peaks, keypoints, torch.zeros(5).long())
    assert metric.compute().score == 0


def test_a_class_that_is_not_drawn_does_not_count_as_inconsistent():
    maps = torch.zeros(3, 1, 4, 4)
    maps[..., 0, 0] = 1
    keypoints = torch.tensor([[[2.0, 2.0, 1.0]]]).repeat(3, 1, 1)
    counts = image_counts(torch.arange(3))
    metric = Consistency().setup(EvaluationShape(3, 1, ["beak"], 224))
    metric.update(maps, keypoints, torch.arange(3), counts)
    draws = metric.compute().draws
    assert torch.equal(draws, 100.0 * counts.any(0))
    assert counts.any(0).sum() < len(draws) - 1


def test_nothing_covered_both_times_counts_as_stable_and_is_reported():
    keypoints = torch.tensor([[[200.0, 200.0, 1.0]]] * 4)
    clean = torch.tensor([[[0, 0]], [[0, 0]], [[200, 200]], [[200, 200]]])
    noisy = torch.tensor([[[9, 9]], [[200, 200]], [[0, 0]], [[199, 201]]])
    metric = Stability().setup(shape(1, 1, 1))
    metric.update(clean, noisy, keypoints, torch.zeros(4).long())
    result = metric.compute()
    assert result.score == 50
    assert result.empty_share == 0.25


def test_classes_without_images_do_not_enter_the_mean():
    values = torch.tensor([[True, False], [True, True], [True, True]])
    assert mean_over_prototypes(values, torch.tensor([5, 1, 0])) == 75


def test_constants_scale_with_the_image():
    assert Consistency().setup(shape(2, 3, 15)).constants == {
        "size": 224,
        "half_size": 36,
        "sweep_half_sizes": [18, 27, 36, 45],
        "upsampling": "bicubic, a=-0.75",
        "threshold": 0.8,
        "sweep_thresholds": [0.6, 0.7, 0.8, 0.9],
    }
    assert Stability().setup(shape(2, 3, 15, 448)).constants == {
        "size": 448,
        "half_size": 72,
        "sweep_half_sizes": [36, 54, 72, 90],
        "upsampling": "bicubic, a=-0.75",
        "noise_std": 0.2,
        "noise_clip": 0.25,
    }
    assert Consistency.protocol == Stability.protocol == "evalprotopnet-2023"


@pytest.mark.parametrize("kind", [Consistency, Stability])
def test_without_part_annotations_says_what_to_do(kind):
    with pytest.raises(DataError, match="the data has none: use a data set with keypoints"):
        kind().setup(shape(2, 3, 0))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_images_nothing_is_measured():
    for result in (
        Consistency().setup(shape(2, 3, 4)).compute(),
        Stability().setup(shape(2, 3, 4)).compute(),
    ):
        assert result.score == 0
        assert not result.images.any()
        assert all(torch.isfinite(field.double()).all() for field in result)

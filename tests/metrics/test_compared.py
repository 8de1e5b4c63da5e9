"""Intervals, paired differences and the share of the ceiling, as an evaluation gives them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppn.metrics.compared import compared
from ppn.metrics.intervals import bootstrap_interval, paired_difference
from ppn.metrics.resampling import Values, image_counts, known_draws

NEEDS = frozenset({"keypoints"})


def explainer(name, kind="method"):
    return SimpleNamespace(name=name, kind=kind)


def metric(**changes):
    about = {"key": "m", "higher_is_better": True, "bounds": (0.0, 100.0), "needs": NEEDS}
    about["beside_bounds"] = {}
    return SimpleNamespace(**{**about, **changes})


LEVELS = [("ours", "method", 60), ("theirs", "control", 30), ("told", "ceiling", 80)]


def shares(floors, **changes):
    """The shares of the ceiling, with floors at these scores."""
    rows = [*LEVELS, *((f"floor {i}", "floor", at) for i, at in enumerate(floors))]
    scores = {name: {"m": at} for name, _, at in rows}
    explainers = [explainer(name, kind) for name, kind, _ in rows]
    found = compared(explainers, [metric(**changes)], scores, {name: {} for name in scores})
    return {n: f["m_ceiling_share"] for n, f in found.items() if "m_ceiling_share" in f}


def test_share_of_the_ceiling_is_above_the_best_floor():
    assert shares([10, 20]) == {"ours": pytest.approx(40 / 60), "theirs": pytest.approx(1 / 6)}
    # A floor that is perfect by construction is none.
    assert shares([20, 100]) == shares([20])


@pytest.mark.parametrize(
    ("floors", "changes"),
    [
        ([], {}),
        ([100], {}),
        ([80], {}),
        ([20], {"higher_is_better": None}),
        ([20], {"needs": frozenset()}),
    ],
)
def test_a_share_that_means_nothing_is_left_out(floors, changes):
    assert shares(floors, **changes) == {}


def test_where_less_is_better_the_share_counts_downwards():
    # From 120 down to 80, which 60 passes.
    assert shares([120, 140], higher_is_better=False)["ours"] == pytest.approx(1.5)
    assert shares([0, 120], higher_is_better=False)["ours"] == pytest.approx(1.5)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("clear", [True, False])
def test_a_share_needs_a_ceiling_that_is_clearly_above_the_floor(clear, higher_is_better):
    sign = 1 if higher_is_better else -1
    floor = torch.tensor([10.0, 20, 30, 40])
    told = floor + sign * torch.tensor([8.0, 9, 10, 13] if clear else [30.0, -20, 50, -20])
    values = {"floor": floor, "told": told, "ours": floor + sign * 5}
    rows = [
        explainer(n, k) for n, k in (("ours", "method"), ("told", "ceiling"), ("floor", "floor"))
    ]
    found = compared(
        rows,
        [metric(higher_is_better=higher_is_better, bounds=None)],
        {name: {"m": of.mean().item()} for name, of in values.items()},
        {name: {"m": Values(of.double())} for name, of in values.items()},
    )
    assert found["ours"].get("m_ceiling_share") == (pytest.approx(0.5) if clear else None)


def test_intervals_over_classes_and_images_and_paired_differences():
    rng = np.random.default_rng(0)
    ours, theirs = rng.uniform(40, 100, (2, 30))
    ours[3] = np.nan
    draws = torch.tensor([58.0, 62.0], dtype=torch.float64)
    explainers = [explainer("ours"), explainer("theirs")]
    values = {
        "ours": {"m": Values(torch.tensor(ours), draws=draws)},
        "theirs": {"m": Values(torch.tensor(theirs), draws=100 * draws)},
    }
    scores = {"ours": {"m": 60.0}, "theirs": {"m": 99.0}}
    found = compared(explainers, [metric()], scores, values)
    assert found["ours"]["m_interval"] == list(bootstrap_interval(ours)[1:3])
    spread = 1.959964 * 2
    assert found["ours"]["m_image_interval"] == pytest.approx([60 - spread, 60 + spread])
    assert found["theirs"]["m_image_interval"] == [0, 100]  # no further than the scale
    assert "m_difference" not in found["ours"]
    assert found["theirs"]["m_difference"] == list(paired_difference(ours, theirs)[:3])


def test_figures_beside_a_score_have_intervals_within_0_and_1():
    values = torch.tensor([0.2, 0.9, 0.7], dtype=torch.float64)
    beside = {"beside": Values(values, draws=torch.tensor([0.1, 1.1], dtype=torch.float64))}
    found = compared([explainer("ours")], [metric()], {"ours": {"beside": 0.6}}, {"ours": beside})
    assert found["ours"]["beside_interval"] == list(bootstrap_interval(values)[1:3])
    assert found["ours"]["beside_image_interval"] == [0, 1]


def test_one_class_has_no_interval():
    values = {"ours": {"m": Values(torch.tensor([5.0, torch.nan]))}}
    assert compared([explainer("ours")], [metric()], {"ours": {"m": 5.0}}, values) == {"ours": {}}


def test_a_few_draws_without_an_image_are_left_out_and_many_leave_nothing():
    nothing = torch.full((5,), torch.nan)
    assert torch.equal(known_draws(torch.cat([torch.ones(95), nothing])), torch.ones(95))
    assert known_draws(torch.cat([torch.ones(94), nothing, nothing[:1]])) is None


def test_counts_follow_from_seed_and_image_alone_and_average_to_one():
    counts = image_counts(torch.arange(400))
    assert torch.equal(image_counts(torch.tensor([7, 3])), counts[[7, 3]])
    assert not torch.equal(image_counts(torch.arange(4), seed=1), counts[:4])
    assert counts.mean().item() == pytest.approx(1, abs=0.02)
    assert counts.var().item() == pytest.approx(1, abs=0.03)
    apart = torch.corrcoef(counts.T) - torch.eye(counts.shape[1])
    assert apart.abs().mean() < 0.06  # draws are independent

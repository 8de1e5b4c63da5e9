"""Ranks of explainers over classes, against cases worked out by hand and a published one."""

import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, wilcoxon

from ppn.metrics.ranks import (
    _signed_ranks,
    alike,
    critical_difference,
    friedman,
    holm_pairs,
    ranking,
)


def test_equals_share_their_mean_rank_and_one_is_the_best():
    values = [[3.0, 1.0, 3.0], [5.0, 2.0, 1.0]]
    up = ranking(values, higher_is_better=True)
    assert up.ranks.tolist() == [[1.5, 3, 1.5], [1, 2, 3]]
    assert [one.mean for one in up.mean] == [1.25, 2.5, 2.25]
    down = ranking(values, higher_is_better=False)
    assert down.ranks.tolist() == [[2.5, 1, 2.5], [3, 2, 1]]


def test_a_class_without_a_value_of_one_explainer_is_left_out():
    found = ranking([[1.0, 2.0], [math.nan, 1.0], [4.0, 3.0]], higher_is_better=True)
    assert len(found.ranks) == 2
    assert [one.units for one in found.mean] == [2, 2]


def test_the_critical_difference_is_that_of_demsars_example():
    # Section 3.2.3: four classifiers on 14 data sets, q = 2.569.
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, alpha=0.1) == pytest.approx(1.12, abs=0.005)
    assert math.isnan(critical_difference(1, 14))
    assert math.isnan(critical_difference(3, 0))


def test_friedmans_test_is_scipys_and_says_nothing_where_it_cannot():
    values = np.random.default_rng(0).random((12, 4)) + np.array([0, 0, 0, 1])
    assert friedman(values) == friedmanchisquare(*values.T).pvalue < 0.01
    assert math.isnan(friedman(values[:, :2]))
    assert math.isnan(friedman(values[:1]))
    assert math.isnan(friedman(np.ones((5, 3))))


def test_p_values_are_corrected_by_holm(monkeypatch):
    raw = iter([0.04, 0.01, 0.02])
    monkeypatch.setattr("ppn.metrics.ranks._signed_ranks", lambda _: next(raw))
    found = holm_pairs(np.zeros((5, 3)))
    # In order 0.01 x 3, 0.02 x 2, 0.04 x 1, none below the one before it.
    assert found[0, 2] == pytest.approx(0.03)
    assert found[1, 2] == pytest.approx(0.04)
    assert found[0, 1] == pytest.approx(0.04)
    assert (found == found.T).all()
    assert (np.diag(found) == 1).all()


def test_no_difference_at_all_is_no_evidence():
    assert (holm_pairs(np.ones((6, 2))) == 1).all()
    better = np.stack([np.arange(10.0), np.arange(10.0) + 1], axis=1)
    assert holm_pairs(better)[0, 1] < 0.01


def test_runs_of_explainers_that_cannot_be_told_apart():
    found = ranking(np.random.default_rng(0).random((8, 5)), higher_is_better=True)
    means = [1.0, 2.0, 3.5, 4.9, 5.0]
    known = found._replace(
        mean=[one._replace(mean=m) for one, m in zip(found.mean, means, strict=True)]
    )
    assert alike(known._replace(critical_difference=1.6)) == [(0, 1), (1, 2), (2, 4)]
    assert alike(known._replace(critical_difference=0.05)) == []
    assert alike(known._replace(critical_difference=9.0)) == [(0, 4)]


def test_signed_ranks_are_those_of_scipy_with_ties_and_zeros_too():
    rng = np.random.default_rng(0)
    for count in (3, 6, 8):
        for values in (rng.normal(size=count), rng.integers(-3, 4, count).astype(float)):
            if values.any():
                assert _signed_ranks(values) == pytest.approx(wilcoxon(values).pvalue)

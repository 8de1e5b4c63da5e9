import numpy as np
import pytest

from ppn.metrics.intervals import bootstrap_interval, paired_difference, share_of_ceiling


def test_interval_covers_the_mean_of_normal_values_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.normal(3.0, 2.0, size=(300, 40))
    found = [bootstrap_interval(sample, 0.9, draws=400) for sample in samples]
    covered = np.mean([interval.low <= 3.0 <= interval.high for interval in found])
    assert 0.84 <= covered <= 0.94


def test_interval_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(size=100)
    interval = bootstrap_interval(values)
    error = values.std(ddof=1) / 10
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert interval.units == 100


def test_interval_is_the_same_for_the_same_seed_and_leaves_out_what_has_no_value():
    values = [1.0, 2.0, 4.0]
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval([*values, np.nan]) == bootstrap_interval(values)


def test_one_unit_has_no_width_and_none_has_no_mean():
    assert bootstrap_interval([2.0]) == (2.0, 2.0, 2.0, 1)
    empty = bootstrap_interval([np.nan])
    assert empty.units == 0
    assert np.isnan(empty.mean)


def test_pairing_finds_a_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(0)
    classes = rng.normal(50, 20, size=30)
    better = classes + 2 + rng.normal(0, 1, size=30)
    difference = paired_difference(better, classes)
    assert difference.low > 0
    assert bootstrap_interval(better).low < bootstrap_interval(classes).high


def test_pairs_without_a_value_on_either_side_are_left_out():
    assert paired_difference([1.0, np.nan, 5.0], [0.0, 3.0, np.nan]).units == 1


def test_share_of_the_ceiling():
    assert share_of_ceiling(60, 20, 100) == 0.5
    assert share_of_ceiling(20, 20, 100) == 0
    assert share_of_ceiling(110, 20, 100) > 1
    assert share_of_ceiling(50, 100, 100) is None
    assert share_of_ceiling(50, 100, 20) is None

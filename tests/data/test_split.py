import numpy as np
import pytest

from ppn.data.split import balanced, grouped_classes, stratified_split


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_split_is_stratified_disjoint_and_complete(fraction):
    labels = np.repeat([0, 1, 2, 5], [10, 7, 1, 30])
    train, val = stratified_split(labels, fraction, seed=0)
    assert sorted([*train, *val]) == list(range(len(labels)))
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert (labels[val] == label).sum() == min(round(fraction * count), count - 1)


def test_split_is_seeded_and_one_class_does_not_move_another():
    labels = np.repeat([0, 1], 20)
    assert np.array_equal(stratified_split(labels, 0.3, 1)[1], stratified_split(labels, 0.3, 1)[1])
    assert not np.array_equal(
        stratified_split(labels, 0.3, 1)[1], stratified_split(labels, 0.3, 2)[1]
    )
    alone = stratified_split(labels[:20], 0.3, 1)[1]
    assert np.array_equal(stratified_split(labels, 0.3, 1)[1][: len(alone)], alone)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_classes_are_shared_completely_and_evenly(processes):
    counts = [30, 5, 60, 12, 12]
    owned = balanced(counts, processes)
    assert len(owned) == processes
    assert sorted(c for classes in owned for c in classes) == list(range(5))
    load = [sum(counts[c] for c in classes) for classes in owned]
    assert max(load) <= max(60, sum(counts) / processes + max(counts) / 2)


def test_groups_hold_successive_classes_whose_images_fit():
    counts = [30, 5, 60, 12, 12, 12, 0, 4]
    assert grouped_classes(counts, 36, 8) == [[0, 1], [2], [3, 4, 5, 6], [7]]
    assert grouped_classes(counts, 36, 2) == [[0, 1], [2], [3, 4], [5, 6], [7]]
    assert grouped_classes(counts, 1000, 8) == [list(range(8))]
    assert grouped_classes([], 36, 8) == []

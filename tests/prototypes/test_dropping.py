"""Flagged parts are taken out, and every class keeps one."""

import torch

from ppn.prototypes.dropping import drop
from ppn.prototypes.flags import Flag
from tests.prototypes.test_editing import network  # noqa: F401 - a fixture


def test_flagged_parts_go_and_the_least_clear_of_a_class_stays(network):  # noqa: F811
    flags = [Flag("outside", 0, n, value) for n, value in ((1, 0.6), (2, 0.9), (3, 0.8))]
    flags += [Flag("foreign", 0, 2, 0.7), Flag("outside", 1, 3, 0.5)]
    before = network.head.prototypes.clone()
    assert [flag.number for flag in drop(network, flags)] == [1]
    carrying = network.head.prototypes.any(2)
    assert carrying.tolist() == [[True, False, False], [True, True, False], [True] * 3]
    assert torch.equal(network.head.prototypes[carrying], before[carrying])


def test_a_duplicate_joins_the_part_that_it_is_like(network):  # noqa: F811
    row = network.head.prototypes[2].sum(0)
    assert drop(network, [Flag("duplicate", 2, 3, 0.9, other=1)]) == []
    assert [edit.kind for edit in network.edits] == ["merge"]
    assert torch.allclose(network.head.prototypes[2].sum(0), row, atol=1e-6)

"""Flags: limits, twins, and what files and networks say of them."""

import json

import pytest
import torch

from ppn.errors import DataError
from ppn.prototypes.flags import Flag, duplicates, raise_flags, read_flags, relative_share

NAN = float("nan")


def test_values_beyond_a_limit_are_flagged_and_unknown_ones_are_not():
    values = {
        "outside": torch.tensor([[0.5, 0.49], [NAN, 1.0]]),
        "little": torch.tensor([[0.09, 1.9], [0.11, NAN]]),
    }
    assert [flag[:3] for flag in raise_flags(values)] == [
        ("outside", 0, 1),
        ("outside", 1, 2),
        ("little", 0, 1),
    ]


def test_a_share_is_held_against_an_equal_one():
    share = torch.tensor([[0.9, 0.06, 0.04], [0.5, -0.5, 0.0], [0.0, 0.0, 0.0]])
    found = relative_share(share, torch.tensor([5, 5, 0]))
    assert found[0].tolist() == pytest.approx([2.7, 0.18, 0.12])
    assert found[1].tolist() == pytest.approx([1.5, 1.5, 0])
    assert bool(found[2].isnan().all())


def test_of_two_alike_the_one_that_carries_less_is_the_duplicate():
    together = torch.zeros(1, 3, 3, dtype=torch.long)
    together[0] = torch.tensor([[10, 9, 1], [9, 10, 2], [1, 2, 10]])
    value, twin = duplicates(together, torch.tensor([10]), torch.tensor([[0.2, 0.5, 0.3]]))
    assert value[0].tolist() == pytest.approx([0.9, NAN, 0.2], nan_ok=True)
    assert twin[0, 0] == 1
    (flag,) = raise_flags({"duplicate": value}, twin)
    assert flag == Flag("duplicate", 0, 1, pytest.approx(0.9), 2)


def test_of_parts_that_carry_alike_the_later_one_is_the_duplicate():
    together = torch.full((1, 2, 2), 4)
    value, twin = duplicates(together, torch.tensor([4]), torch.tensor([[0.5, 0.5]]))
    assert value[0].tolist() == pytest.approx([NAN, 1.0], nan_ok=True)
    assert twin[0, 1] == 0


def test_flags_are_read_from_what_was_written(tmp_path):
    flags = [Flag("outside", 1, 2, 0.75), Flag("duplicate", 0, 3, 0.9, 1)]
    content = {"flags": {"prototypes": [flag.to_dict() for flag in flags]}}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    for source in (tmp_path, tmp_path / "metrics.json", str(tmp_path), content):
        assert read_flags(source, (), (2, 3)) == flags
    assert read_flags(content, ["duplicate"], (2, 3)) == flags[1:]


@pytest.mark.parametrize(
    ("source", "kinds", "message"),
    [
        ({}, (), "has no flags"),
        ({"flags": {"prototypes": [{"flag": 1}]}}, (), "has no flags"),
        ("nowhere", (), "cannot be read"),
        ({"flags": {"prototypes": []}}, ("ugly",), "no flag 'ugly': choose one of outside"),
        (
            {"flags": {"prototypes": [Flag("little", 7, 1, 0.0).to_dict()]}},
            (),
            "of another network",
        ),
    ],
)
def test_mistakes_are_one_sentence(source, kinds, message):
    with pytest.raises(DataError, match=message) as caught:
        read_flags(source, kinds, (2, 3))
    assert "\n" not in str(caught.value)

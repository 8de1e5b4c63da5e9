"""Arguments are checked in one sentence; numbers of numpy and torch are numbers."""

import numpy as np
import pytest
import torch

from ppn.errors import DataError, DiscoveryError
from ppn.prototypes.arguments import (
    class_index,
    input_config_of,
    instance_of,
    one_of,
    whole_number,
)
from ppn.types import InputConfig

THREE = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor([3])[0]]
NO_NUMBER = [3.0, "3", None, True, np.bool_(True), torch.tensor(3.0), torch.tensor(True),
             [3], np.array([3]), torch.tensor([3]), np.float32(3), (), {}]  # fmt: skip


@pytest.mark.parametrize("value", THREE)
def test_whole_numbers_of_every_library(value):
    for found in (whole_number("k", value, 1), class_index(value, list("abcd"))):
        assert found == 3
        assert type(found) is int


@pytest.mark.parametrize("value", NO_NUMBER)
def test_what_is_not_a_whole_number(value):
    with pytest.raises(DiscoveryError, match=r"^k is .*, but must be a whole number of"):
        whole_number("k", value, 1, DiscoveryError)


@pytest.mark.parametrize("value", [value for value in NO_NUMBER if value != "3"])
def test_what_is_not_a_class(value):
    with pytest.raises(DataError, match="give the name or number"):
        class_index(value, list("abcd"))


def test_numbers_that_are_too_small():
    with pytest.raises(DataError, match="k is 0, but must be a whole number of at least 1"):
        whole_number("k", 0, 1)
    with pytest.raises(DataError, match="seed is -1, but"):
        whole_number("seed", np.int8(-1))


@pytest.mark.parametrize(
    ("target", "expected"), [("cat", 1), ("7", 0), ("2", 2), ("0", 0), (2, 2), ("10", 3)]
)
def test_a_class_is_meant_by_its_name_first(target, expected):
    assert class_index(target, ["7", "cat", "eel", "10"]) == expected


def test_a_name_that_several_classes_have_is_not_guessed():
    with pytest.raises(DataError, match=r"called 'crane' \(1, 2\): give the number"):
        class_index("crane", ["cat", "crane", "crane"])
    assert class_index("2", ["cat", "crane", "crane"]) == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cta", "no class 'cta': names are one of .*cat"),
        ("", "no class ''"),
        ("²", "no class '²'"),
        (3, "no class 3: classes are 0 to 2"),
        (-1, "no class -1"),
        ("12", "no class 12"),
    ],
)
def test_classes_that_are_not_there(target, message):
    with pytest.raises(DataError, match=message):
        class_index(target, ["cat", "dog", "eel"])


def test_of_many_names_the_nearest_are_said():
    names = [f"bird {i}" for i in range(200)] + ["black-footed albatross"]
    with pytest.raises(DataError, match="one of 201, such as black-footed albatross") as error:
        class_index("black footed albatros", names)
    assert len(str(error.value)) < 300


def test_words():
    assert one_of("refinement", "equal", ["cam_split", "equal"]) == "equal"
    for value in ("camsplit", None, 3, ["equal"]):
        with pytest.raises(DataError, match=r"refinement is .*one of cam_split, equal"):
            one_of("refinement", value, ["cam_split", "equal"])


def test_types():
    instance_of("config", InputConfig(), InputConfig, "InputConfig()")
    with pytest.raises(DataError, match=r"config is a tuple: give InputConfig\(\) instead"):
        instance_of("config", (64, 64), InputConfig, "InputConfig()")
    with pytest.raises(DataError, match="config is the class InputConfig"):
        instance_of("config", InputConfig, InputConfig, "InputConfig()")


def test_configs_become_plain():
    given = InputConfig((np.int64(64), torch.tensor(32)), np.array([0.5] * 3), [0.5] * 3)
    found = input_config_of(given)
    assert found == InputConfig((64, 32), (0.5,) * 3, (0.5,) * 3)
    assert all(type(value) is int for value in found.size)
    assert input_config_of(InputConfig()) == InputConfig()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((64, 64), "config is a tuple"),
        ({"size": 64}, "config is a dict"),
        (InputConfig(64), "config.size is 64"),
        (InputConfig((64,)), "must be height, width"),
        (InputConfig((64, 0)), "config.size is 0"),
        (InputConfig((64, 64.5)), "config.size is 64.5"),
        (InputConfig((64, "64x")), "config.size is"),
        (InputConfig(mean=(0.5,)), "input_config.mean has 1 values and input_config.std 3"),
        (InputConfig(mean=0.5), "config.mean is 0.5"),
        (InputConfig(std=(1.0, 0.0, 1.0)), "must be positive"),
        (InputConfig(std=(1.0, float("nan"), 1.0)), "must be finite"),
        (InputConfig(interpolation="lanczos"), "config.interpolation is 'lanczos'"),
        (InputConfig(crop_pct=87.5), "config.crop_pct is 87.5"),
    ],
)
def test_configs_that_cannot_be(given, message):
    with pytest.raises(DataError, match=message):
        input_config_of(given)

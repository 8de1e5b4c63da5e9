"""Arguments of the Python interface, checked before an image is read."""

from __future__ import annotations

import difflib
from dataclasses import replace
from operator import index as as_index
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from ppn.errors import DataError, PPNError
from ppn.types import InputConfig, Interpolation

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_LISTED = 3
_LONG = 8


def whole_number(
    name: str,
    value: object,
    least: int = 0,
    error: type[PPNError] = DataError,
) -> int:
    """Return an argument as an int: Python's, numpy's, or a tensor of one whole number.

    Args:
        name: Of the argument, for the message.
        value: What was given.
        least: Smallest value that makes sense.
        error: Raised if it is none.
    """
    number = _as_index(value)
    if number is None or number < least:
        shown = repr(value) if isinstance(value, str) or value is None else f"{value}"
        kind = "" if number is not None or value is None else f" ({type(value).__name__})"
        raise error(
            f"{name} is {shown[:40]}{kind}, but must be a whole number of at least {least}."
        )
    return number


def one_of(name: str, value: object, choices: Collection[str]) -> str:
    """Return an argument that must be one of a few words.

    Raises:
        DataError: If it is none of them; the message names the nearest.
    """
    if isinstance(value, str) and value in choices:
        return value
    raise DataError(f"{name} is {value!r:.60}, but must be {_alternatives(value, choices)}.")


def instance_of(name: str, value: object, kinds: type | tuple[type, ...], example: str) -> None:
    """Refuse an argument of another type.

    Args:
        name: Of the argument, for the message.
        value: What was given.
        kinds: Types that are right.
        example: What to give instead.

    Raises:
        DataError: If it is of none of them; a class in the place of its instance, too.
    """
    if not isinstance(value, kinds):
        kind = value.__name__ if isinstance(value, type) else type(value).__name__
        called = "the class" if isinstance(value, type) else "a"
        raise DataError(f"{name} is {called} {kind}: give {example} instead.")


def input_config_of(value: object) -> InputConfig:
    """Return a config whose values are those of plain Python and make sense together.

    Raises:
        DataError: If it is no InputConfig, or one of its values cannot be.
    """
    instance_of("input_config", value, InputConfig, "InputConfig(size=(224, 224))")
    assert isinstance(value, InputConfig)
    size = _numbers("input_config.size", value.size)
    if len(size) != 2:
        raise DataError(f"input_config.size is {value.size}, but must be height, width in pixels.")
    mean, std = _numbers("input_config.mean", value.mean), _numbers("input_config.std", value.std)
    if len(mean) != len(std) or not mean:
        raise DataError(
            f"input_config.mean has {len(mean)} values and input_config.std {len(std)}, but both "
            "must have one per channel."
        )
    if not all(deviation > 0 and np.isfinite(deviation) for deviation in std):
        raise DataError(f"input_config.std is {value.std}, but must be positive.")
    one_of("input_config.interpolation", value.interpolation, get_args(Interpolation))
    (share,) = _numbers("input_config.crop_pct", (value.crop_pct,))
    if not 0 < share <= 1:
        raise DataError(
            f"input_config.crop_pct is {value.crop_pct}, but must be above 0, at most 1."
        )
    height, width = (whole_number("input_config.size", side, 1) for side in value.size)
    return replace(value, size=(height, width), mean=mean, std=std, crop_pct=share)


def class_index(target: object, names: Sequence[str]) -> int:
    """Return the class that is meant by its name or number; a name goes first.

    Args:
        target: A name, or a whole number of Python, numpy or torch.
        names: Name of each class.

    Raises:
        DataError: If there is no such class.
    """
    if isinstance(target, str):
        found = [label for label, name in enumerate(names) if name == target]
        if len(found) > 1:
            raise DataError(
                f"Several classes are called '{target}' ({', '.join(map(str, found))}): give the "
                "number of one."
            )
        if found:
            return found[0]
        if not target.isascii() or not target.isdecimal():
            raise DataError(
                f"There is no class '{target}': names are {_alternatives(target, names)}."
            )
    number = int(target) if isinstance(target, str) else _as_index(target)
    if number is None:
        raise DataError(
            f"There is no class {target!r:.40} ({type(target).__name__}): give the name or number "
            "of one."
        )
    if not 0 <= number < len(names):
        raise DataError(f"There is no class {number}: classes are 0 to {len(names) - 1}.")
    return number


def _as_index(value: object) -> int | None:
    """A whole number of any library, or None; True and False are none."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, torch.Tensor | np.ndarray):
        if value.ndim or value.dtype in (torch.bool, np.bool_):
            return None
        value = value.item()
    try:
        return as_index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _numbers(name: str, values: Any) -> tuple[float, ...]:  # noqa: ANN401 - a user's
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = (np.nan,)
    if not np.isfinite(numbers).all():
        raise DataError(f"{name} is {values!r:.60}, but must be finite numbers.")
    return numbers


def _alternatives(value: object, choices: Collection[str]) -> str:
    near = difflib.get_close_matches(value, choices, _LISTED) if isinstance(value, str) else []
    listed = [*near, *(choice for choice in choices if choice not in near)]
    if len(listed) > _LONG:
        return f"one of {len(listed)}, such as {', '.join(near or listed[:_LISTED])}"
    return f"one of {', '.join(listed)}"

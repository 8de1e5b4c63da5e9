"""What a JSON file must look like, said by a value of the same shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LARGEST = 2**63
"""No number in our files is larger; Python's and JSON's know no bound."""


@dataclass(frozen=True)
class Maybe:
    """A value that may be null, or missing, instead."""

    schema: Any


def mismatch(value: Any, schema: Any, place: str = "it") -> str | None:  # noqa: ANN401 - of JSON
    """Say where a value differs from a schema, in half a sentence; None where it fits.

    Args:
        value: What a JSON or YAML file holds.
        schema: A type (`float` takes whole numbers too, neither takes booleans); a dict of the keys
            that are needed, others may be there, or of `str`, for whatever keys, to a schema; a
            list with the schema of all its items; `Maybe`.
        place: What the value is called.
    """
    if isinstance(schema, Maybe):
        return None if value is None else mismatch(value, schema.schema, place)
    kind = schema if isinstance(schema, type) else type(schema)
    if not _is(value, kind):
        return f"{place} is no {_NAMES[kind]}"
    inner: list[tuple[Any, Any, str]] = []
    if isinstance(schema, list):
        inner = [(item, schema[0], f"{place}[{i}]") for i, item in enumerate(value)]
    elif isinstance(schema, dict) and str in schema:
        inner = [(item, schema[str], f"{place}[{str(key)[:40]!r}]") for key, item in value.items()]
    elif isinstance(schema, dict):
        missing = [k for k, s in schema.items() if k not in value and not isinstance(s, Maybe)]
        if missing:
            return f"{place} has no '{missing[0]}'"
        inner = [
            (value[key], item, key if place == "it" else f"{place}.{key}")
            for key, item in schema.items()
            if key in value
        ]
    found = (mismatch(*arguments) for arguments in inner)
    return next((text for text in found if text is not None), None)


_NAMES = {str: "text", int: "whole number", float: "number", bool: "truth value"}
_NAMES |= {list: "list", dict: "object"}


def _is(value: Any, kind: type) -> bool:  # noqa: ANN401 - of JSON
    if kind not in (int, float):
        return isinstance(value, kind)
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        return False
    return isinstance(value, float) or abs(value) < _LARGEST

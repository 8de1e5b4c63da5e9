"""What a JSON file must look like, said by a value of the same shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Maybe:
    """A value that may be null instead."""

    schema: Any


def mismatch(value: Any, schema: Any, place: str = "it") -> str | None:  # noqa: ANN401 - of JSON
    """Say where a value differs from a schema, in half a sentence; None where it fits.

    Args:
        value: What a JSON file holds.
        schema: A type (`float` takes whole numbers too, `int` no booleans); a dict of the keys that
            are needed, others may be there; a list with the schema of all its items; `Maybe`.
        place: What the value is called.
    """
    if isinstance(schema, Maybe):
        return None if value is None else mismatch(value, schema.schema, place)
    if isinstance(schema, type):
        kinds = (int, float) if schema is float else schema
        fits = isinstance(value, kinds) and (schema is bool or not isinstance(value, bool))
        return None if fits else f"{place} is no {schema.__name__}"
    if not isinstance(value, type(schema)):
        return f"{place} is no {type(schema).__name__}"
    if isinstance(schema, list):
        found = (mismatch(item, schema[0], f"{place}[{i}]") for i, item in enumerate(value))
        return next((text for text in found if text is not None), None)
    for key, inner in schema.items():
        if key not in value:
            return f"{place} has no '{key}'"
        text = mismatch(value[key], inner, f"{place}.{key}" if place != "it" else key)
        if text is not None:
            return text
    return None

"""What a JSON or YAML file must look like, said by a value of the same shape; msgspec checks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

_WHOLE = Annotated[int, msgspec.Meta(gt=-(2**63), lt=2**63 - 1)]
"""No number in our files is larger; Python's and JSON's know no bound."""


@dataclass(frozen=True)
class Maybe:
    """A value that may be null, or missing, instead."""

    schema: Any


def mismatch(value: Any, schema: Any) -> str | None:  # noqa: ANN401 - of JSON
    """Say where a value differs from a schema, in half a sentence; None where it fits.

    Args:
        value: What a JSON or YAML file holds.
        schema: A type (`float` takes whole numbers too, neither takes booleans); a dict of the keys
            that are needed, others may be there, or of `str`, for whatever keys, to a schema; a
            list with the schema of all its items; `Maybe`.
    """
    try:
        msgspec.convert(value, _type(schema))
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        reason = reason[0].lower() + reason[1:]
        place = place.replace("`", "").replace("$.", "").replace("$", "")
        return f"{place}: {reason}" if place else reason
    return None


def _type(schema: Any) -> Any:  # noqa: ANN401 - of either kind
    """Return a schema as a type that msgspec knows."""
    if isinstance(schema, Maybe):
        return _type(schema.schema) | None
    if isinstance(schema, list):
        return list[_type(schema[0])]  # type: ignore[misc] # made while running
    if not isinstance(schema, dict):
        return _WHOLE if schema is int else schema
    if str in schema:
        return dict[str, _type(schema[str])]  # type: ignore[misc]
    keys = {f"_{i}": key for i, key in enumerate(schema)}
    fields = [
        (name, _type(schema[key]), *([None] if isinstance(schema[key], Maybe) else []))
        for name, key in keys.items()
    ]
    return msgspec.defstruct("Object", fields, kw_only=True, rename=keys)

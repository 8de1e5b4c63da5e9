"""What a page asks, checked, and what it is told when a person has made a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.errors import DataError, PPNError
from ppn.io.schema import mismatch

if TYPE_CHECKING:
    from collections.abc import Callable


def said(answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a function returns, or the user's mistake as `error`."""
    try:
        return answer()
    except PPNError as error:
        return {"error": str(error)}


def checked(given: Any, schema: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - of a browser
    """What a page sends, with None for what it may leave out.

    Args:
        given: Anything.
        schema: What it must look like; see `ppn.io.schema`.

    Raises:
        DataError: If it does not.
    """
    if mismatch(given, schema) is not None:
        raise DataError("The page does not fit the program: reload it.")
    return {**dict.fromkeys(schema), **given}

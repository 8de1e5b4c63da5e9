"""What a page asks, checked, and what it is told when a person has made a mistake."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from ppn.errors import DataError, PPNError
from ppn.io.schema import mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[[dict[str, Any]], dict[str, Any]]


def answering(schema: dict[str, Any] | None = None) -> Callable[[Answer], Answer]:
    """Let a function answer a page: what that sends is checked, and a mistake is told as `error`.

    Args:
        schema: What a page must send; see `ppn.io.schema`. What it may leave out is None for the
            function. None: anything.
    """

    def decorate(answer: Answer) -> Answer:
        @wraps(answer)
        def checked(given: dict[str, Any]) -> dict[str, Any]:
            try:
                if schema is None:
                    return answer(given)
                if mismatch(given, schema) is not None:
                    raise DataError("The page does not fit the program: reload it.")
                return answer({**dict.fromkeys(schema), **given})
            except PPNError as error:
                return {"error": str(error)}

        return checked

    return decorate

"""The page on which a person clicks where parts are; one component, which a tab can hold too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.app.serve import asset
from ppn.errors import DataError, PPNError
from ppn.io.schema import Maybe, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradio import HTML

    from ppn.app.annotation import Annotation

_ANSWER = {"position": int, "part": str, "point": Maybe([float])}


def annotate_page(work: Annotation) -> HTML:
    """Return the page's component; call it inside of `gradio.Blocks`.

    Args:
        work: What is asked and answered.
    """
    import gradio

    def begin(given: dict[str, Any]) -> dict[str, Any]:
        return _said(work.start)

    def show_image(given: dict[str, Any]) -> dict[str, Any]:
        return _said(lambda: work.image(_checked(given, {"position": int})["position"]))

    def put_answer(given: dict[str, Any]) -> dict[str, Any]:
        def put() -> dict[str, Any]:
            said = _checked(given, _ANSWER)
            point = said["point"]
            if point is not None and len(point) != 2:
                raise DataError("A point has two coordinates: reload the page.")
            return work.answer(
                said["position"], said["part"], None if point is None else (point[0], point[1])
            )

        return _said(put)

    def take_back(given: dict[str, Any]) -> dict[str, Any]:
        return _said(work.undo)

    def show_parts(given: dict[str, Any]) -> dict[str, Any]:
        return _said(work.parts_so_far)

    return gradio.HTML(
        html_template=asset("annotate.html"),
        css_template=asset("annotate.css"),
        js_on_load=asset("annotate.js"),
        apply_default_css=False,
        server_functions=[begin, show_image, put_answer, take_back, show_parts],
    )


def _said(answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a function returns, or the user's mistake as `error`."""
    try:
        return answer()
    except PPNError as error:
        return {"error": str(error)}


def _checked(given: Any, schema: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - of a browser
    if mismatch(given, schema) is not None:
        raise DataError("The page does not fit the program: reload it.")
    checked: dict[str, Any] = {"point": None, **given}
    return checked

"""The page on which a person clicks where parts are; one component, which a tab can hold too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.app.answers import answering
from ppn.app.serve import asset
from ppn.errors import DataError
from ppn.io.schema import Maybe

if TYPE_CHECKING:
    from gradio import HTML

    from ppn.app.annotation import Annotation


def annotate_page(work: Annotation) -> HTML:
    """Return the page's component; call it inside of `gradio.Blocks`.

    Args:
        work: What is asked and answered.
    """
    import gradio

    @answering()
    def begin(_: dict[str, Any]) -> dict[str, Any]:
        return work.start()

    @answering({"position": int})
    def show_image(told: dict[str, Any]) -> dict[str, Any]:
        return work.image(told["position"])

    @answering({"position": int, "part": str, "point": Maybe([float])})
    def put_answer(told: dict[str, Any]) -> dict[str, Any]:
        point = told["point"]
        if point is not None and len(point) != 2:
            raise DataError("A point has two coordinates: reload the page.")
        return work.answer(
            told["position"], told["part"], None if point is None else (point[0], point[1])
        )

    @answering()
    def take_back(_: dict[str, Any]) -> dict[str, Any]:
        return work.undo()

    @answering()
    def show_parts(_: dict[str, Any]) -> dict[str, Any]:
        return work.parts_so_far()

    return gradio.HTML(
        html_template=asset("annotate.html"),
        css_template=asset("annotate.css"),
        js_on_load=asset("annotate.js"),
        apply_default_css=False,
        server_functions=[begin, show_image, put_answer, take_back, show_parts],
    )

"""The page of one network: drop an image, see its sum, take parts out; one component for a tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppn.app.answers import answering
from ppn.app.serve import asset
from ppn.app.workbench import Asked
from ppn.errors import DataError
from ppn.io.schema import Maybe

if TYPE_CHECKING:
    from gradio import HTML

    from ppn.app.workbench import Workbench

_ASKED = {
    "upload": Maybe(str),
    "name": Maybe(str),
    "example": Maybe(int),
    "image": Maybe(str),
    "label": Maybe(int),
    "against": Maybe(int),
    "off": [[int]],
}
_REASON = 200


def workbench_page(work: Workbench) -> HTML:
    """Return the page's component; call it inside of `gradio.Blocks`.

    Args:
        work: What is asked and answered.
    """
    import gradio

    @answering()
    def begin_bench(_: dict[str, Any]) -> dict[str, Any]:
        return work.start()

    @answering(_ASKED)
    def explain_image(told: dict[str, Any]) -> dict[str, Any]:
        asked = Asked(told["label"], told["against"], _pairs(told["off"]))
        if told["upload"] is not None:
            return work.upload(told["upload"], told["name"] or "", asked)
        if told["example"] is not None:
            return work.example(told["example"], asked)
        return work.again(told["image"] or "", asked)

    @answering({"image": str, "label": int})
    def show_maps(told: dict[str, Any]) -> dict[str, Any]:
        return work.pictures(told["image"], told["label"])

    @answering({"label": int, "part": int})
    def show_patches(told: dict[str, Any]) -> dict[str, Any]:
        return work.patches(told["label"], told["part"])

    @answering({"off": [[int]], "flags": [{"label": int, "part": int, "reason": str}]})
    def save_network(told: dict[str, Any]) -> dict[str, Any]:
        flags = [(f["label"], f["part"], f["reason"][:_REASON]) for f in told["flags"]]
        return {"folder": work.save(_pairs(told["off"]), flags)}

    return gradio.HTML(
        html_template=asset("workbench.html"),
        css_template=asset("workbench.css"),
        js_on_load=asset("workbench.js"),
        apply_default_css=False,
        server_functions=[begin_bench, explain_image, show_maps, show_patches, save_network],
    )


def _pairs(given: list[list[int]]) -> tuple[tuple[int, int], ...]:
    if any(len(pair) != 2 for pair in given):
        raise DataError("The page does not fit the program: reload it.")
    return tuple((pair[0], pair[1]) for pair in given)

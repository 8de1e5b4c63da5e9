"""The pages of `ppn app`: the workbench and, in another tab, the page on which parts are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.app.annotate_page import annotate_page
from ppn.app.workbench_page import workbench_page

if TYPE_CHECKING:
    from ppn.app.annotation import Annotation
    from ppn.app.workbench import Workbench


def pages(work: Workbench, clicked: Annotation | None = None) -> None:
    """Make the pages; call it inside of `gradio.Blocks`.

    Args:
        work: What the workbench asks.
        clicked: What the page of named parts asks; None leaves it out.
    """
    import gradio

    if clicked is None:
        workbench_page(work)
        return
    with gradio.Tabs():
        with gradio.Tab("Explain and edit"):
            workbench_page(work)
        with gradio.Tab("Name parts"):
            annotate_page(clicked)

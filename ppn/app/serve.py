"""Serves a page of Gradio's on this machine: nothing of it leaves, nothing is fetched."""

from __future__ import annotations

import os
import threading
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Callable

_FONT = ["system-ui", "sans-serif"]


def asset(name: str) -> str:
    """The text of one of the package's own files, which hold no user's text."""
    return (files("ppn.app") / "assets" / name).read_text(encoding="utf-8")


def expect_gradio() -> None:
    """Refuse to go on without Gradio.

    Raises:
        PPNError: If it is not installed.
    """
    if find_spec("gradio") is None:
        raise PPNError('This page needs Gradio, which is missing: pip install "ppn[app]".')


def serve(
    title: str,
    build: Callable[[], object],
    host: str,
    port: int,
    ready: Callable[[str], None],
    stop: threading.Event | None = None,
) -> None:
    """Serve a page until the process is told to stop.

    Args:
        title: Of the page.
        build: Makes the page's components.
        host: Address to listen on.
        port: Port to listen on.
        ready: Called with the page's address once it can be opened.
        stop: Ends it when set; None: Ctrl+C alone does.

    Raises:
        PPNError: If the port is taken, or the address is not this machine's.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    import gradio

    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        build()
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            inbrowser=False,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=gradio.themes.Base(font=_FONT, font_mono=["monospace"]),
            css=asset("page.css"),
        )
    except OSError:
        raise PPNError(
            f"Nothing can be served at {host}, port {port}: choose another one with --port, or "
            "another address with --host."
        ) from None
    try:
        ready(page.local_url)
        (stop or threading.Event()).wait()
    except KeyboardInterrupt:
        pass
    finally:
        page.close(verbose=False)

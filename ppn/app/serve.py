"""Serves a page of Gradio's from this machine: nothing of it leaves, nothing is fetched."""

from __future__ import annotations

import contextlib
import os
import socket
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ppn.app.uploads import MOST_BYTES, BodyLimit
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 4 * MOST_BYTES // 3 + 200_000
"""Bytes of a request: an image in base64, and what is asked of it."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FONT = ["system-ui", "sans-serif"]
_PAPER = {"body_background_fill": "#fbfaf7", "body_background_fill_dark": "#111317"}


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
    title: str, build: Callable[[], object], host: str, port: int, ready: Callable[[str], None]
) -> None:
    """Serve a page until the process is told to stop.

    Gradio's own `launch` asks servers of its makers about itself, and gives up where this machine
    is too busy to answer it at once.

    Args:
        title: Of the page.
        build: Makes the page's components.
        host: Address to listen on.
        port: Port to listen on; 0 for any that is free.
        ready: Called with the page's address once it can be opened.

    Raises:
        PPNError: If the port is taken, or the address is not this machine's.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    import gradio
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError):
        raise PPNError(
            f"Nothing can be served at {host}, port {port}: choose another one with --port, or "
            "another address with --host."
        ) from None
    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        build()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit, most=_MOST)
    app.add_middleware(OwnOrigin)
    if host in LOOPBACK:  # other names for this machine are those of attackers
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    gradio.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=MOST_BYTES,
        theme=gradio.themes.Base(font=_FONT, font_mono=["monospace"]).set(**_PAPER),
        css=asset("page.css"),
    )
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(address)

    with listening:
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        with contextlib.suppress(KeyboardInterrupt):  # which uvicorn passes on when it has stopped
            Server(settings).run(sockets=[listening])


class OwnOrigin:
    """Refuses what the pages of other servers send to this one."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - of ASGI
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Pass a request on, or answer that it is forbidden."""
        from starlette.responses import PlainTextResponse

        headers = dict(scope.get("headers", ()))
        origin, host = (headers.get(name, b"").decode("latin-1") for name in (b"origin", b"host"))
        if scope["type"] == "http" and origin and urlsplit(origin).netloc != host:
            await PlainTextResponse("Another origin", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

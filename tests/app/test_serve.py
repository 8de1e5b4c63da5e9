import asyncio
import socket

import pytest

from ppn.app.serve import OwnOrigin, expect_gradio, serve
from ppn.errors import PPNError


@pytest.mark.parametrize(
    ("origin", "passed"),
    [
        (None, True),
        ("http://127.0.0.1:7860", True),
        ("http://127.0.0.1:8000", False),
        ("https://elsewhere.example", False),
        ("null", False),
    ],
)
def test_requests_of_other_origins_are_refused(origin, passed):
    pytest.importorskip("starlette")
    sent = []

    async def app(scope, receive, send):
        sent.append("passed")

    async def send(message):
        sent.append(message.get("status"))

    headers = [(b"host", b"127.0.0.1:7860")]
    headers += [] if origin is None else [(b"origin", origin.encode())]
    asyncio.run(OwnOrigin(app)({"type": "http", "headers": headers}, None, send))
    assert ("passed" in sent) == passed
    assert (403 in sent) == (not passed)


def test_a_port_that_is_taken_is_named():
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PPNError, match=f"127.0.0.1, port {port}: choose another one"):
            serve("page", lambda: None, "127.0.0.1", port, lambda _: None)


def test_a_missing_gradio_is_named(monkeypatch):
    monkeypatch.setattr("ppn.app.serve.find_spec", lambda name: None)
    with pytest.raises(PPNError, match=r'pip install "ppn\[app\]"'):
        expect_gradio()

"""A page of `ppn` that is served while a test looks at it."""

import functools
import importlib.util
import os
import signal
import time
from contextlib import contextmanager, suppress

import pytest

from ppn.__main__ import main
from tests.ddp import forked, free_port

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="gradio is not installed"
)
"""Looks for it without the seconds that its import takes."""


@contextmanager
def serving(folder, *words):
    """Serve a page in a process of its own; yield its id and the address; kill it at the end."""
    importlib.import_module("gradio")  # once, not in each process that is forked
    port, output = free_port(), folder / "served.txt"
    address = f"http://127.0.0.1:{port}/"
    process = forked(functools.partial(main, [*words, "--port", str(port)]), output, {})
    try:
        end = time.monotonic() + 120
        while address not in (output.read_text() if output.exists() else ""):
            assert os.waitpid(process, os.WNOHANG) == (0, 0), output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.05)
        yield process, address
    finally:
        kill(process)


def kill(process):
    """Kill a process, if it still runs, and wait for its end."""
    with suppress(ChildProcessError):  # waited for before
        if os.waitpid(process, os.WNOHANG) == (0, 0):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)

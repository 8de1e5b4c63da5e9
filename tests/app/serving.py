"""A page of `ppn` that is served while a test looks at it."""

import functools
import os
import signal
import time
from contextlib import contextmanager, suppress

from ppn.__main__ import main
from tests.ddp import forked, free_port


@contextmanager
def serving(folder, *words):
    """Serve a page in a process of its own; yield its id and the address; kill it at the end."""
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

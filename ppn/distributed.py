"""A process that ends early ends the others of its run: in seconds, and with a sentence.

Processes learn of each other's end when they next exchange something, which in discovery may be
hours away. So the process that started the others watches them, and they watch it. Under `torchrun`
and SLURM the launcher does so.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning import Trainer

LOST = (
    "Another process of this run has ended before the work was done: its own message is above; "
    "run the same command again to go on."
)
LAUNCHER = "PPN_LAUNCHER"
"""Environment variable that tells a process the id of the one that started it."""

_PERIOD = 0.5
_GRACE = 3.0
"""Seconds in which a process may find out and end by itself, with everything closed in order."""


class WatchfulLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, whose processes end within seconds of each other.

    Lightning's own watch does not end the processes it has started when the first one ends, and
    kills that one without a word to the user when another ends.
    """

    @classmethod
    def taking_over(cls, launcher: _SubprocessScriptLauncher) -> WatchfulLauncher:
        """Return one that starts what another would have started."""
        return cls(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)

    @override
    def launch(
        self,
        function: Callable[..., Any],
        *args: Any,
        trainer: Trainer | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start the processes unless they are there, and call a function in each."""
        parent = os.environ.pop(LAUNCHER, None)
        if parent is not None:
            _watch(lambda: os.getppid() != int(parent))
        elif not self.cluster_environment.creates_processes_externally:
            self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
            os.environ[LAUNCHER] = str(os.getpid())
            self._call_children_scripts()
            del os.environ[LAUNCHER]
            _watch(lambda: any(child.poll() for child in self.procs))
            # The end of this process is a failure to the others, so it comes after theirs.
            atexit.register(self._join)
        try:
            # The environment says by now that the processes are there: none is started again.
            return super().launch(function, *args, trainer=trainer, **kwargs)
        except BaseException:
            atexit.unregister(self._join)
            raise

    def _join(self) -> None:
        if any(child.wait() for child in self.procs):
            _end()


def _watch(lost: Callable[[], bool]) -> None:
    """End this process soon after another was lost, unless it ends by itself."""

    def run() -> None:
        while not lost():
            time.sleep(_PERIOD)
        time.sleep(_GRACE)
        _end()

    threading.Thread(target=run, name="watch", daemon=True).start()


def _end() -> NoReturn:
    sys.stderr.write(f"ppn: {LOST}\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(2)


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process at once; Lightning looks for it between training steps only.

    Raises:
        SIGTERMException: Inside, when the signal comes.
    """

    def stop(*_: object) -> None:
        raise SIGTERMException

    if threading.current_thread() is not threading.main_thread():  # which alone has handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""What is built on private classes of Lightning, and why: nothing public does it.

`_SubprocessScriptLauncher` starts the processes of `strategy: ddp`. Lightning has no public
launcher, and no hook between the start of the processes and the function that they run. Without
one, a process that is killed leaves the others waiting for hours.
"""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any

from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from typing_extensions import override

from ppn.distributed import LAUNCHER, join, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning import Trainer


def end_together(trainer: Trainer) -> None:
    """Let the processes that a trainer starts end within seconds of each other.

    Args:
        trainer: One that has not started any; nothing changes where others start the processes.
    """
    launcher = trainer.strategy.launcher
    if type(launcher) is _SubprocessScriptLauncher:
        trainer.strategy._launcher = WatchfulLauncher.taking_over(launcher)


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
            watch(lambda: os.getppid() != int(parent))
        elif not self.cluster_environment.creates_processes_externally:
            self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
            os.environ[LAUNCHER] = str(os.getpid())
            self._call_children_scripts()
            del os.environ[LAUNCHER]
            watch(lambda: any(child.poll() for child in self.procs))
            # The end of this process is a failure to the others, so it comes after theirs.
            atexit.register(join, self.procs)
        try:
            # The environment says by now that the processes are there: none is started again.
            return super().launch(function, *args, trainer=trainer, **kwargs)
        except BaseException:
            atexit.unregister(join)  # also that of an earlier Trainer
            raise

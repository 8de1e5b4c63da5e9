"""Several processes that talk over gloo, as under Lightning's DDP on the CPU."""

from __future__ import annotations

import functools
import logging
import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import ppn.cli  # noqa: F401 - imported before the first fork
from ppn.__main__ import main
from ppn.allocator import keep_memory


def run(function, *args, processes=2):
    """Call `function(*args)` once per rank and return the results in the order of the ranks.

    The function's result must be picklable; an exception in any rank is raised here. The processes
    are forked, hence import nothing anew.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = (processes, folder, function, args)
        mp.start_processes(_rank, given, nprocs=processes, start_method="fork")
        return [pickle.loads(Path(folder, f"{rank}.pkl").read_bytes()) for rank in range(processes)]


def _rank(rank, processes, folder, function, args):
    torch.set_num_threads(1)
    keep_memory()
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=60),
    )
    try:
        result = function(*args)
        Path(folder, f"{rank}.pkl").write_bytes(pickle.dumps(result))
        dist.barrier()  # nobody leaves while another still needs it
    finally:
        dist.destroy_process_group()


def torchrun(rank, processes, port):
    """What `torchrun` tells each process that it starts on one machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "none",
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def forked(function, output, environment):
    """Fork a process that ends with the code `function()` returns; return its id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        sink = os.open(str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - pytest's captures
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        for name in ("lightning.fabric", "lightning.pytorch"):
            logging.getLogger(name).handlers = [logging.StreamHandler(sys.stderr)]
        torch.set_num_threads(1)
        os.environ.update(environment)
        code = function()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def waited(children, timeout):
    """Return the exit codes of forked processes; kill what is left after some seconds."""
    codes = dict.fromkeys(children)
    end = time.monotonic() + timeout
    while None in codes.values():
        if time.monotonic() > end:
            for child in (child for child, code in codes.items() if code is None):
                os.kill(child, signal.SIGKILL)
            end = float("inf")
        for child in (child for child, code in codes.items() if code is None):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    return list(codes.values())


def _commands(given):
    for arguments in given:
        code = main(arguments)
        if code:
            return code
    return 0


def commands(given, folder, processes=1, timeout=120, environment=torchrun):
    """Run command lines of `ppn`, one after the other, in each of some processes of one run.

    The processes are forked, hence import nothing anew, and find what `environment` says of them in
    their environment, as if a launcher had started them.

    Args:
        given: The command lines.
        folder: Where the processes' output goes, to `RANK.txt`.
        processes: How many; one is given no environment.
        timeout: Seconds after which they are killed.
        environment: Environment variables of (rank, processes, port).

    Returns:
        Exit code and output of each rank; the code is negative where a signal ended it.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    children = [
        forked(
            functools.partial(_commands, given),
            folder / f"{rank}.txt",
            environment(rank, processes, port) if processes > 1 else {},
        )
        for rank in range(processes)
    ]
    codes = waited(children, timeout)
    return [(code, (folder / f"{rank}.txt").read_text()) for rank, code in enumerate(codes)]

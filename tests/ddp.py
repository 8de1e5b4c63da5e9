"""Run a function in several processes that talk over gloo, as Lightning's DDP does on the CPU."""

from __future__ import annotations

import pickle
import tempfile
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ppn.allocator import keep_memory


def run(function, *args, processes=2):
    """Call `function(*args)` once per rank and return the results in the order of the ranks.

    The function must be importable (module level) and its result picklable; an exception in any
    rank is raised here. Starting the processes takes seconds: do many things in one call.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, (processes, folder, function, args), nprocs=processes)
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

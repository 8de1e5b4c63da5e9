import os
import subprocess
import sys

import pytest

CODE = """
import resource, torch
{prepare}
torch.set_num_threads(1)
def work():
    for _ in range(20):
        torch.ones(20_000_000)  # larger than glibc's own limit ever grows to
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(prepare="", **environment):
    """Pages that the kernel has to clear while the same blocks are taken and freed again."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(prepare=prepare)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    *said, count = done.stdout.split()
    return said, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_blocks_are_kept_between_batches():
    call = "from ppn.allocator import keep_memory; print(keep_memory())"
    (worked,), kept = faults(call)
    if worked == "False":
        pytest.skip("another allocator than glibc's")
    _, returned = faults()
    assert kept < returned / 20


def test_an_allocator_that_the_user_has_set_up_is_left_alone():
    call = "from ppn.allocator import keep_memory; print(keep_memory())"
    (worked,), _ = faults(call, MALLOC_ARENA_MAX="2")
    assert worked == "False"

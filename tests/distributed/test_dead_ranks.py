"""A process that ends early, by whatever cause, ends the others within seconds."""

import functools
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch

from ppn.distributed import LOST
from tests import ddp, fakes
from tests.callbacks.test_journal import command

ROOT = Path(__file__).parents[2]
SECONDS = 20
# Each process finds one class and then has, in effect, hours to go; it says so in a file.
SLOW = """
import os, sys, time
from pathlib import Path
from ppn.__main__ import main
from ppn.prototypes.journal import Journal
write = Journal.write
def slow(self, labels):
    write(self, labels)
    Path(__file__).with_name(f"rank{os.environ['LOCAL_RANK']}").write_text(str(os.getpid()))
    time.sleep(600)
Journal.write = slow
sys.exit(main())
"""


@pytest.fixture
def base(tmp_path):
    """A fake CUB of two classes, one for each process, and a classifier for it."""
    fakes.cub(tmp_path / "CUB_200_2011", classes=2, train=4, test=1)
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), tmp_path / "box.pth")
    (tmp_path / "slow.py").write_text(SLOW)
    return tmp_path


def arguments(base, run_dir):
    parallel = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=4"]
    return command(base, run_dir, *parallel)


def started(base):
    """Start the first process, which is to start the other; return its id."""
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return ddp.forked(functools.partial(first, base), base / "output", environment)


def first(base):
    """What `python slow.py ...` does, in a process that has imported everything."""
    os.chdir(base)
    sys.argv = [str(base / "slow.py"), *arguments(base, base / "run")]
    runpy.run_path(sys.argv[0], run_name="__main__")


def in_the_middle(base, *ranks):
    """Wait until the processes have found their first class; return their ids."""
    files = [base / f"rank{rank}" for rank in ranks]
    end = time.monotonic() + 120
    while not all(path.is_file() and path.read_text() for path in files):
        assert time.monotonic() < end, (base / "output").read_text()
        time.sleep(0.05)
    return [int(path.read_text()) for path in files]


def gone(process):
    """Whether a process is none of the living; a zombie has ended too."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def all_ended(base, launcher, others):
    (code,) = ddp.waited([launcher], SECONDS)
    end = time.monotonic() + SECONDS
    while not all(map(gone, others)):
        assert time.monotonic() < end
        time.sleep(0.05)
    output = (base / "output").read_text()
    assert "Traceback" not in output
    assert f"ppn: {LOST}\n" in output
    return code, output


def test_the_second_process_killed_ends_the_first(base):
    launcher = started(base)
    processes = in_the_middle(base, 0, 1)
    os.kill(processes[1], signal.SIGKILL)
    code, output = all_ended(base, launcher, processes)
    assert code == 2
    assert output.count("ppn: ") == 1


@pytest.mark.slow
def test_the_first_process_killed_ends_the_second_and_a_second_run_goes_on(base):
    launcher = started(base)
    processes = in_the_middle(base, 0, 1)
    assert processes[0] == launcher
    os.kill(launcher, signal.SIGKILL)
    code, output = all_ended(base, launcher, processes)
    assert code == -signal.SIGKILL
    assert output.count("ppn: ") == 1
    again = subprocess.run(
        [sys.executable, "-m", "ppn", *arguments(base, base / "run")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=base,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 0, again.stderr
    assert "Going on: 1 of 1 classes" in again.stdout + again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_an_image_that_one_process_cannot_read_ends_the_other(base, rank):
    path = base / f"CUB_200_2011/images/00{rank + 1}.Bird_{rank}/Bird_{rank}_0001.jpg"
    path.write_bytes(path.read_bytes()[:200])
    launcher = started(base)
    others = in_the_middle(base, 1 - rank)
    code, output = all_ended(base, launcher, others)
    assert code == 2
    assert f"Bird_{rank}_0001.jpg cannot be read" in output


@pytest.mark.slow
def test_sigterm_ends_all_and_says_how_to_go_on(base):
    launcher = started(base)
    processes = in_the_middle(base, 0, 1)
    os.kill(launcher, signal.SIGTERM)
    code, output = all_ended(base, launcher, processes)
    assert code == 128 + signal.SIGTERM
    assert "run the same command again to go on" in output.split("ppn: ")[0]

"""Processes that somebody else has started: torchrun and SLURM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from ppn.__main__ import main
from tests import ddp, fakes
from tests.callbacks.test_journal import assert_same, command

ROOT = Path(__file__).parents[2]
PARALLEL = ["--data.batch_size=4", "--trainer.strategy=ddp"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A fake CUB of three classes, a classifier for it, and what one process finds."""
    base = tmp_path_factory.mktemp("launchers")
    fakes.cub(base / "CUB_200_2011", classes=3, train=4, test=1)
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), base / "box.pth")
    assert main(command(base, base / "one/run", "--data.batch_size=4")) == 0
    return base


def slurm(rank, tasks, port, per_node=1):
    """What `srun` tells each task; two nodes that are this machine."""
    return {
        "SLURM_JOB_ID": "12",
        "SLURM_JOB_NAME": "ppn",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(per_node),
        "SLURM_NNODES": str(tasks // per_node),
        "SLURM_NODEID": str(rank // per_node),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % per_node),
        "SLURM_NODELIST": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def test_two_tasks_of_slurm_on_two_nodes(base, tmp_path):
    given = command(base, tmp_path / "run", *PARALLEL, "--trainer.num_nodes=2")
    ended = ddp.commands([[*given, "--trainer.devices=1"]], tmp_path, 2, environment=slurm)
    assert [code for code, _ in ended] == [0, 0], ended
    assert "MEMBER: 2/2" in ended[1][1]
    assert_same(tmp_path / "run", base / "one/run")


@pytest.mark.parametrize(
    ("environment", "trainer", "told"),
    [
        (ddp.torchrun(0, 4, 1), [2, 1], "torchrun runs 4 processes on each of 1 nodes"),
        (ddp.torchrun(0, 2, 1), [1, 1], "torchrun runs 2 processes on each of 1 nodes"),
        (slurm(0, 4, 1, 2), [4, 1], "SLURM runs 2 processes on each of 2 nodes"),
        (slurm(0, 1, 1), [2, 1], "SLURM runs 1 processes on each of 1 nodes"),
        ({"SLURM_NTASKS": "2"}, [2, 1], "--ntasks-per-node (and --nodes) instead"),
    ],
)
def test_other_processes_than_the_trainer_counts_on(
    base, tmp_path, monkeypatch, capsys, environment, trainer, told
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    devices, nodes = trainer
    size = [f"--trainer.devices={devices}", f"--trainer.num_nodes={nodes}"]
    strategy = PARALLEL if devices > 1 else []
    assert main(command(base, tmp_path / "run", *strategy, *size)) == 2
    lines = capsys.readouterr().err.splitlines()
    (sentence,) = (line for line in lines if line.startswith("ppn: "))
    assert told in sentence
    assert not any("Traceback" in line for line in lines)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_torchrun(base, tmp_path):
    given = command(base, tmp_path / "run", *PARALLEL, "--trainer.devices=2")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher.append("--nproc-per-node=2")
    done = subprocess.run(
        [*launcher, "-m", "ppn", *given],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "MEMBER: 2/2" in done.stdout + done.stderr
    assert_same(tmp_path / "run", base / "one/run")

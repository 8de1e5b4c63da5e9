"""Killed at any file operation, or out of disk space, nothing half-written is read as whole.

What a process leaves behind changes only at its file operations. So the harness counts them in one
undisturbed run, and then kills runs (SIGKILL) at randomly drawn ones. Runs are forked from the test
process, which has imported everything already.
"""

import json
import os
import random
import resource
import signal
import sys

import pytest
import timm
import torch

import ppn.cli  # noqa: F401 - imported before the first fork
from ppn.__main__ import main
from ppn.classifier.weights import read_checkpoint
from tests import fakes

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fake CUB, the weights of a classifier for it, and an undisturbed run."""
    base = tmp_path_factory.mktemp("unkillable")
    fakes.cub(base / "CUB_200_2011", classes=4, train=3, test=2)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=4).state_dict(), base / "box.pth")
    count = base / "count"
    assert forked(base, base / "whole", kill_at=None, count=count) == 0
    return base, int(count.read_text())


def both_commands(base, run_dir):
    """Find prototypes, then evaluate them and write the report."""
    data = [
        "--data=CUBDataModule",
        f"--data.root={base / 'CUB_200_2011'}",
        "--data.num_workers=0",
        "--data.batch_size=4",
        "--data.val_fraction=0",
    ]
    fit = [
        "fit",
        "--model=PrototypeTask",
        "--model.architecture=test_resnet",
        "--model.image_size=64",
        f"--model.classifier_ckpt={base / 'box.pth'}",
        "--trainer.callbacks=PrototypeDiscovery",
        "--trainer.callbacks.classes_per_group=1",
        "--trainer.max_epochs=0",
        f"--trainer.default_root_dir={run_dir / 'fit'}",
    ]
    test = [
        "test",
        "--model=PrototypeTask",
        f"--ckpt_path={run_dir / 'fit/checkpoints/prototypes.ckpt'}",
        "--trainer.callbacks+=ResultsFile",
        "--trainer.callbacks+=HTMLReport",
        f"--trainer.default_root_dir={run_dir / 'test'}",
    ]
    return [*fit, *data, *QUIET], [*test, *data, *QUIET]


def forked(base, run_dir, kill_at=None, count=None, file_size=None):
    """Run both commands in a child; return its exit code, negative where a signal killed it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        torch.set_num_threads(1)
        sink = os.open(str(base / "output"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - pytest's captures
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        seen = _watch(str(run_dir), kill_at)
        for arguments in both_commands(base, run_dir):
            code = main(arguments)
            if code:
                break
        if count is not None:
            count.write_text(str(seen[0]))
        sys.stderr.flush()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _watch(folder, kill_at):
    """Count file operations below a folder, and die just before one of them."""
    seen = [0]

    def hook(event, arguments):
        if event in EVENTS and any(folder in str(argument) for argument in arguments[:2]):
            seen[0] += 1
            if seen[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


def assert_whole(run_dir):
    """Every file that a later command could read is absent or whole."""
    for path in run_dir.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".ckpt":
            assert read_checkpoint(path)["state_dict"]
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")


def assert_complete(base, run_dir):
    ours = read_checkpoint(run_dir / "fit/checkpoints/prototypes.ckpt")["state_dict"]
    theirs = read_checkpoint(base / "whole/fit/checkpoints/prototypes.ckpt")["state_dict"]
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []
    for name in ("fit/prototypes.json", "test/metrics.json"):
        assert json.loads((run_dir / name).read_text()) == json.loads(
            (base / "whole" / name).read_text()
        )
    assert (run_dir / "test/report/index.html").is_file()
    assert len(list((run_dir / "fit/gallery").glob("*.jpg"))) == 4


def killed(world, tmp_path, moments):
    base, _ = world
    for number, moment in enumerate(moments):
        run_dir = tmp_path / str(number) / "run"
        assert forked(base, run_dir, kill_at=moment) == -signal.SIGKILL, moment
        assert_whole(run_dir)
        assert forked(base, run_dir) == 0, (base / "output").read_text()
        assert_complete(base, run_dir)


def test_killed_at_some_moments(world, tmp_path):
    _, count = world
    assert count > 50
    killed(world, tmp_path, random.Random(1).sample(range(1, count + 1), 2))


@pytest.mark.slow
def test_killed_at_twenty_moments(world, tmp_path):
    _, count = world
    killed(world, tmp_path, random.Random(2).sample(range(1, count + 1), 20))


@pytest.mark.parametrize("size", [200, 9_000, 300_000])
def test_out_of_disk_space(world, tmp_path, size):
    """A limit on the size of files stands for the disk: the same error at the same call."""
    base, _ = world
    run_dir = tmp_path / "run"
    assert forked(base, run_dir, file_size=size) == 2
    message = (base / "output").read_text()
    lines = [line for line in message.splitlines() if line.startswith("ppn: ")]
    assert len(lines) == 1, message
    assert "cannot be written" in lines[0]
    assert "Traceback" not in message
    assert_whole(run_dir)
    assert forked(base, run_dir) == 0
    assert_complete(base, run_dir)

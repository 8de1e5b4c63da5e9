"""A killed discovery goes on where it stopped, to the same bits."""

import functools
import os
import signal

import pytest
import torch

from ppn.__main__ import main
from ppn.classifier.weights import read_checkpoint
from ppn.prototypes.journal import Journal
from tests import ddp, fakes

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fake CUB with six classes, and the weights of a classifier for it."""
    import timm

    base = tmp_path_factory.mktemp("journal")
    fakes.cub(base / "CUB_200_2011", classes=6, train=4, test=1)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=6).state_dict(), base / "box.pth")
    assert main(command(base, base / "whole/run")) == 0
    return base


def command(base, run_dir, *more):
    return [
        "fit",
        "--model=PrototypeTask",
        "--model.architecture=test_resnet",
        "--model.image_size=64",
        "--model.compare=[Equal]",
        f"--model.classifier_ckpt={base / 'box.pth'}",
        "--data=CUBDataModule",
        f"--data.root={base / 'CUB_200_2011'}",
        "--data.num_workers=0",
        "--data.batch_size=9",
        "--data.val_fraction=0",
        "--trainer.callbacks=PrototypeDiscovery",
        "--trainer.callbacks.classes_per_group=2",
        "--trainer.max_epochs=0",
        f"--trainer.default_root_dir={run_dir}",
        *QUIET,
        *more,
    ]


def state(run_dir):
    return read_checkpoint(run_dir / "checkpoints/prototypes.ckpt")["state_dict"]


def assert_same(run_dir, other):
    ours, theirs = state(run_dir), state(other)
    assert set(ours) == set(theirs)
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


class Stop(Exception):
    """Stands for a power cut: nothing catches it."""


def stop_after(monkeypatch, groups):
    """Let discovery die after it has journaled some groups of classes."""
    done = []
    write = Journal.write

    def dying(self, labels):
        write(self, labels)
        done.append(labels)
        if len(done) == groups:
            raise Stop

    monkeypatch.setattr(Journal, "write", dying)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_second_run_goes_on_and_gives_the_same_bits(world, tmp_path, monkeypatch, groups, caplog):
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, groups)
        with pytest.raises(Stop):
            main(command(world, run_dir))
    (journal,) = (tmp_path / ".journal").iterdir()
    assert len(list(journal.iterdir())) == 2 * groups
    assert not (run_dir / "checkpoints").exists()
    with caplog.at_level("INFO"):
        assert main(command(world, run_dir)) == 0
    assert f"Going on: {2 * groups} of 6 classes" in caplog.text
    assert_same(run_dir, world / "whole/run")
    assert not journal.exists()


def test_a_group_of_which_a_class_is_damaged_is_found_again(world, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Stop):
            main(command(world, tmp_path / "run"))
    (journal,) = (tmp_path / ".journal").iterdir()
    first, second, *_ = sorted(journal.iterdir())
    first.write_bytes(first.read_bytes()[:-40])
    second.unlink()
    assert main(command(world, tmp_path / "run")) == 0
    assert_same(tmp_path / "run", world / "whole/run")


@pytest.mark.parametrize(
    "change",
    [
        ["--model.refinement=CamSplit", "--model.refinement.ridge=2"],
        ["--trainer.callbacks.discoverer=NMF", "--trainer.callbacks.discoverer.seed=1"],
        ["--model.k=2"],
        ["--data.crop=box"],
        ["--data.batch_size=4"],
    ],
)
def test_another_configuration_has_another_journal(world, tmp_path, monkeypatch, change, caplog):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Stop):
            main(command(world, tmp_path / "run"))
    with caplog.at_level("INFO"):
        assert main(command(world, tmp_path / "run", *change)) == 0
    assert "Going on" not in caplog.text


def test_other_weights_have_another_journal(world, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Stop):
            main(command(world, tmp_path / "run"))
    weights = torch.load(world / "box.pth")
    name = next(iter(weights))
    weights[name] = weights[name] * 1.001
    torch.save(weights, tmp_path / "other.pth")
    other = f"--model.classifier_ckpt={tmp_path / 'other.pth'}"
    with caplog.at_level("INFO"):
        assert main(command(world, tmp_path / "run", other)) == 0
    assert "Going on" not in caplog.text


def interrupted(arguments):
    """Run a command that is interrupted after a group of classes."""
    # A job in the background of a shell inherits that interrupts are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    write = Journal.write

    def then_interrupt(self, labels):
        write(self, labels)
        os.kill(os.getpid(), signal.SIGINT)

    Journal.write = then_interrupt
    return main(arguments)


def test_ctrl_c_says_how_to_go_on(world, tmp_path):
    """In a process of its own: Lightning answers an interrupt by leaving."""
    output = tmp_path / "output"
    run = functools.partial(interrupted, command(world, tmp_path / "run"))
    (code,) = ddp.waited([ddp.forked(run, output, {})], timeout=120)
    assert code != 0
    assert "run the same command again to go on" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert main(command(world, tmp_path / "run")) == 0
    assert_same(tmp_path / "run", world / "whole/run")


def test_patches_of_finished_classes_are_kept_too(world, tmp_path, monkeypatch):
    from ppn.prototypes.patch_index import PatchIndex

    run_dir, kept = tmp_path / "run", "--trainer.callbacks.index=true"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            main(command(world, run_dir, kept))
    (journal,) = (tmp_path / ".journal").iterdir()
    assert len(list((journal / "index").glob("*.npy"))) == 2
    before = (journal / "index/000000.npy").stat().st_mtime_ns
    assert main(command(world, run_dir, kept)) == 0
    assert PatchIndex(run_dir / "index").images == 24
    assert (run_dir / "index/000000.npy").stat().st_mtime_ns == before
    assert_same(run_dir, world / "whole/run")

"""Names of classes travel with checkpoints and are held against those of the data."""

import shutil

import pytest
import torch
from lightning import Trainer

from ppn.callbacks.discovery import PrototypeDiscovery
from ppn.data.class_names import expect_same_names, names_in_checkpoint
from ppn.data.folder import ImageFolderDataModule
from ppn.errors import CheckpointError
from ppn.tasks.classification import ClassificationTask
from ppn.tasks.prototypes import PrototypeTask
from tests.data.test_folder import split_tree

NAMES = ["ant", "bee", "cat"]


def trainer(**options):
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )


def read(root, *renamed):
    """The data, with a folder of each split renamed."""
    if renamed:
        copy = root.with_name("renamed")
        shutil.copytree(root, copy)
        for split in ("train", "test"):
            (copy / split / renamed[0]).rename(copy / split / renamed[1])
        root = copy
    return ImageFolderDataModule(str(root), num_workers=0, val_fraction=0.5)


@pytest.fixture
def root(tmp_path):
    return split_tree(tmp_path / "own", ("train", "test"), NAMES, 4)


@pytest.fixture
def checkpoint(root, tmp_path):
    run = trainer(max_epochs=1)
    run.fit(ClassificationTask(3, "test_resnet", image_size=64), datamodule=read(root))
    run.save_checkpoint(tmp_path / "classifier.ckpt")
    return str(tmp_path / "classifier.ckpt")


CHANGED = "class 0 is 'ant' there and 'bee' in the data; use the data that it was trained on"


def test_a_classifiers_checkpoint_holds_the_names_of_its_classes(checkpoint):
    assert names_in_checkpoint(checkpoint, 3) == NAMES


def test_a_classifier_is_not_tested_or_trained_on_other_classes(checkpoint, root):
    task = ClassificationTask(3, "test_resnet", image_size=64)
    for run in (trainer().test, trainer(max_epochs=2).fit):
        with pytest.raises(CheckpointError, match=f"trained on other classes .*{CHANGED}"):
            run(task, datamodule=read(root, "ant", "wasp"), ckpt_path=checkpoint)
        shutil.rmtree(root.with_name("renamed"))
    trainer().test(task, datamodule=read(root), ckpt_path=checkpoint, verbose=False)


def test_prototypes_are_not_found_on_other_classes(checkpoint, root):
    network = PrototypeTask(3, checkpoint, k=2, num_patches=2)
    run = trainer(max_epochs=0, callbacks=[PrototypeDiscovery()])
    with pytest.raises(CheckpointError, match=rf"classifier\.ckpt was trained on .*{CHANGED}"):
        run.fit(network, datamodule=read(root, "ant", "wasp"))
    assert not network.network.dictionary.filled


def test_a_network_is_not_tested_on_other_classes(checkpoint, root, tmp_path):
    network = PrototypeTask(3, checkpoint, k=2, num_patches=2)
    run = trainer(max_epochs=0, callbacks=[PrototypeDiscovery()], default_root_dir=tmp_path / "p")
    run.fit(network, datamodule=read(root))
    run.save_checkpoint(tmp_path / "prototypes.ckpt")
    options = {"architecture": "test_resnet", "image_size": 64, "k": 2, "num_patches": 2}
    fresh, path = PrototypeTask(3, **options), str(tmp_path / "prototypes.ckpt")
    with pytest.raises(CheckpointError, match=CHANGED):
        trainer().test(fresh, datamodule=read(root, "ant", "wasp"), ckpt_path=path)
    trainer().test(fresh, datamodule=read(root), ckpt_path=path, verbose=False)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["bee", "ant", "cat"], "on the data's classes in another order: class 0 is 'ant' there"),
        (["ant", "cat", "bee"], "in another order: class 1 is 'bee' there and 'cat' in the data"),
        (["ant", "bee", "dog"], "on other classes than the data has: class 2 is 'cat' there and"),
        (["ant", "bee"], "has 3 classes, the data 2"),
    ],
)
def test_the_first_difference_is_named_in_one_sentence(found, said):
    with pytest.raises(CheckpointError, match=said) as error:
        expect_same_names("Checkpoint a.ckpt", NAMES, found)
    assert str(error.value).startswith("Checkpoint a.ckpt ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("trained", "found"),
    [
        (NAMES, NAMES),
        (None, NAMES),
        (NAMES, []),
        (["0", "1", "2"], NAMES),
        (NAMES, ["0", "1", "2"]),
    ],
)
def test_what_has_no_names_is_not_compared(trained, found):
    expect_same_names("Checkpoint a.ckpt", trained, found)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"classes": NAMES}, NAMES),
        ({"class_to_idx": {"cat": 2, "bee": 1, "ant": 0}}, NAMES),
        ({"id2label": {0: "ant", 1: "bee", 2: "cat"}}, NAMES),
        ({"class_names": NAMES[:2]}, None),
        ({"classes": 3}, None),
        ({}, None),
    ],
)
def test_names_are_found_where_training_scripts_put_them(content, names, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"weight": torch.zeros(3, 2)}, **content}, path)
    assert names_in_checkpoint(path, 3) == names

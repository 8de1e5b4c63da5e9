"""From a fit that keeps its patches, or `ppn index`, to crops that are found again."""

import csv
import json
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import ppn
from ppn.__main__ import main
from ppn.commands.search import _fires
from ppn.prototypes.patch_index import PatchIndex

CLASSES = ["mug", "plate", "spoon"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures, a classifier, and the run of `ppn fit` with an index, and of `ppn test`."""
    base = tmp_path_factory.mktemp("search")
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (base / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 90, (128, 128, 3), dtype=np.uint8)
            pixels[20:90, 30:100, label] = 240
            Image.fromarray(pixels).save(base / f"photos/{name}/{i}.png")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    torch.save(model.state_dict(), base / "mine.pth")
    common = [
        "--model=PrototypeTask",
        "--model.architecture=test_resnet",
        "--model.image_size=128",
        f"--model.classifier_ckpt={base / 'mine.pth'}",
        "--data=ImageFolderDataModule",
        f"--data.root={base / 'photos'}",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    found = ["--trainer.callbacks=PrototypeDiscovery", "--trainer.callbacks.index=true"]
    run = f"--trainer.default_root_dir={base / 'run'}"
    assert main(["fit", *common, *found, "--trainer.max_epochs=0", run]) == 0
    run = f"--trainer.default_root_dir={base / 'test'}"
    assert main(["test", *common, f"--ckpt_path={_ckpt(base)}", run]) == 0
    return base


def _ckpt(base):
    return base / "run/checkpoints/prototypes.ckpt"


def _rows(path):
    return list(csv.DictReader(path.open(newline="")))


def test_fit_keeps_all_patches_of_the_training_images(world):
    index = PatchIndex(world / "run/index")
    assert index.about.class_names == CLASSES
    stored = ppn.load(_ckpt(world))
    assert index.images == int(stored.dictionary.images.sum())
    # The nearest patch within the class is what discovery has found.
    directions = stored.head.prototypes[:, 0]
    nearest = index.nearest(directions, index.images)
    for label in range(3):
        own = nearest.label[label] == label
        assert int(nearest.image[label][own][0]) == int(stored.dictionary.patch_index[label, 0, 0])
        score = float(stored.dictionary.patch_score[label, 0, 0])
        assert float(nearest.score[label][own][0]) == pytest.approx(score, rel=5e-3)
    assert not list(world.glob(".journal/*"))


def test_index_makes_the_same_in_parts_and_goes_on(world, tmp_path, capsys):
    given = ["index", "--ckpt", str(_ckpt(world)), "--out", str(tmp_path / "index")]
    given += ["--data", "folder", "--data.root", str(world / "photos")]
    assert main([*given, "--shard", "1/2"]) == 0
    assert "1 classes are left to the other shards" in capsys.readouterr().out
    assert main([*given, "--shard", "2/2"]) == 0
    assert "prototypes fire on other classes" in capsys.readouterr().out
    ours, theirs = PatchIndex(tmp_path / "index"), PatchIndex(world / "run/index")
    queries = torch.rand(3, ours.about.width)
    assert torch.equal(ours.nearest(queries, 4).image, theirs.nearest(queries, 4).image)
    content = json.loads((tmp_path / "index/foreign.json").read_text())
    assert len(content["prototypes"]) == 9
    assert all(0 <= row["foreign"] <= 1 for row in content["prototypes"])
    assert main(given) == 0
    assert "Going on: 3 of 3 classes" in capsys.readouterr().out


def test_a_crop_of_a_training_image_finds_that_image(world, tmp_path, capsys):
    picture = world / "photos/plate/3.png"
    given = ["search", "--image", str(picture), "--box", "20,20,100,100", "--count", "5"]
    given += ["--ckpt", str(_ckpt(world)), "--out", str(tmp_path / "found")]
    assert main(given) == 0
    assert "Parts alike" in capsys.readouterr().out
    rows = _rows(tmp_path / "found/images.csv")
    assert len(rows) == 5
    assert {row["class"] for row in rows} <= set(CLASSES)
    values = [float(row["cosine"]) for row in rows]
    assert values == sorted(values, reverse=True)
    parts = _rows(tmp_path / "found/parts.csv")
    assert parts[0]["part"].startswith("Part ")
    assert Image.open(tmp_path / "found/images.png").width > 500


def test_a_part_finds_what_it_fires_on_in_all_classes(world, tmp_path, capsys):
    given = ["search", "--part", "plate:2", "--ckpt", str(_ckpt(world))]
    assert main([*given, "--out", str(tmp_path / "found")]) == 0
    assert "Images it fires on" in capsys.readouterr().out
    rows = _rows(tmp_path / "found/images.csv")
    assert {row["class"] for row in rows} == set(CLASSES)
    prototype, index = ppn.load(_ckpt(world)).head.prototypes[1, 1], PatchIndex(world / "run/index")
    nearest = index.nearest(prototype[None], index.images)
    scores = torch.tensor([float(row["score"]) for row in rows])
    assert torch.allclose(scores, nearest.score[0], rtol=1e-3)
    assert Image.open(tmp_path / "found/images.png").width > 500
    assert not (tmp_path / "found/parts.csv").exists()


def test_an_entry_fires_as_the_classes_that_use_it(world):
    network = ppn.load(_ckpt(world))
    uses = {"0": [0, 1, 2], "1": [3, 0, 4], "2": [5, 6, 7]}
    network.certificate["vocabulary"] = {"entries": 8, "uses": uses}
    prototypes = network.head.prototypes
    mean = (prototypes[0, 0] + prototypes[1, 1]) / 2
    assert torch.allclose(_fires(network, "entry 1"), mean)
    assert torch.equal(_fires(network, "plate:2"), prototypes[1, 1])


def test_a_small_crop_is_laid_on_grey(world, tmp_path):
    Image.open(world / "photos/plate/3.png").crop((20, 20, 84, 84)).save(tmp_path / "crop.png")
    given = ["search", "--image", str(tmp_path / "crop.png"), "--ckpt", str(_ckpt(world))]
    assert main([*given, "--out", str(tmp_path / "found")]) == 0
    assert _rows(tmp_path / "found/images.csv")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--box", "1,2"], "X0,Y0,X1,Y1"),
        (["--box", "0,0,900,5"], "not in the image"),
        (["--index", "nowhere"], "make an index with `ppn index`"),
        (["--data", "nothing.yaml"], "nothing.yaml"),
        (["--part", "mug:1"], "--image, with or without --box, or --part"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    world, tmp_path, capsys, extra, message, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = ["search", "--image", str(world / "photos/mug/0.png"), "--ckpt", str(_ckpt(world))]
    assert main([*given, *extra]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_index_of_other_images_is_refused(world, tmp_path, capsys):
    shutil.copytree(world / "photos", tmp_path / "photos")
    (tmp_path / "photos/mug/0.png").rename(tmp_path / "photos/mug/new.png")
    given = ["search", "--image", str(world / "photos/mug/0.png"), "--ckpt", str(_ckpt(world))]
    given += ["--data", "folder", "--data.root", str(tmp_path / "photos")]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    assert "of other images" in capsys.readouterr().err
    assert main(["index", "--ckpt", str(_ckpt(world)), "--shard", "3/2"]) == 2
    assert "A/B" in capsys.readouterr().err


def test_an_evaluation_flags_and_the_network_reads_it(world):
    network = ppn.load(_ckpt(world))
    flags = network.flagged(world / "test")
    content = json.loads((world / "test/metrics.json").read_text())["flags"]
    assert len(flags) == len(content["prototypes"])
    assert set(content["limits"]) == {"outside", "duplicate", "little", "foreign", "unsteady"}
    # An untrained classifier's prototypes fire on every class.
    assert network.flagged(world / "test", "foreign")

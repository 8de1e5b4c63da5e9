"""What W&B, TensorBoard and CSV get, read back from the files they write."""

import csv
import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from ppn.__main__ import main
from ppn.callbacks.wandb_run import COLUMNS
from tests import fakes
from tests.callbacks.wandb_files import read
from tests.test_configs import ROOT

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
CLASSES, K = 3, 3


def logger(name):
    return f"--trainer.logger={ROOT / 'configs/logger'}/{name}.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fake CUB, and the weights of a classifier for it."""
    import timm

    base = tmp_path_factory.mktemp("tracking")
    fakes.cub(base / "CUB_200_2011", classes=CLASSES)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=CLASSES).state_dict(), base / "box.pth")
    return base


def ppn(world, command, run_dir, *more):
    return main(
        [
            command,
            "--model=PrototypeTask",
            "--model.compare=[Equal]",
            "--data=CUBDataModule",
            f"--data.root={world / 'CUB_200_2011'}",
            "--data.num_workers=0",
            "--data.batch_size=4",
            "--data.val_fraction=0.25",
            *QUIET,
            f"--trainer.default_root_dir={run_dir}",
            *more,
        ]
    )


def black_box(world):
    return [
        "--model.architecture=test_resnet",
        "--model.image_size=64",
        f"--model.classifier_ckpt={world / 'box.pth'}",
        "--trainer.callbacks=PrototypeDiscovery",
        "--trainer.max_epochs=0",
    ]


@pytest.fixture(scope="module")
def tracked(world):
    """A fit and a test of what it found, each a W&B run of its own, offline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        assert ppn(world, "fit", world / "fit", *black_box(world), logger("wandb")) == 0
        given = [f"--ckpt_path={world / 'fit/checkpoints/prototypes.ckpt'}", logger("wandb")]
        report = "--trainer.callbacks=HTMLReport"
        assert ppn(world, "test", world / "test", *given, report) == 0
    return {"fit": read(world / "fit"), "test": read(world / "test")}


def logged(run, key):
    """The last value of a key in the run's history."""
    return [row[key] for row in run["history"] if key in row][-1]


def table(run):
    """The last table of prototypes; pictures are files of the artifact that it is part of."""
    entry = logged(run, "prototypes")
    assert entry["_type"] == "table-file"
    files = {
        item.path: Path(item.local_path)
        for artifact in run["artifacts"]
        if artifact.type == "run_table"
        for item in artifact.manifest.contents
    }
    content = json.loads(files["prototypes.table.json"].read_text())
    assert content["columns"] == list(COLUMNS)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in content["data"]]
    for row in rows:
        row["thumbnail"] = files[row["thumbnail"]["path"]]
    return rows


def artifacts(run):
    """Type of each artifact: its name and the paths inside."""
    return {
        a.type: (a.name, {entry.path for entry in a.manifest.contents}, a)
        for a in run["artifacts"]
        if a.type != "run_table"
    }


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_configuration_is_one_key(world, tracked):
    config = tracked["fit"]["config"]
    assert {key for key in config if not key.startswith("_")} == {"config"}
    saved = yaml.safe_load((world / "fit/config.yaml").read_text())
    assert config["config"]["model"] == saved["model"]
    assert config["config"]["data"]["init_args"]["batch_size"] == 4


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_prototypes_are_a_table_with_thumbnails(world, tracked, stage):
    rows = table(tracked[stage])
    assert len(rows) == CLASSES * K
    patches = json.loads((world / "fit/prototypes.json").read_text())["classes"]
    for at, row in enumerate(rows):
        label, index = divmod(at, K)
        nearest = patches[label]["prototypes"][index][0]
        assert (row["class"], row["prototype"]) == (f"Bird {label}", index + 1)
        assert row["nearest image"] == nearest["image"]
        assert row["similarity"] == pytest.approx(nearest["score"])
        with Image.open(row["thumbnail"]) as thumbnail:
            assert thumbnail.size == (128, 128)
        # Nothing that an upload needs lies outside the run's directory.
        assert world / stage in row["thumbnail"].parents
        measured = [row[name] is not None for name in ("share", "part rate")]
        assert measured == [stage == "test"] * 2
        assert row["part"] is None or row["part rate"] >= 0.8
    if stage == "test":
        shares = [sum(r["share"] for r in rows[i : i + K]) for i in range(0, len(rows), K)]
        assert shares == pytest.approx([1.0] * CLASSES)


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_the_gallery_is_logged(world, tracked, stage):
    gallery = logged(tracked[stage], "gallery")
    assert gallery["captions"] == [f"Bird {label}" for label in range(CLASSES)]
    for label, path in enumerate(gallery["filenames"]):
        with (
            Image.open(tracked[stage]["files"] / path) as sent,
            Image.open(world / f"fit/gallery/{label:05d}.jpg") as written,
        ):
            assert sent.convert("RGB").tobytes() == written.convert("RGB").tobytes()


def test_artifacts_and_digests_tell_which_run_used_whose(world, tracked):
    checkpoint = world / "fit/checkpoints/prototypes.ckpt"
    fit, test = artifacts(tracked["fit"]), artifacts(tracked["test"])
    assert set(fit) == {"model", "prototypes"}
    assert set(test) == {"report"}
    name, paths, artifact = fit["model"]
    assert name == f"model-{sha256(checkpoint)[:12]}"
    assert paths == {"model.ckpt"}
    assert [entry.local_path for entry in artifact.manifest.contents] == [str(checkpoint)]
    assert json.loads(artifact.metadata) == {"sha256": sha256(checkpoint)}
    assert fit["prototypes"][1] == {"prototypes.json", "prototypes.safetensors"} | {
        f"gallery/{label:05d}.jpg" for label in range(CLASSES)
    }
    assert test["report"][1] == {"index.html", "metrics.json"}
    made, used = tracked["fit"]["summary"], tracked["test"]["summary"]
    assert made["output/model/sha256"] == used["input/checkpoint/sha256"] == sha256(checkpoint)
    assert made["input/backbone/sha256"] == sha256(world / "box.pth")


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_the_certificate_is_in_the_summary(tracked, stage):
    summary = tracked[stage]["summary"]
    assert summary["certificate/agreement"] == 1.0
    assert summary["certificate/max_sum_error"] <= 1e-6
    assert summary["certificate/level"] == "contributions and maps exact"


def test_metrics_of_the_stage_are_logged_and_the_run_is_finished(world, tracked):
    figures = json.loads((world / "test/metrics.json").read_text())
    assert logged(tracked["test"], "test/consistency") == pytest.approx(figures["consistency"])
    equal = figures["explainers"]["equal"]["distinct_peaks"]
    assert logged(tracked["test"], "test/distinct_peaks/equal") == pytest.approx(equal)
    assert tracked["fit"]["exits"] == tracked["test"]["exits"] == [0]


def test_a_trial_is_one_run_with_what_validation_measures(world, tmp_path):
    assert ppn(world, "trial", tmp_path, *black_box(world), logger("wandb")) == 0
    run = read(tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["split"] == "val"
    assert logged(run, "val/consistency") == pytest.approx(figures["consistency"])
    assert all(row["share"] is not None for row in table(run))
    assert (tmp_path / "checkpoints/prototypes.ckpt").is_file()


def test_a_black_boxs_trial_validates_its_best_checkpoint(world, tmp_path):
    box = [
        "trial",
        "--model=ClassificationTask",
        "--model.architecture=test_resnet",
        "--model.image_size=64",
        "--model.lr=0.05",
        "--data=CUBDataModule",
        f"--data.root={world / 'CUB_200_2011'}",
        "--data.num_workers=0",
        "--data.batch_size=4",
        "--data.val_fraction=0.25",
        *QUIET,
        "--trainer.max_epochs=3",
        "--trainer.callbacks=ModelCheckpoint",
        "--trainer.callbacks.filename=best",
        "--trainer.callbacks.monitor=val/accuracy",
        "--trainer.callbacks.mode=max",
        f"--trainer.default_root_dir={tmp_path}",
        logger("wandb"),
    ]
    assert main(box) == 0
    run = read(tmp_path)
    accuracies = [row["val/accuracy"] for row in run["history"] if "val/accuracy" in row]
    assert len(accuracies) == 4  # three epochs, and the best of them again
    assert accuracies[-1] == max(accuracies)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["accuracy"] == pytest.approx(accuracies[-1])
    assert run["summary"]["output/model/sha256"] == sha256(tmp_path / "checkpoints/best.ckpt")
    assert set(artifacts(run)) == {"model"}


def test_tensorboard_has_metrics_gallery_certificate_and_configuration(world, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert ppn(world, "trial", tmp_path, *black_box(world), logger("tensorboard")) == 0
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    figures = json.loads((tmp_path / "metrics.json").read_text())
    (logged_value,) = events.Scalars("val/distinct_peaks")
    assert logged_value.value == pytest.approx(figures["distinct_peaks"])
    tags = events.Tags()
    assert set(tags["images"]) == {f"gallery/Bird {label}" for label in range(CLASSES)}
    assert {"certificate/text_summary", "config/text_summary"} <= set(tags["tensors"])
    with (tmp_path / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["val/consistency"]) == pytest.approx(figures["consistency"])


def test_no_logger_at_all(world, tmp_path):
    assert ppn(world, "trial", tmp_path, *black_box(world), "--trainer.logger=false") == 0
    assert (tmp_path / "metrics.json").is_file()


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboard")])
def test_a_missing_package_is_one_sentence(world, tmp_path, monkeypatch, capsys, name, package):
    for hidden in (package, f"{package}X"):
        monkeypatch.setitem(sys.modules, hidden, None)
    assert ppn(world, "fit", tmp_path / "run", *black_box(world), logger(name)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"pip install 'ppn[{name}]'" in line
    assert not (tmp_path / "run").exists()

"""Every YAML file is parsed, and builds what it describes."""

from pathlib import Path

import pytest
import yaml

from ppn.data.catalog import CATALOG
from ppn.lightning_internals import WatchfulLauncher
from tests import fakes
from tests.command_line import built
from tests.data.sets import SETS

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "experiments/sweeps").glob("*.yaml"))  # see test_sweeps.py
# What has a command line of its own is parsed in tests/experiments.
EXPERIMENTS = sorted(
    path
    for path in (ROOT / "experiments").rglob("*.yaml")
    if path.parent.name not in ("reproduce", "sweeps", "benchmark")
)
FRAGMENTS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "backbone"
)
# Small stand-ins: what an experiment builds, not what it trains, is tested here.
SMALL = {
    "ClassificationTask": ["--model.init_args.weights=null"],
    "PrototypeTask": ["--model.init_args.architecture=test_resnet"],
    "ProtoPNetTask": ["--model.init_args.architecture=test_resnet"],
    "CUBDataModule": ["--data.init_args.root={cub}"],
}


def build(path, tmp_path, *more):
    """Parse an experiment and build its model and data, without running anything."""
    root = fakes.cub(tmp_path / "CUB_200_2011")
    loaded = yaml.safe_load(path.read_text())
    args = ["--config", str(path)]
    for key in ("model", "data"):
        part = yaml.safe_load((path.parent / loaded[key]).read_text())
        if key == "model" and "architecture" not in part["init_args"]:  # a recipe for any
            args.append("--model.init_args.architecture=test_resnet")
        args += [a.format(cub=root) for a in SMALL.get(part["class_path"], [])]
    return built([*args, *more])


DATA = sorted((ROOT / "configs/data").glob("*.yaml"))


@pytest.mark.parametrize("path", DATA, ids=lambda p: p.stem)
def test_data_fragment_reads_its_fake(path, tmp_path):
    names = {"synthetic_birds": "synthetic"}
    fake = SETS[names.get(path.stem, path.stem)]
    more = ["--data", str(path)]
    if fake.write is not None:
        more.append(f"--data.init_args.root={fake.write(tmp_path / fake.folder)}")
    cli = build(ROOT / "experiments/probe.yaml", tmp_path, *more)
    data, parsed = cli.datamodule, cli.config.data.init_args.as_dict()
    assert type(data) is fake.module
    given = yaml.safe_load(path.read_text()).get("init_args", {})
    assert {option: parsed[option] for option in given} == given
    # The fakes have four training images per class, and need no workers.
    data.val_fraction, data.num_workers, data.batch_size = 0.25, 0, 2
    data.setup("fit")
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert next(iter(loader))["image"].shape[1:] == (3, 224, 224)


def test_every_data_set_has_a_fragment():
    stems = {path.stem for path in DATA}
    assert stems == {*CATALOG, "folder", "synthetic_birds"}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_experiment_builds_its_model_and_data(path, tmp_path):
    cli = build(path, tmp_path)
    # The link from data to model is skipped in silence when the attribute is missing.
    assert cli.model.hparams["num_classes"] == cli.datamodule.num_classes


def test_the_moving_average_is_added_to_the_experiments_callbacks(tmp_path):
    experiment = ROOT / "experiments/synthetic/classifier.yaml"
    cli = build(experiment, tmp_path, "--trainer", str(ROOT / "configs/trainer/ema.yaml"))
    names = [type(callback).__name__ for callback in cli.trainer.callbacks]
    assert {"EMAWeightAveraging", "ModelCheckpoint"} <= set(names)


@pytest.mark.parametrize(("name", "processes"), [("ddp", 2), ("multinode", 8)])
def test_processes_are_added_to_the_experiment(tmp_path, name, processes):
    more = ["--trainer", str(ROOT / f"configs/trainer/{name}.yaml"), "--trainer.accelerator=cpu"]
    if name == "ddp":  # "auto" is one on a CPU
        more.append("--trainer.devices=2")
    trainer = build(ROOT / "experiments/synthetic/prototypes.yaml", tmp_path, *more).trainer
    assert trainer.world_size == processes
    assert type(trainer.strategy.launcher) is WatchfulLauncher
    assert "PrototypeDiscovery" in [type(callback).__name__ for callback in trainer.callbacks]

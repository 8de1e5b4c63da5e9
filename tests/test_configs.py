"""Every YAML file and every README command is parsed or run."""

import re
import shlex
from pathlib import Path

import pytest
import timm
import yaml

from ppn.__main__ import main
from ppn.commands import data as data_command
from ppn.commands.compare import compare
from ppn.commands.explain import explain
from ppn.commands.parsing import make_parser
from ppn.data.build import build as build_data
from ppn.data.build import parse_options
from ppn.data.catalog import CATALOG
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.lightning_internals import WatchfulLauncher
from tests import fakes
from tests.command_line import built
from tests.data.sets import SETS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs/datasets.md"
DISTRIBUTED = ROOT / "docs/distributed.md"
SWEEPS = sorted((ROOT / "experiments/sweeps").glob("*.yaml"))  # see test_sweeps.py
# What has a command line of its own is parsed in tests/experiments.
EXPERIMENTS = sorted(
    path
    for path in (ROOT / "experiments").rglob("*.yaml")
    if path.parent.name not in ("reproduce", "sweeps", "benchmark")
)
BENCHMARKS = sorted((ROOT / "experiments/benchmark").glob("*.yaml"))  # see test_benchmark_files.py
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
    cli = build(ROOT / "experiments/synthetic/classifier.yaml", tmp_path, *more)
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


def test_every_fragment_is_used_by_an_experiment_or_named_in_the_docs():
    pages = [*EXPERIMENTS, *BENCHMARKS, ROOT / "README.md", DOCS, DISTRIBUTED]
    text = "".join(p.read_text() for p in pages)
    for fragment in FRAGMENTS:
        assert str(fragment.relative_to(ROOT)) in text, fragment


def commands(text):
    """The lines of the README's shell blocks, joined where they continue."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


README = commands((ROOT / "README.md").read_text())
DATASETS = commands(DOCS.read_text())
# What torchrun or srun starts is a command of ppn too.
PARALLEL = [f"ppn {c.split('ppn ', 1)[1]}" for c in commands(DISTRIBUTED.read_text())]
DATA_COMMANDS = [c for c in [*README, *DATASETS] if c.startswith("ppn data ")]


def test_both_documents_show_the_commands_for_data():
    for text in (README, DATASETS):
        assert {c.split()[2] for c in text if c in DATA_COMMANDS} == {"list", "check", "preview"}


@pytest.mark.parametrize("line", DATA_COMMANDS)
def test_documented_data_command_parses(line):
    given = make_parser("ppn data", data_command.COMMANDS).parse_args(shlex.split(line)[2:])
    if given.command != "list":
        chosen = given[given.command]
        assert build_data(chosen.name, chosen.root, parse_options(chosen.set)) is not None


@pytest.mark.parametrize(
    "line", [c for c in [*README, *PARALLEL] if c.startswith("ppn ") and c not in DATA_COMMANDS]
)
def test_readme_command_parses(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)[1:]
    if words[0] == "explain":
        given = make_parser("ppn explain", explain).parse_args(words[1:])
        assert given.ckpt.endswith(".ckpt")
        return
    if words[0] == "compare":
        assert len(make_parser("ppn compare", compare).parse_args(words[1:]).runs) > 1
        return
    if "--config" not in words:
        assert main(words) == 0
        return
    # `--print_config` parses everything and stops before anything is built.
    words.append("--print_config")
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert "class_path" in capsys.readouterr().out


def test_readmes_python_example_runs(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    data = SyntheticBirdsDataModule(2, 4, 1, num_workers=0)
    data.train_source.read(0).image.save(tmp_path / "bird.jpg")
    model = timm.create_model("test_resnet", num_classes=2)
    monkeypatch.chdir(tmp_path)
    names = {"model": model, "loader": data.discovery_loader([0, 1])}
    exec(code, names)
    sample = names["explanation"]
    total = sum(sample.contributions) + sample.bias
    assert total == pytest.approx(sample.logit, abs=1e-5)
    assert (tmp_path / "explanation.png").is_file()


@pytest.mark.parametrize("line", [c for c in README if c.startswith("make ")])
def test_readme_make_targets_exist(line):
    makefile = (ROOT / "Makefile").read_text()
    for word in shlex.split(line)[1:]:
        name, variable, _ = word.partition("=")
        mark = r" \?=" if variable else ":"
        assert re.search(rf"^{name}{mark}", makefile, flags=re.MULTILINE), word


def test_readmes_sweep_is_there():
    (line,) = (c for c in README if c.startswith("make sweep "))
    assert (ROOT / line.split("SWEEP=")[1].split()[0]) in SWEEPS


def test_readme_has_both_commands_that_do_everything():
    assert {"make demo", "make test"} <= set(README)

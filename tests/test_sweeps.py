"""Every sweep file expands to commands that parse; the local runner finishes, and goes on."""

import csv
import json
import math
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning import LightningDataModule, LightningModule

from experiments import sweep as runner
from experiments.sweeping.space import proposals
from experiments.sweeping.spec import read_sweep
from ppn.cli import PrototypeCLI
from ppn.commands.run_directory import run_directory
from tests import ddp, fakes
from tests.callbacks.wandb_files import read

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "experiments/sweeps").glob("*.yaml"))


def take(sweep, trials=None, seed=0, score=lambda values: 0.0):
    """The trials that a sweep proposes when they score as given."""
    found, values = proposals(sweep, trials, seed), []
    for trial in found:
        values.append(trial)
        found.tell(score(trial))
    return values


def parse(arguments):
    """Parse a trial's arguments as `ppn trial` does, and build nothing."""
    assert arguments[0] == "trial"

    class Parsed(PrototypeCLI):
        def instantiate_classes(self):
            pass

    return Parsed(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        run=False,
        args=arguments[1:],
    ).config


def option(config, name):
    """The value that a parsed configuration has for a flat dotted option."""
    found = config
    for part in name.split("."):
        found = found[-1] if isinstance(found, list) else found
        found = found[part]
    return found


def assert_chosen(found, value):
    """A parsed option is what a sweep's value says: a plain value, or a class and its options."""
    if not isinstance(found, Namespace):
        assert found == value
        return
    wanted = yaml.safe_load(value) if value.startswith("{") else {"class_path": value}
    assert found.class_path.rsplit(".", 1)[-1] == wanted["class_path"]
    for name, option in wanted.get("init_args", {}).items():
        assert found.init_args[name] == option


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_every_sweep_expands_to_commands_that_parse(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep = read_sweep(path)
    trials = take(sweep, 3)
    everything = {
        name: values
        for name, given in sweep.parameters.items()
        for values in [given.get("values", [given.get("min"), given.get("max")])]
    }
    # All values, not only those of the first trials.
    for index in range(max(map(len, everything.values()))):
        trials.append({name: v[min(index, len(v) - 1)] for name, v in everything.items()})
    for values in trials:
        for words in (
            sweep.arguments(values),
            runner.trial_command(sweep, values, Path("runs/x"), []),
        ):
            config = parse(words)
            for name, value in values.items():
                assert_chosen(option(config, name), value)
    assert "WandbLogger" in parse(sweep.arguments(values)).trainer.logger[0].class_path
    assert config.trainer.default_root_dir == "runs/x"
    assert config.trainer.logger.class_path.endswith("CSVLogger")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_wandbs_agent_expands_to_the_same_command(path):
    """By the functions with which the agent itself makes a command from a sweep and its values."""
    from wandb.sdk.launch.sweeps import utils

    sweep = read_sweep(path)
    (values,) = take(sweep, 1)
    given = {"args": {name: {"value": value} for name, value in values.items()}}
    known = {"env": ["/usr/bin/env"], **utils.create_sweep_command_args(given)}
    words = []
    for word in utils.create_sweep_command(sweep.content["command"]):
        words += known[word[2:-1]] if word.startswith("${") else [word]
    assert words == ["/usr/bin/env", "ppn", *sweep.arguments(values)]


def test_an_agents_trials_have_a_directory_each_even_in_one_job(monkeypatch):
    config = Namespace(config=["experiments/synthetic/prototypes.yaml"])
    monkeypatch.delenv("PPN_RUN_DIR", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert run_directory(config) == "runs/synthetic/prototypes/abc"
    config = Namespace(config=[str(ROOT / "experiments/prototypes.yaml")])
    assert run_directory(config) == "runs/prototypes/abc"


def test_the_sweeps_cover_what_there_is_to_choose():
    found = {p.stem: set(read_sweep(p).parameters) for p in SWEEPS}
    names = {
        "refinement": ["k", "refinement"],
        "discovery": ["discoverer", "seed"],
        "classifier": ["lr", "weight_decay"],
    }
    assert {s: {n.rsplit(".", 1)[-1] for n in v} for s, v in found.items()} == {
        sweep: set(options) for sweep, options in names.items()
    }
    assert {read_sweep(p).method for p in SWEEPS} == {"grid", "random", "bayes"}


def write(path, **changes):
    content = yaml.safe_load((ROOT / "experiments/sweeps/refinement.yaml").read_text())
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def test_a_grid_has_every_combination_once(tmp_path):
    given = {"a": {"values": [1, 2]}, "b": {"value": "x"}, "c": {"values": [True, False]}}
    sweep = read_sweep(write(tmp_path / "s.yaml", parameters=given))
    assert [tuple(t.values()) for t in take(sweep)] == [
        (1, "x", True),
        (1, "x", False),
        (2, "x", True),
        (2, "x", False),
    ]


def test_random_draws_repeat_with_the_seed_and_never_within_a_sweep(tmp_path):
    given = {
        "a": {"values": [1, 2, 3]},
        "b": {"distribution": "int_uniform", "min": 0, "max": 1},
    }
    sweep = read_sweep(write(tmp_path / "s.yaml", parameters=given, method="random"))
    draws = take(sweep, 100)
    assert {tuple(d.values()) for d in draws} == {(a, b) for a in (1, 2, 3) for b in (0, 1)}
    assert len(draws) == 6
    assert take(sweep, 4, seed=0) == draws[:4]
    assert take(sweep, 4, seed=1) != draws[:4]


def test_random_draws_are_uniform_in_the_logarithm(tmp_path):
    given = {"a": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}}
    sweep = read_sweep(write(tmp_path / "s.yaml", parameters=given, method="random"))
    values = [d["a"] for d in take(sweep, 400)]
    assert all(1e-4 <= v <= 1 for v in values)
    assert 0.4 < sum(v < 1e-2 for v in values) / 400 < 0.6


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_bayes_looks_where_it_is_good_and_goes_on_from_results_alone(tmp_path, goal):
    pytest.importorskip("optuna")
    given = {"lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}}
    metric = {"name": "val/accuracy", "goal": goal}
    path = write(tmp_path / "s.yaml", parameters=given, method="bayes", metric=metric)
    sweep = read_sweep(path)
    sign = 1 if goal == "maximize" else -1

    def score(values):
        return -sign * (math.log10(values["lr"]) + 3) ** 2

    trials = take(sweep, 30, score=score)
    late = [abs(math.log10(t["lr"]) + 3) for t in trials[15:]]
    assert sorted(late)[len(late) // 2] < 0.5  # by chance the median would be about 1
    assert take(sweep, 12, score=score) == trials[:12]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "method is magic"),
        ({"metric": {"name": "val/x"}}, "is no sweep file"),
        ({"parameters": {"a": {"values": [1, None]}}}, "none of them null"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "there is no grid"),
        ({"parameters": {"a": {"distribution": "beta", "min": 0, "max": 1}}}, "needs value"),
        ({"command": ["python", "train.py"]}, "must call ppn"),
        ({"method": "random"}, "never ends"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, changes, message):
    path = write(tmp_path / "s.yaml", **changes)
    assert runner.main([str(path), "--dry_run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_missing_optuna_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    path = ROOT / "experiments/sweeps/classifier.yaml"
    assert runner.main([str(path), "--dry_run"]) == 2
    assert "pip install 'ppn[sweeps]'" in capsys.readouterr().err


def test_without_an_account_it_says_so_and_runs_here(monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.chdir(ROOT)
    words = [
        "experiments/sweeps/refinement.yaml",
        "--wandb",
        "--dry_run",
        "--",
        "--seed_everything=1",
    ]
    assert runner.main(words) == 0
    told, *commands = capsys.readouterr().out.splitlines()
    assert "WANDB_API_KEY is not set" in told
    assert len(commands) == 3 * 7
    assert all(c.startswith("ppn trial --config experiments/") for c in commands)
    assert all(c.endswith("--seed_everything=1") for c in commands)
    assert len({c.split("default_root_dir=")[1] for c in commands}) == 21


@pytest.fixture
def small(tmp_path):
    """A sweep over k on a fake CUB, and the arguments that make it small."""
    import timm

    root = fakes.cub(tmp_path / "CUB_200_2011")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "box.pth")
    content = yaml.safe_load((ROOT / "experiments/sweeps/refinement.yaml").read_text())
    command = [
        "experiments/cub/prototypes_efficientnet_lite0.yaml" if "synthetic" in word else word
        for word in content["command"]
        if "classifier_ckpt" not in word
    ]
    parameters = {"model.init_args.k": {"values": [3, 40]}}
    path = write(tmp_path / "small.yaml", command=command, parameters=parameters)
    more = [
        "--model.init_args.architecture=test_resnet",
        "--model.init_args.image_size=64",
        f"--model.init_args.classifier_ckpt={tmp_path / 'box.pth'}",
        f"--data.init_args.root={root}",
        "--data.init_args.num_workers=0",
        "--data.init_args.val_fraction=0.25",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]
    return path, ["--out", str(tmp_path / "out"), "--", *more], tmp_path / "out"


def test_the_local_runner_finishes_and_goes_on(small, monkeypatch, capfd, tmp_path):
    path, more, out = small

    def forked(words, env, check):
        """As `subprocess.run`, in a process that has imported everything."""
        assert words[:3] == [sys.executable, "-m", "ppn"]
        ((code, _),) = ddp.commands([words[3:]], tmp_path / "said")
        return subprocess.CompletedProcess(words, code)

    monkeypatch.setattr(runner, "subprocess", SimpleNamespace(run=forked))
    monkeypatch.chdir(ROOT)
    assert runner.main([str(path), "--trials", "1", *more]) == 0
    (first,) = out.glob("*/trial.json")
    made = first.stat().st_mtime_ns
    assert "(done before)" not in capfd.readouterr().out
    # The second has more prototypes than patches: it fails, and the first stays.
    assert runner.main([str(path), *more]) == 1
    told = capfd.readouterr().out
    assert told.count("(done before)") == 1
    assert first.stat().st_mtime_ns == made
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model.init_args.k"] for row in rows} == {"3", "40"}
    assert rows[-1]["model.init_args.k"] == "40"
    assert rows[-1]["val/consistency"] == ""
    figures = json.loads(Path(rows[0]["folder"], "metrics.json").read_text())
    assert figures["split"] == "val"
    assert float(rows[0]["val/consistency"]) == figures["consistency"]
    config = yaml.safe_load(Path(rows[0]["folder"], "config.yaml").read_text())
    assert config["model"]["init_args"]["k"] == 3


def test_the_best_trial_comes_first_and_failed_ones_last(tmp_path):
    for goal, order in (("maximize", [0.9, 0.5, None]), ("minimize", [0.5, 0.9, None])):
        metric = {"name": "val/accuracy", "goal": goal}
        sweep = read_sweep(write(tmp_path / "s.yaml", metric=metric))
        rows = [{"value": value} for value in (0.5, None, 0.9)]
        assert [row["value"] for row in runner.ranked(sweep, rows)] == order


@pytest.mark.slow
def test_an_agents_command_under_ddp_is_one_run_with_the_metric(small, tmp_path):
    """Two processes, as W&B's agent starts them: one run, in which the sweep finds its metric."""
    path, (_, _, _, *more), _ = small
    sweep = read_sweep(path)
    words = sweep.arguments({"model.init_args.k": 3})
    parallel = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    place = f"--trainer.default_root_dir={tmp_path / 'run'}"
    done = subprocess.run(
        [sys.executable, "-m", "ppn", *words, *more, *parallel, place],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_RUN_ID": "r1", "WANDB_SWEEP_ID": "s1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    run = read(tmp_path / "run")  # which takes exactly one
    figures = json.loads((tmp_path / "run/metrics.json").read_text())
    assert run["summary"][sweep.metric] == pytest.approx(figures["consistency"])
    assert run["exits"] == [0]

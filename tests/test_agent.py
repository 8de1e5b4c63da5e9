"""A sweep under W&B's own agent, from `make sweep`'s command to finished runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import yaml

from tests import fakes
from tests.callbacks.wandb_files import read
from tests.wandb_server import wandb_server

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_agent_runs_what_the_server_hands_out(tmp_path):
    """The server is a stand-in; registering, the agent and the runs are the real ones."""
    root = fakes.cub(tmp_path / "CUB_200_2011")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "box.pth")
    content = yaml.safe_load((ROOT / "experiments/sweeps/refinement.yaml").read_text())
    *template, args = [word for word in content["command"] if "classifier_ckpt" not in word]
    assert args == "${args}"
    # Absolute, so that the runs are below the test's folder.
    template = [str(ROOT / word) if word.endswith(".yaml") else word for word in template]
    small = [
        "--data=CUBDataModule",
        f"--data.init_args.root={root}",
        "--data.init_args.num_workers=0",
        "--data.init_args.val_fraction=0.25",
        "--model.init_args.architecture=test_resnet",
        "--model.init_args.image_size=64",
        f"--model.init_args.classifier_ckpt={tmp_path / 'box.pth'}",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({**content, "command": [*template, *small, args]}))
    name = "model.init_args.k"
    trials = [{name: 2, "model.init_args.refinement": "Equal"}, {name: 3}]
    with wandb_server(trials) as (server, address):
        account = {
            **{"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "offline"},
            **{"WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(tmp_path)},
        }
        done = subprocess.run(
            [sys.executable, str(ROOT / "experiments/sweep.py"), str(file), "--wandb"],
            env={**os.environ, **account, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert server.content["parameters"] == content["parameters"]
    assert not server.trials
    assert {"run0": True} in server.states
    found = sorted(tmp_path.glob("runs/**/metrics.json"))
    assert len(found) == len(trials)
    by_count = {}
    for path in found:
        run = read(path.parent)
        figures = json.loads(path.read_text())
        assert run["exits"] == [0]
        assert run["summary"]["val/consistency"] == pytest.approx(figures["consistency"])
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        given = config["model"]["init_args"]
        by_count[given["k"]] = given["refinement"]["class_path"]
    assert by_count == {2: "ppn.refinement.Equal", 3: "ppn.refinement.CamSplit"}

import os
import shlex
import subprocess
import sys
import sysconfig
import venv
import zipfile
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from ppn.__main__ import main
from ppn.commands.recipes import SERVER, about, available, by_name, recipes_root, resolve
from ppn.commands.short_help import ABOUT, OPTIONS
from ppn.errors import PPNError

ROOT = Path(__file__).parents[2]


def test_names_are_paths_below_experiments_and_configs():
    found = available()
    assert found["probe"] == ROOT / "experiments/probe.yaml"
    assert found["data/cub"] == ROOT / "configs/data/cub.yaml"
    assert found["cub/classifier_efficientnet_lite0"].is_file()
    assert not any("reproduce" in name or "sweeps" in name for name in found)
    assert all(about(file) for file in found.values())


def test_a_recipe_is_written_to_a_file_of_ones_own(tmp_path, capsys):
    mine = tmp_path / "mine/probe.yaml"
    assert main(["recipes", "--show", "probe", "--out", str(mine)]) == 0
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(mine), "--print_config"])
    assert "ClassificationTask" in capsys.readouterr().out
    assert main(["recipes", "--show", "serve.py", "--out", str(tmp_path / "serve.py")]) == 0
    assert (tmp_path / "serve.py").read_text() == (recipes_root() / SERVER).read_text()
    assert main(["recipes", "--out", str(mine)]) == 2
    assert "--show NAME" in capsys.readouterr().err


def test_only_what_names_a_recipe_is_replaced():
    probe, cub = (str(available()[name]) for name in ("probe", "data/cub"))
    words = ["fit", "--config", "ppn:probe", "--data=ppn:data/cub.yaml", "--data.root", "a:ppn:b"]
    expected = ["fit", "--config", probe, f"--data={cub}", "--data.root", "a:ppn:b"]
    assert resolve(words) == expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ppn:cub", r"did you mean 'ppn:data/cub'\?"),
        ("ppn:prob", r"did you mean"),
        ("ppn:x!", "`ppn recipes` lists them"),
    ],
)
def test_an_unknown_recipe_is_one_sentence(name, hint, capsys):
    with pytest.raises(PPNError, match=hint):
        resolve(["--config", name])
    assert main(["fit", "--config", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_recipe_is_listed_and_printed(capsys):
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert "ppn:probe" in listed
    assert "ppn:data/cub" in listed
    assert main(["recipes", "--show", "ppn:probe"]) == 0
    assert (ROOT / "experiments/probe.yaml").read_text() in capsys.readouterr().out


@pytest.mark.parametrize("command", ABOUT)
def test_help_is_short_and_imports_no_torch(command):
    code = (
        "import sys; from ppn.__main__ import main; "
        f"code = main(['{command}', '--help']); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) < 50
    assert "--help_all" in done.stdout


def test_every_option_of_the_short_help_exists(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help_all"])
    said = capsys.readouterr().out
    config = ["--config", "ppn:prototypes", "--print_config"]
    with pytest.raises(SystemExit):
        main(["fit", *config])
    said += capsys.readouterr().out
    missing = [o.name for o in OPTIONS if o.name.rstrip("+").split(".")[-1] not in said]
    assert not missing


def test_the_shell_is_told_commands_and_options(capsys):
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for word in ("--data.root", "--help_all", "preview", "--ckpt", "recipes"):
        assert word in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_works_in_an_empty_folder(tmp_path):
    """What `pip install ppn-...whl` gives: recipes, types, templates; the checkout is not there."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", tmp_path / "dist", ROOT], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert not (tmp_path / "site/tests").exists()
    assert not (tmp_path / "site/experiments").exists()
    assert (tmp_path / "site/ppn/py.typed").is_file()
    assert (tmp_path / "site/ppn/recipes" / SERVER).is_file()
    (tmp_path / "empty").mkdir()

    def ppn(*words):
        command = [sys.executable, "-m", "ppn", *words]
        env = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        return subprocess.run(
            command, cwd=tmp_path / "empty", env=env, capture_output=True, text=True
        )

    listed = ppn("recipes")
    missing = [name for name in available() if f"ppn:{name} " not in listed.stdout]
    assert not missing, listed.stderr
    shown = ppn(
        *("fit", "--config", "ppn:prototypes", "--model", "ppn:backbone/test_resnet"),
        *("--data", "ppn:data/folder", "--data.root", "images", "--print_config"),
    )
    assert "ImageFolderDataModule" in shown.stdout, shown.stderr
    assert "test_resnet" in shown.stdout


@pytest.mark.slow
def test_the_quick_start_runs_in_a_fresh_environment(tmp_path):
    """The wheel is installed, what it depends on is that of this environment."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", tmp_path, ROOT], check=True, capture_output=True)
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh/bin/python"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, *tmp_path.glob("*.whl")], check=True, env=clean)
    (site,) = (tmp_path / "fresh").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = tmp_path / "empty"
    for number, name in product(range(8), ("mug", "plate")):
        file = empty / f"photos/{name}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 20 + 60 * (name == "mug")).convert("RGB").save(file)

    def run(*words):
        done = subprocess.run(words, cwd=empty, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    ppn = tmp_path / "fresh/bin/ppn"
    assert "exact" in run(ppn, "check", "test_resnet")
    data = ["--data", "ppn:data/folder", "--data.root", "photos", "--data.num_workers", "0"]
    small = ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    model = ["--model", "ppn:backbone/test_resnet"]
    said = run(ppn, "fit", "--config", "ppn:finetune", *model, *data, *small)
    for _ in range(2):  # what a fit prints, until there is nothing left to fit
        words = shlex.split(next(line for line in said.splitlines() if line.startswith("  ppn ")))
        said = run(ppn, *words[1:], "--trainer.enable_progress_bar", "false")
    assert list(empty.glob("runs/prototypes/*/report/index.html"))
    (network,) = empty.glob("runs/prototypes/*/checkpoints/prototypes.ckpt")
    run(ppn, "explain", "photos/mug/0.png", "--ckpt", network)
    assert (empty / "explanations/0.png").is_file()
    assert run(python, "-c", "import ppn; print(ppn.__file__)").startswith(str(tmp_path))


def test_recipes_of_the_wheel_come_before_those_of_a_checkout(tmp_path, monkeypatch):
    from ppn.commands import recipes

    package = tmp_path / "ppn"
    (package / "commands").mkdir(parents=True)
    monkeypatch.setattr(recipes, "__file__", str(package / "commands/recipes.py"))
    assert recipes_root() == tmp_path
    (package / "recipes").mkdir()
    assert recipes_root() == package / "recipes"


def test_paths_of_recipes_are_told_by_their_names():
    words = ["--config", "ppn:benchmark/cub10", "--data=ppn:data/cub", "--seeds=[0]", "mine.yaml"]
    assert by_name(resolve(words)) == words

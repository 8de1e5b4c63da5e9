"""What docs/editing.md and docs/deployment.md show is run, on a small network."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import ppn
from ppn.__main__ import main
from tests.commands.conftest import QUIET, world  # noqa: F401 - a fixture
from tests.hub_server import StandIn, serving
from tests.test_documents import ROOT, commands

EDITING, DEPLOYMENT = (ROOT / "docs" / f"{name}.md" for name in ("editing", "deployment"))
LINES = [line for path in (EDITING, DEPLOYMENT) for line in commands(path.read_text())]


def adapted(line, run):
    """The same command for mugs and plates."""
    for ours, theirs in (
        ("runs/birds/checkpoints", f"{run}/checkpoints"),
        ("gull", "mug"),
        ("auk", "plate"),
        ("*.jpg", "*.png"),
    ):
        line = line.replace(ours, theirs)
    return line


def test_commands_run_one_after_another(world, tmp_path, monkeypatch, capsys):  # noqa: F811
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    base, _ = world
    monkeypatch.chdir(tmp_path)
    for file in sorted(base.glob("photos/*/[0-2].png")):
        for name in ("photos", "more"):
            copy = tmp_path / name / file.parent.name / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    for line in LINES:
        if line.startswith("ppn ") and "synthetic_birds" not in line:
            words = shlex.split(adapted(line, base / "run"))[1:]
            assert main(words) == 0, (line, capsys.readouterr().err)
    for path in ("birds.onnx", "birds.pt2", "explanations/index.html", "numbers/0.json"):
        assert Path(path).is_file(), path
    assert ppn.load("runs/birds-again/checkpoints/prototypes.ckpt").edits[0].parts == (1,)


def test_the_editing_example_runs(world, tmp_path, monkeypatch):  # noqa: F811
    base, _ = world
    text = adapted(EDITING.read_text(), base / "run").replace("bird.jpg", "photos/mug/1.png")
    first, second = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(base / "photos")
    from ppn.data.folder import ImageFolderDataModule

    data = ImageFolderDataModule(str(base / "photos"), num_workers=0)
    network = ppn.load(base / "run/checkpoints/prototypes.ckpt")
    data.input_config = network.input_config
    names = {"ppn": ppn, "loader": torch.utils.data.DataLoader(data.view("train"), 4)}
    exec(first, names)
    exec(second.replace('versus("plate")', "versus(1 - explanation.label)"), names)
    assert names["effect"].images > 0
    assert [edit.kind for edit in names["network"].edits] == ["scale"]
    assert (tmp_path / "versus.png").is_file()


@pytest.mark.slow
def test_the_walk_from_a_classifier_to_a_service(world, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Every command of docs/walk.md, and its Python against a stand-in of the Hub."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    hub = pytest.importorskip("huggingface_hub")
    base, _ = world
    text = (ROOT / "docs/walk.md").read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(base / "photos")
    (tmp_path / "mine.pth").symlink_to(base / "mine.pth")
    *steps, serve, ask = commands(text)
    small = ["--model.image_size=64", "--data.num_workers=0", *QUIET]
    for line in steps:
        words = shlex.split(line.replace("resnet50", "test_resnet"))[1:]
        more = small if words[0] in ("fit", "test") else []
        assert main([*words, *more]) == 0, (line, capsys.readouterr().err)
    edited = ppn.load("runs/birds-clean/checkpoints/prototypes.ckpt")
    assert edited.edits
    explainer = load_module(Path(serve.split()[1])).Explainer(Path(serve.split()[2]))
    photo = base / "photos/mug/1.png"
    answer = explainer.explain(Image.open(photo))
    mine = edited.explain(photo, answer["class"])
    assert answer["logit"] == pytest.approx(mine.logit, abs=1e-4)
    assert answer["edits"]
    assert "http://127.0.0.1:8000/" in ask
    stand_in = StandIn()
    with serving(stand_in) as address:
        monkeypatch.setattr(hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        exec(code, {"ppn": ppn})
    card = stand_in.files["README.md"].decode()
    assert edited.certificate["edits"]["what"][0] in card


def load_module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""What is exported gives what the network gives, with its edits, and is served without it."""

import io
import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import ppn
from ppn.__main__ import main
from ppn.errors import DataError, HeadError, PPNError
from ppn.export.graph import Graph
from ppn.export.write import export

pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")
NAMES = ["ant", "bee", "cat"]
SIZES = {"test_resnet": 64, "test_convnext": 64, "test_vit": 160, "test_mambaout": 160}
ROOT = Path(__file__).parents[2]


def made(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    images = torch.randn(6, 3, SIZES[name], SIZES[name])
    batches = [(images, torch.tensor([0, 1, 2, 0, 1, 2]))]
    network = ppn.from_classifier(model, batches, k=2, class_names=NAMES)
    network.remove("bee", 1)
    network.scale("cat", 2, 2.0)
    return network, images


@pytest.fixture(scope="module")
def case(request):
    """An edited network of each head case, images, and which maps its graph can hold."""
    network, images = made(request.param)
    gradient = network.classifier.inspection.case == "pre_logits"
    return network, images, "none" if gradient else "predicted"


def run(path, images):
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(images)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(out) for out in session.run(None, {"images": images.numpy()})]


# ONNX is made of the graph that "torch" saves, so one of the two is enough for each head.
@pytest.mark.parametrize(
    ("case", "kind"),
    [
        *(
            pytest.param(name, "onnx", marks=[pytest.mark.slow] * (name == "test_vit"))
            for name in SIZES
        ),
        *(
            pytest.param(name, "torch", marks=[pytest.mark.slow] * (name != "test_vit"))
            for name in SIZES
        ),
    ],
    indirect=["case"],
)
def test_the_file_gives_what_the_edited_network_gives(case, kind, tmp_path):
    network, images, maps = case
    path = tmp_path / f"network.{'onnx' if kind == 'onnx' else 'pt2'}"
    content = export(network, path, kind, maps, images)
    assert max(content["difference"].values()) < 1e-4
    assert set(content["difference"]) == {"random", "real"}
    assert content["edits"] == ["part 1 of bee removed", "part 2 of cat scaled by 2"]
    assert json.loads(path.with_suffix(".json").read_text()) == content
    with torch.no_grad():
        logits, contributions = network(images)
    for count in (1, 4, 6):
        found = dict(zip(content["outputs"], run(path, images[:count]), strict=True))
        assert torch.allclose(found["logits"], logits[:count], atol=1e-5)
        assert torch.allclose(found["contributions"], contributions[:count], atol=1e-5)
        assert bool((found["contributions"][:, 1, 0] == 0).all())
        total = found["contributions"].sum(2) + torch.tensor(content["bias"])
        assert torch.allclose(total, found["logits"], atol=1e-5)
        if maps == "predicted":
            for image, grid in zip(images[:count], found["maps"], strict=True):
                expected = network.explain(image, maps="cells").maps
                assert np.allclose(grid, np.stack(expected), atol=1e-4)


def test_maps_of_every_class_are_those_of_explanations(tmp_path):
    network, images = made("test_resnet")
    export(network, tmp_path / "all.onnx", "onnx", "all")
    maps = run(tmp_path / "all.onnx", images[:2])[2]
    assert maps.shape[:3] == (2, 3, 2)
    for label in range(3):
        assert np.allclose(maps[1, label], network.explain(images[1], label).maps, atol=1e-5)


def test_mistakes_are_one_sentence(tmp_path):
    network, _ = made("test_mambaout")
    with pytest.raises(HeadError, match="--maps_of none"):
        export(network, tmp_path / "a.onnx")
    with pytest.raises(DataError, match=r"does not end in \.onnx"):
        export(network, tmp_path / "a.pt2", maps_of="none")
    with pytest.raises(DataError, match="format is 'tflite'"):
        export(network, tmp_path / "a.onnx", "tflite")
    with pytest.raises(DataError, match="maps_of is 'some'"):
        export(network, tmp_path / "a.onnx", maps_of="some")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    network, _ = made("test_resnet")
    monkeypatch.setattr("ppn.export.write._error", lambda *_: 0.1)
    with pytest.raises(PPNError, match="was not kept"):
        export(network, tmp_path / "a.pt2", "torch")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    network, _ = made("test_resnet")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(PPNError, match=r"onnxscript: pip install 'ppn\[export\]'"):
        export(network, tmp_path / "a.onnx")


def test_the_graph_returns_what_its_outputs_name():
    network, images = made("test_resnet")
    for maps, count in (("none", 2), ("predicted", 3), ("all", 3)):
        graph = Graph(network, maps)
        assert len(graph.outputs) == len(graph(images)) == count


def test_the_example_serves_a_photo_without_this_package(tmp_path):
    """Sizes that are cut, grey pictures and an answer over HTTP, all as the network explains."""
    network, _ = made("test_resnet")
    export(network, tmp_path / "network.onnx")
    sys.path.insert(0, str(ROOT))
    from experiments.serving import serve

    explainer = serve.Explainer(tmp_path / "network.onnx")
    made_server = serve.server(explainer, 0)
    threading.Thread(target=made_server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{made_server.server_port}/"
    rng = np.random.default_rng(0)
    for mode, size in (("RGB", (90, 70)), ("RGB", (201, 333)), ("L", (64, 64)), ("RGBA", (75, 75))):
        shape = (*size[::-1], len(mode))
        picture = Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8).squeeze(), mode)
        if mode == "RGBA":
            picture.putalpha(255)
        body = io.BytesIO()
        picture.save(body, "PNG")
        request = urllib.request.Request(url, body.getvalue())
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = json.loads(answer.read())
        expected = network.explain(picture)
        assert content["class"] == expected.class_name
        assert content["logit"] == pytest.approx(expected.logit, abs=1e-4)
        assert content["probability"] == pytest.approx(expected.probability, abs=1e-4)
        given = [part["contribution"] for part in content["parts"]]
        assert given == pytest.approx(list(expected.contributions), abs=1e-4)
        assert content["edits"] == ["part 1 of bee removed", "part 2 of cat scaled by 2"]
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(url, b"no image"), timeout=30)
    made_server.shutdown()
    code = "import sys, experiments.serving.serve; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"ppn", "torch", "timm"} & set(ran.stdout.split())


def test_the_command_exports_a_checkpoint(tmp_path, capsys):
    assert (
        main(["export", "--ckpt", str(tmp_path / "no.ckpt"), "--out", str(tmp_path / "a.onnx")])
        == 2
    )
    assert "does not exist" in capsys.readouterr().err

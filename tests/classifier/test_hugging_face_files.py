"""A classifier of transformers and its processor go in by folder, and come out again."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import ppn
from ppn.__main__ import main
from ppn.errors import CheckpointError
from tests.commands.conftest import QUIET
from tests.prototypes.test_hub import server  # noqa: F401 - a fixture

transformers = pytest.importorskip("transformers")
NAMES = ["mug", "plate"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ResNet of one stage, its processor, and photos, with nothing of a network."""
    base = tmp_path_factory.mktemp("hf")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        depths=[1, 1], hidden_sizes=[8, 16], embedding_size=8, layer_type="basic",
        id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)},
    )  # fmt: skip
    transformers.ResNetForImageClassification(config).eval().save_pretrained(base / "model")
    processor = transformers.ConvNextImageProcessor(
        size={"shortest_edge": 64}, crop_pct=0.8, image_mean=[0.4] * 3, image_std=[0.3] * 3
    )
    processor.save_pretrained(base / "model")
    rng = np.random.default_rng(0)
    for name in NAMES:
        (base / "photos" / name).mkdir(parents=True)
        for n in range(4):
            pixels = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(base / f"photos/{name}/{n}.png")
    return base


def batches(folder):
    processor = transformers.AutoImageProcessor.from_pretrained(folder / "model")
    files = sorted((folder / "photos").rglob("*.png"))
    images = [processor(Image.open(f), return_tensors="pt")["pixel_values"][0] for f in files]
    labels = [int(file.parent.name == "plate") for file in files]
    return DataLoader(list(zip(images, labels, strict=True)), 4)


def test_a_folder_goes_in_and_the_network_comes_out_with_its_processor(folder, tmp_path):
    network = ppn.from_classifier(f"hf:{folder / 'model'}", batches(folder), k=2)
    assert network.class_names == NAMES
    assert network.input_config.mean == (0.4, 0.4, 0.4)
    photo = folder / "photos/mug/1.png"
    mine = network.explain(photo)
    model = transformers.AutoModelForImageClassification.from_pretrained(folder / "model").eval()
    with torch.no_grad():
        logits = model(batches(folder).dataset[1][0][None]).logits[0]
    assert mine.logit == pytest.approx(float(logits[mine.label]), abs=1e-5)
    assert mine.adds_up
    network.save(tmp_path, classifier=True)
    again = ppn.load(tmp_path)
    assert again.explain(photo).contributions == mine.contributions
    kept = json.loads((tmp_path / "prototypes.json").read_text())
    assert kept["classifier"]["architecture"] == "hf:model"
    assert str(folder) not in (tmp_path / "prototypes.json").read_text()
    assert kept["settings"]["processor"]["crop_pct"] == 0.8


def test_a_name_goes_in_and_a_network_is_shared(folder, server, tmp_path):  # noqa: F811
    """The model's own repository is gone when the network is loaded, from another name."""
    server.private = False
    server.files = {file.name: file.read_bytes() for file in (folder / "model").iterdir()}
    network = ppn.from_classifier("hf:me/mugs", batches(folder), k=2)
    network.remove("mug", 2)
    server.files = {}
    network.push_to_hub("me/mug-parts", token="hf_x")
    shutil.rmtree(tmp_path / "cache")
    endings = {name.rsplit(".", 1)[1] for name in server.files}
    assert endings == {"json", "safetensors", "jpg", "md"}
    assert "A classifier (hf:me/mugs) of 2 classes" in server.files["README.md"].decode()
    again = ppn.load("hf://me/mug-parts")
    model = again.classifier.model
    assert type(model) is transformers.ResNetForImageClassification
    assert model.config.id2label == dict(enumerate(NAMES))
    assert again.preprocessing.transform.to_dict() == network.preprocessing.transform.to_dict()
    for photo in (folder / "photos").rglob("1.png"):
        mine, theirs = network.explain(photo), again.explain(photo)
        assert theirs.to_dict() == mine.to_dict()
        assert np.array_equal(theirs.maps, mine.maps)


def test_the_command_line_takes_the_folder(folder, tmp_path, capsys):
    assert main(["check", f"hf:{folder / 'model'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["level"]
    fit = [
        *("fit", "--model=PrototypeTask", f"--model.classifier_ckpt=hf:{folder / 'model'}"),
        *("--model.k=2", "--model.image_size=64", "--data=ImageFolderDataModule"),
        *(f"--data.root={folder / 'photos'}", "--data.num_workers=0", "--trainer.max_epochs=0"),
        *("--trainer.callbacks=PrototypeDiscovery", f"--trainer.default_root_dir={tmp_path}"),
        *QUIET,
    ]
    assert main(fit) == 0
    network = ppn.load(tmp_path / "checkpoints/prototypes.ckpt")
    assert network.class_names == NAMES
    assert network.explain(folder / "photos/mug/1.png").adds_up


def test_what_is_no_classifier_is_one_sentence(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "none"}')
    assert main(["check", f"hf:{tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "transformers cannot make the image classifier" in error
    assert error.count("\n") == 1
    with pytest.raises(CheckpointError, match="a folder with config"):
        ppn.from_classifier(f"hf:{tmp_path}", [])


@pytest.mark.parametrize("stretched", [True, False])
def test_what_serves_a_graph_prepares_images_as_the_processor_does(folder, stretched):
    pytest.importorskip("onnxruntime")
    from experiments.serving.serve import Explainer
    from ppn.export.graph import Graph
    from ppn.export.write import description

    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64}, resample=2)
    if not stretched:
        processor = transformers.AutoImageProcessor.from_pretrained(folder / "model")
    model = transformers.AutoModelForImageClassification.from_pretrained(folder / "model").eval()
    network = ppn.from_classifier(model, batches(folder), k=2, transform=processor)
    serving = Explainer.__new__(Explainer)  # without a graph
    serving.about = json.loads(json.dumps(description(network, Graph(network), "onnx", "x", {})))
    picture = Image.open(folder / "photos/mug/1.png")
    wanted = processor(picture, return_tensors="np")["pixel_values"]
    assert np.abs(serving.prepare(picture) - wanted).mean() < 0.02

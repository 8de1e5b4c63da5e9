"""Sharing: whole folders, the card, and the Hub's own library against a stand-in."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

import ppn
from ppn.errors import CheckpointError, DataError
from ppn.prototypes.card import model_card, read_metrics
from tests.hub_server import StandIn, serving
from tests.prototypes.test_from_classifier import Named, Plain

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    network = ppn.from_classifier(model, DataLoader(Named(), batch_size=5), k=2)
    network.remove("bee", 2)
    return network


@pytest.fixture
def server(monkeypatch, tmp_path):
    stand_in = StandIn()
    with serving(stand_in) as address:
        constants = hub.constants
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield stand_in


def same(ours, theirs):
    images = torch.stack(Named().images[:3])
    with torch.no_grad():
        for one, other in zip(ours(images), theirs(images), strict=True):
            assert torch.equal(one, other)
    assert ours.edits == theirs.edits
    assert ours.class_names == theirs.class_names


def test_a_network_is_pushed_and_loaded_by_its_name(network, server):
    network.push_to_hub("me/birds", token="hf_x")
    assert server.private is True
    names = set(server.files)
    assert {"prototypes.json", "prototypes.safetensors", "classifier.safetensors"} < names
    assert {name.rsplit(".", 1)[1] for name in names} == {"json", "safetensors", "jpg", "md"}
    again = ppn.load("hf://me/birds")
    same(again, network)
    assert again.patch(0, 0) is not None
    card = server.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: ppn")
    assert 'ppn.load("hf://me/birds")' in card
    assert "part 2 of bee removed" in card


def test_what_is_not_there_is_one_sentence(network, server):
    with pytest.raises(CheckpointError, match="hf://me/none cannot be fetched") as caught:
        ppn.load("hf://me/none")
    assert "\n" not in str(caught.value)


def test_a_folder_with_its_classifier_is_a_whole_network(network, tmp_path):
    network.save(tmp_path, classifier=True)
    same(ppn.load(tmp_path), network)
    same(ppn.load(tmp_path, model=network.classifier.model), network)
    weights = load_file(tmp_path / "classifier.safetensors")
    assert set(weights) == set(network.classifier.model.state_dict())


def test_a_classifier_of_ones_own_stays_with_its_owner(server, tmp_path):
    torch.manual_seed(0)
    model = Plain().eval()
    network = ppn.from_classifier(model, DataLoader(Named(), batch_size=5), k=2)
    with pytest.raises(
        DataError, match="not one that timm, torchvision or transformers make by name"
    ):
        network.push_to_hub("me/birds")
    network.push_to_hub("me/birds", classifier=False)
    assert "classifier.safetensors" not in server.files
    assert "model=model" in server.files["README.md"].decode()
    same(ppn.load("hf://me/birds", model=model), network)


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ({"architecture": "os:system"}, "it names 'os:system'"),
        ({"architecture": "hf-hub:evil/model"}, "it names 'hf-hub:evil/model'"),
        ({"model_options": {"checkpoint_path": "elsewhere/x.pth"}}, "it names 'test_resnet'"),
        ({"model_options": {"pretrained_cfg": "x"}}, "it names 'test_resnet'"),
        ({"architecture": "test_vit"}, "does not fit"),
        ({"architecture": None}, "it names 'None'"),
    ],
)
def test_nothing_of_a_folder_runs(network, tmp_path, structure, message):
    path = network.save(tmp_path, classifier=True) / "prototypes.json"
    content = json.loads(path.read_text())
    content["classifier"].update(structure)
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message) as caught:
        ppn.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_damaged_weights_are_one_sentence(network, tmp_path, kept):
    path = network.save(tmp_path, classifier=True) / "classifier.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="cannot be made"):
        ppn.load(tmp_path)


def test_the_card_shows_what_was_measured_beside_floors(network, tmp_path):
    consistency = {"title": "Consistency", "unit": "%", "higher_is_better": True}
    metrics = {
        "split": "test", "images": 10, "accuracy": 0.8, "blackbox_accuracy": 0.9,
        "agreement": 0.9, "refinement": "cam_split", "metrics": {"consistency": consistency},
        "explainers": {
            "cam_split": {"kind": "method", "title": "cam_split", "consistency": 61.5},
            "random": {"kind": "floor", "title": "chance: random", "consistency": 1.5},
        },
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    config = "data: {class_path: ppn.data.synthetic.SyntheticBirdsDataModule}"
    (tmp_path / "config.yaml").write_text(config)
    card = model_card(network, "me/birds", True, read_metrics(tmp_path / "metrics.json"))
    assert (
        "On 10 images of SyntheticBirds (test split): accuracy 80.00%, of the classifier as it"
        in card
    )
    assert "| **cam_split (method), this network** | 61.5 |" in card
    assert "The certificate is of the network as it was found, before." in card
    assert "| maps | Consistency % ↑ |" in card
    assert "| chance: random (floor) | 1.50 |" in card
    assert network.exactness in card
    assert "Nothing was measured" in model_card(network, "me/birds", True)
    with pytest.raises(DataError, match="of an evaluation"):
        read_metrics(tmp_path / "none.json")


def test_the_missing_package_is_named_with_its_command(network, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"pip install 'ppn\[hub\]'"):
        network.push_to_hub("me/birds")

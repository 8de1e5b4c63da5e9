"""Prototypes on disk: what is written is read, and nothing else is."""

import hashlib
import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save
from torch.utils.data import DataLoader

import ppn
from ppn.errors import CheckpointError
from ppn.prototypes.files import DESCRIPTION, TENSORS, read_prototypes
from tests.prototypes.test_from_classifier import NAMES, Named

K = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A classifier, its network, and the folder that it was saved in."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    network = ppn.from_classifier(model, DataLoader(Named(), batch_size=5), k=K)
    return model, network, network.save(tmp_path_factory.mktemp("files") / "prototypes")


@pytest.fixture
def copy(world, tmp_path):
    """A copy of the files that may be damaged."""
    for name in (DESCRIPTION, TENSORS):
        (tmp_path / name).write_bytes((world[2] / name).read_bytes())
    return tmp_path


def rewrite(folder, edit=lambda content: None, change=lambda tensors: None):
    """Write a pair again that belongs together, with something changed."""
    content = json.loads((folder / DESCRIPTION).read_text())
    tensors = load_file(folder / TENSORS)
    change(tensors)
    data = save(tensors)
    (folder / TENSORS).write_bytes(data)
    content["tensors"]["sha256"] = hashlib.sha256(data).hexdigest()
    edit(content)
    (folder / DESCRIPTION).write_text(json.dumps(content))


def refused(folder, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read_prototypes(folder)
    assert "\n" not in str(caught.value)


def test_a_saved_network_explains_as_before(world):
    model, network, folder = world
    again = ppn.load(folder, model=model)
    image = Named().images[4]
    ours, theirs = again.explain(image).to_dict(), network.explain(image).to_dict()
    for found in (ours, theirs):  # the gallery has patches cut out, with boxes of their own
        for prototype in found["prototypes"]:
            prototype["nearest_patch"].pop("box")
    assert ours == theirs
    assert again.class_names == NAMES
    assert again.certificate == network.certificate


def test_saving_twice_writes_the_same_bytes(world, tmp_path):
    model, _, folder = world
    again = ppn.load(folder, model=model).save(tmp_path)
    for name in (DESCRIPTION, TENSORS):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_the_description_says_what_a_reader_needs(world):
    content = json.loads((world[2] / DESCRIPTION).read_text())
    assert (content["format"], content["format_version"]) == ("ppn prototypes", 2)
    assert content["settings"]["discoverer"]["name"] == "nmf"
    assert content["classifier"]["input"]["size"] == [64, 64]
    first = content["classes"][1]
    assert (first["name"], first["images"]) == ("bee", 4)
    assert first["prototypes"][0][0]["image"].startswith("training image ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fc.weight", "do not sum to the rows"),
        ("fc.bias", "bias differs"),
        ("layer1.0.conv1.weight", "weights differ"),
    ],
)
def test_another_classifier_is_refused(world, name, message):
    other = timm.create_model("test_resnet", num_classes=3).eval()
    state = world[0].state_dict()
    other.load_state_dict({**state, name: state[name] * 1.001})
    with pytest.raises(CheckpointError, match=f"another classifier .*{message}"):
        ppn.load(world[2], model=other)


def test_a_classifier_of_other_classes_is_refused(world):
    other = timm.create_model("test_resnet", num_classes=4)
    with pytest.raises(CheckpointError, match=r"another classifier \(one of 3 classes"):
        ppn.load(world[2], model=other)


def test_precision_does_not_make_another_classifier(world):
    double = timm.create_model("test_resnet", num_classes=3)
    double.load_state_dict(world[0].state_dict())
    stored = read_prototypes(world[2])
    weight, bias = world[1].classifier.effective_head()
    stored.expect_classifier(world[2], double.double(), weight, bias)


@pytest.mark.parametrize("name", [DESCRIPTION, TENSORS])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    refused(copy, name)


@pytest.mark.parametrize("kept", [0, 1, 7, 100, -1])
@pytest.mark.parametrize("name", [DESCRIPTION, TENSORS])
def test_a_truncated_file_is_one_sentence(copy, name, kept):
    content = (copy / name).read_bytes().rstrip()
    (copy / name).write_bytes(content[:kept])
    refused(copy, name)


def test_files_of_two_runs_do_not_mix(world, copy):
    network = ppn.from_classifier(world[0], DataLoader(Named(15), batch_size=5), k=K)
    other = network.save(copy / "other")
    (copy / TENSORS).write_bytes((other / TENSORS).read_bytes())
    refused(copy, "written with another")


def put(key, value):
    def edit(content):
        *path, last = (int(step) if step.isdigit() else step for step in key.split("/"))
        for step in path:
            content = content[step]
        content[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("format", "other"), "its format is 'other' 2, but this version of ppn reads"),
        (put("format_version", 1), "reads 'ppn prototypes' 2"),
        (put("format_version", True), "format_version: expected `int`, got `bool`"),
        (put("classes", []), "are not those of"),
        (put("classes", {}), "classes: expected `array`, got `object`"),
        (put("classes/1/name", 7), r"classes\[1\]\.name: expected `str`, got `int`"),
        (put("classes/1/label", 0), "labels do not count"),
        (put("classes/0/prototypes/1", []), "are not those of"),
        (put("classes/0/name", "\ud800"), "surrogates not allowed"),
        (put("classifier/input/size", [64]), "classifier.input"),
        (put("classifier/input/crop_pct", 1e-9), "classifier.input"),
        (put("classifier/input/std", [0, 1, 1]), "classifier.input"),
        (put("classifier/weights", None), "classifier.weights: expected `str`, got `null`"),
        (put("refinement", "magic"), "refinement: expected `object`, got `str`"),
        (put("tensors", []), "tensors: expected `object`, got `array`"),
    ],
)
def test_a_description_of_another_shape_is_refused(copy, edit, message):
    rewrite(copy, edit=edit)
    refused(copy, message)


def test_a_description_nested_without_end_is_refused(copy):
    (copy / DESCRIPTION).write_text("[" * 100_000)
    refused(copy, "nested too deeply")


def change(name, index, value):
    def edit(tensors):
        tensors[name][index] = value

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("prototypes", (0, 0, 0), float("nan")), "prototypes has values that are not"),
        (change("patch_score", (0, 0, 0), float("inf")), "patch_score has values that are not"),
        (change("prototypes", (0, 0, 0), 5.0), "do not sum to the rows"),
        (change("found", 1, 2), "no classes with prototypes"),
        (change("patch_index", (0, 0, 0), -1), "no images"),
        (lambda t: t.pop("bias"), "lacks 'bias'"),
        (lambda t: t.update(more=torch.zeros(1)), "unexpected 'more'"),
        (lambda t: t.update(bias=torch.zeros(3).double()), r"float64 \(3,\) instead of float32"),
        (lambda t: t.update(prototypes=torch.zeros(3, 2)), "lacks prototypes"),
        (lambda t: t.update(prototypes=torch.zeros(3, 0, 4)), "lacks prototypes"),
    ],
)
def test_tensors_of_another_kind_are_refused(copy, damage, message):
    rewrite(copy, change=damage)
    refused(copy, message)


def test_a_folder_needs_its_classifier_and_a_checkpoint_brings_it(world, tmp_path):
    with pytest.raises(CheckpointError, match="is a folder: give"):
        ppn.load(world[2])
    with pytest.raises(CheckpointError, match="is not a folder: give"):
        ppn.load(tmp_path / "x.ckpt", model=world[0])

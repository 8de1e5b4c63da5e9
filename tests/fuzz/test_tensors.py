"""Prototype files, journals, checkpoints and weights."""

import hashlib
import io
import json

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import _SIZE, save
from torch.utils.data import DataLoader

import ppn
from ppn.classifier.record import read_record
from ppn.classifier.weights import read_checkpoint, state_dict_of
from ppn.discovery import NamedParts
from ppn.explainers.protopnet import read_protopnet
from ppn.io.tensors import parse_tensors
from ppn.prototypes.certificate import CertificateSample
from ppn.prototypes.checkpoint import load_checkpoint
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.files import DESCRIPTION, TENSORS, read_prototypes
from ppn.prototypes.head import PrototypeHead
from ppn.prototypes.journal import Journal
from ppn.prototypes.looks import Looks
from ppn.prototypes.stored import TOLERANCE
from ppn.tasks.protopnet import ProtoPNetTask
from ppn.tasks.prototypes import PrototypeTask
from tests.fuzz.damage import PLAIN, damaged, outcome, rewritten
from tests.prototypes.test_from_classifier import Named

CLASSES, K = 3, 2


@pytest.fixture(scope="module", params=["without names", "named"])
def pair(tmp_path_factory, request):
    """A pair of prototype files."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=CLASSES).eval()
    discoverer = None
    if request.param == "named":
        discoverer = NamedParts()
        discoverer.annotate([0, 4], torch.full((2, 1, 3), 9.0), ["square"], (64, 64))
    loader = DataLoader(Named(), batch_size=5)
    network = ppn.from_classifier(model, loader, k=K, discoverer=discoverer)
    folder = network.save(tmp_path_factory.mktemp("pair"))
    return folder, (folder / DESCRIPTION).read_bytes(), (folder / TENSORS).read_bytes()


def read_pair(folder):
    found = outcome(lambda: read_prototypes(folder), folder / DESCRIPTION)
    if found is not None:
        assert found.inexactness <= TOLERANCE
        assert len(found.class_names) == len(found.images) == found.shape[0]
        assert all(isinstance(name, str) for name in found.class_names)
        found.fill(PrototypeHead(*found.shape[:3]), PartDictionary(*found.shape))
        assert len(found.part_names) in (0, found.shape[1])
        assert all(isinstance(name, str) and name.strip() for name in found.part_names)
    return found


@given(data=st.data())
def test_damaged_prototype_files(pair, data):
    folder, description, tensors = pair
    described = data.draw(st.booleans())
    if described:
        description = data.draw(damaged(description))
    else:
        tensors = data.draw(damaged(tensors))
    (folder / DESCRIPTION).write_bytes(description)
    (folder / TENSORS).write_bytes(tensors)
    assert read_pair(folder) is None or described or tensors == pair[2]


@given(data=st.data())
def test_prototype_files_that_someone_made_up(pair, data):
    """Both files are changed, and the one holds the other's hash."""
    folder, description, whole = pair
    content = data.draw(rewritten(json.loads(description)))
    tensors = data.draw(st.just(whole) | damaged(whole))
    if isinstance(content.get("tensors"), dict):
        content["tensors"]["sha256"] = hashlib.sha256(tensors).hexdigest()
    (folder / DESCRIPTION).write_text(json.dumps(content))
    (folder / TENSORS).write_bytes(tensors)
    read_pair(folder)


COMPLEX = [torch.complex64] if torch.complex64 in _SIZE else []
"""Older safetensors do not write complex numbers."""
NUMBERS = st.sampled_from([0.0, -1.0, 1e30, float("nan"), float("inf"), -float("inf")])


@given(data=st.data())
def test_prototype_tensors_of_any_value_type_and_shape(pair, data):
    folder, description, whole = pair
    tensors = parse_tensors(whole)
    name = data.draw(st.sampled_from(sorted(tensors)))
    kind = data.draw(st.sampled_from(["value", "type", "shape", "lost"]))
    if kind == "value":
        flat = tensors[name].flatten()
        value = data.draw(NUMBERS if flat.is_floating_point() else st.integers(-(2**62), 2**62))
        flat[data.draw(st.integers(0, len(flat) - 1))] = value
    elif kind == "type":
        types = [torch.float64, torch.float16, torch.int8, torch.bool, *COMPLEX]
        tensors[name] = tensors[name].to(data.draw(st.sampled_from(types)))
    elif kind == "shape":
        sizes = data.draw(st.lists(st.integers(0, 3), max_size=4))
        tensors[name] = torch.zeros(sizes, dtype=tensors[name].dtype)
    else:
        del tensors[name]
    content = json.loads(description)
    written = save(tensors)
    content["tensors"]["sha256"] = hashlib.sha256(written).hexdigest()
    (folder / DESCRIPTION).write_text(json.dumps(content))
    (folder / TENSORS).write_bytes(written)
    read_pair(folder)


def test_an_unknown_type_is_refused():
    header = json.dumps({"a": {"dtype": "F8_E8M0", "shape": [1], "data_offsets": [0, 1]}}).encode()
    with pytest.raises(ValueError, match="not a safetensors file"):
        parse_tensors(len(header).to_bytes(8, "little") + header + b"\0")


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """A journal of one class, and what it filled."""
    torch.manual_seed(0)
    modules = (
        {"cam_split": PrototypeHead(2, 2, 3, "cam_split")},
        PartDictionary(2, 2, 3, 1),
        CertificateSample(2, 3, 4),
        Looks(2, 2),
    )
    modules[0]["cam_split"].prototypes.normal_()
    kept = Journal(tmp_path_factory.mktemp("journal"), "key", *modules)
    kept.write([1])
    (file,) = kept.folder.iterdir()
    return kept, modules, file, file.read_bytes()


@given(data=st.data())
def test_a_damaged_journal_is_none(journal, data):
    kept, modules, file, whole = journal
    file.write_bytes(data.draw(damaged(whole)))
    head, *filled = modules
    buffers = [*head["cam_split"].buffers(), *(b for one in filled for b in one.buffers())]
    before = [buffer.clone() for buffer in buffers]
    if kept.restore([1]):
        # A changed number cannot be told from a true one, but what is none is not let in.
        assert all(bool(torch.isfinite(b).all()) for b in buffers if b.is_floating_point())
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
    else:
        assert all(map(torch.equal, buffers, before))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of a network that is only made, and its bytes in both formats."""
    torch.manual_seed(0)
    base = tmp_path_factory.mktemp("checkpoint")
    model = timm.create_model("test_resnet", num_classes=CLASSES)
    torch.save(model.state_dict(), base / "weights.pth")
    network = PrototypeTask(CLASSES, str(base / "weights.pth"), "test_resnet", 64)
    content = {"state_dict": network.state_dict()}
    network.on_save_checkpoint(content)
    file = io.BytesIO()
    torch.save({**content, "state_dict": {"w": torch.ones(3)}}, file)
    return base, content, file.getvalue(), save({"w": torch.ones(3), "v": torch.zeros(2, 2)})


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@given(data=st.data())
def test_damaged_checkpoints(checkpoint, suffix, data):
    base, _, pickled, plain = checkpoint
    path = base / f"damaged{suffix}"
    path.write_bytes(data.draw(damaged(pickled if suffix == ".ckpt" else plain)))
    content = outcome(lambda: read_checkpoint(path), path)
    if content is not None:
        assert all(map(torch.is_tensor, state_dict_of(content).values()))
        outcome(lambda: read_record(path, content), path)


@settings(
    max_examples=max(10, settings.default.max_examples // 10)
)  # each that is whole makes a network
@given(data=st.data())
def test_records_that_someone_made_up(checkpoint, data):
    base, whole, *_ = checkpoint
    path = base / "made_up.ckpt"
    plain = {key: value for key, value in whole.items() if key != "state_dict"}
    made_up = data.draw(rewritten(plain))
    state = data.draw(st.sampled_from([whole["state_dict"], {}, [], None, {"w": 1}]))
    torch.save({**made_up, "state_dict": state}, path)
    network = outcome(lambda: load_checkpoint(str(path)), path, "timm cannot make")
    if network is not None:
        assert all(isinstance(name, str) for name in network.class_names)
        assert len(network.class_names) == CLASSES


@pytest.fixture(scope="module")
def protopnet(tmp_path_factory):
    """What the checkpoint of a ProtoPNet that is only made holds."""
    base = tmp_path_factory.mktemp("protopnet")
    task = ProtoPNetTask(CLASSES, architecture="test_resnet", image_size=64, k=K, width=4)
    content = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(content)
    return base / "made_up.ckpt", content


@settings(max_examples=max(10, settings.default.max_examples // 10))
@given(data=st.data())
def test_protopnets_that_someone_made_up(protopnet, data):
    path, whole = protopnet
    plain = {key: value for key, value in whole.items() if key != "state_dict"}
    made_up = data.draw(rewritten(plain))
    state = data.draw(st.sampled_from([whole["state_dict"], {}, [], None, {"w": 1}]))
    torch.save({**made_up, "state_dict": state}, path)
    network = outcome(lambda: read_protopnet(str(path)), path)
    assert network is None or network.prototypes.shape == (CLASSES, K, 4)


@given(PLAIN)
def test_containers_of_anything(value):
    for key in ("state_dict", "model", "ema", 0):
        state_dict_of({key: value})


def test_a_state_dict_inside_of_itself_ends():
    content = {}
    content["model"] = content
    assert state_dict_of(content) == {}

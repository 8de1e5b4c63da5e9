"""Edits in closed form: what they change, what files carry, and how they are undone."""

import copy
import json
import pickle

import pytest
import timm
import torch
from torch.utils.data import DataLoader

import ppn
from ppn.errors import CheckpointError, DataError
from ppn.prototypes.editing import Edit
from tests.prototypes.test_from_classifier import NAMES, Named

SIZES = {"test_resnet": 64, "test_convnext": 64, "test_vit": 160, "test_mambaout": 160}


@pytest.fixture(scope="module", params=SIZES)
def case(request):
    """A classifier of each head case with its network, and images."""
    torch.manual_seed(0)
    size = SIZES[request.param]
    model = timm.create_model(request.param, num_classes=3).eval()
    images = torch.randn(6, 3, size, size)
    batches = [(images, torch.tensor([0, 1, 2, 0, 1, 2]))]
    return model, ppn.from_classifier(model, batches, k=3, class_names=NAMES), images


@pytest.fixture
def edited(case):
    """The same, whose edits are taken back afterwards."""
    yield case
    case[1].restore()


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    return ppn.from_classifier(model, DataLoader(Named(), batch_size=5), k=3)


def outputs(network, images):
    with torch.no_grad():
        return network(images)


def test_an_edit_changes_each_logit_by_exactly_what_was_said(edited):
    _, network, images = edited
    logits, contributions = outputs(network, images)
    network.remove("bee", 2)
    network.scale(2, 1, 1.5)
    now, parts = outputs(network, images)
    said = torch.zeros_like(logits)
    said[:, 1] = -contributions[:, 1, 1]
    said[:, 2] = 0.5 * contributions[:, 2, 0]
    scale = contributions.abs().max()
    assert torch.allclose(now, logits + said, atol=float(1e-6 * scale))
    assert not torch.allclose(now, logits, atol=float(1e-6 * scale))
    assert bool((parts[:, 1, 1] == 0).all())
    change = network.head.change(network.tokens(images))
    assert torch.allclose(change, said, atol=float(1e-6 * scale))


def test_without_all_parts_the_bias_remains(edited):
    _, network, images = edited
    network.remove("ant", 1, 2, 3)
    logits, contributions = outputs(network, images)
    assert torch.equal(logits[:, 0], network.head.bias[0].expand(6))
    assert bool((contributions[:, 0] == 0).all())


def test_merging_changes_no_logit(edited):
    _, network, images = edited
    logits, contributions = outputs(network, images)
    network.merge("ant", 1, 3)
    now, parts = outputs(network, images)
    assert torch.allclose(now, logits, atol=1e-5)
    assert torch.allclose(
        parts[:, 0, 0], contributions[:, 0, 0] + contributions[:, 0, 2], atol=1e-5
    )
    assert bool((parts[:, 0, 2] == 0).all())
    assert network.is_black_box
    assert network.certificate["edits"]["max_row_change"] < 1e-6


def test_edits_are_undone_to_the_bit(edited):
    _, network, _ = edited
    before, certificate = network.head.prototypes.clone(), dict(network.certificate)
    network.remove("ant", 1)
    network.scale("bee", "Part 2", 3.0)
    network.merge("bee", 2, 1)
    assert network.undo() == Edit("merge", 1, (1, 0))
    network.restore("ant")
    assert torch.equal(network.head.prototypes[0], before[0])
    assert [edit.kind for edit in network.edits] == ["scale"]
    network.restore("bee", 1)  # which no edit touches
    assert len(network.edits) == 1
    network.restore("bee", 2)
    assert torch.equal(network.head.prototypes, before)
    assert network.certificate == certificate
    assert network.undo() is None


def test_explanations_are_of_the_edited_network(edited):
    model, network, images = edited
    network.remove("bee", 2)
    with torch.no_grad():
        blackbox = float(model(images[:1])[0, 1])
    found = network.explain(images[0], "bee")
    assert found.contributions[1] == 0
    assert found.adds_up
    assert found.logit == pytest.approx(float(outputs(network, images[:1]).logits[0, 1]), abs=1e-5)
    assert found.logit - found.change == pytest.approx(blackbox, abs=1e-5)
    assert found.notes[0].startswith("Edited: part 2 of bee removed. The black box's own logit is ")
    assert "edited network's logit" in found.check
    assert found.to_dict()["edits"] == ["part 2 of bee removed"]
    assert network.explain(images[0], "ant").edits == ()
    assert all(map_.any() == (part != 1) for part, map_ in enumerate(found.maps))


def test_the_certificate_says_that_this_is_no_longer_the_black_box(network):
    network.remove("bee", 1)
    said = network.certificate["edits"]
    assert said["what"] == ["part 1 of bee removed"]
    assert said["is_black_box"] is False
    assert said["max_row_change"] > 1e-3


def test_folders_carry_edits_and_what_was_before(network, tmp_path):
    images, model = torch.stack(Named().images[:4]), network.classifier.model
    before = outputs(network, images)
    network.remove("bee", 2)
    network.merge("ant", 1, 3)
    now = outputs(network, images)
    again = ppn.load(network.save(tmp_path), model=model)
    assert again.edits == network.edits
    assert again.certificate == network.certificate
    for ours, theirs in zip(outputs(again, images), now, strict=True):
        assert torch.equal(ours, theirs)
    content = json.loads((tmp_path / "prototypes.json").read_text())
    assert content["format_version"] == 3
    assert content["edits"][0] == {
        "edit": "remove", "label": 1, "prototypes": [2], "factor": 1.0,
    }  # fmt: skip
    again.restore()
    for ours, theirs in zip(outputs(again, images), before, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "given",
    [
        {"edit": "paint"},
        {"label": 3},
        {"prototypes": [4]},
        {"prototypes": [0]},
        {"prototypes": [1, 1]},
        {"prototypes": []},
        {"edit": "merge"},
        {"factor": 1e9},
        {"factor": "2"},
    ],
)
def test_edits_of_what_is_not_there_are_refused(network, tmp_path, given):
    network.remove("bee", 2)
    path = network.save(tmp_path) / "prototypes.json"
    content = json.loads(path.read_text())
    content["edits"][0].update(given)
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="edits") as caught:
        ppn.load(tmp_path, model=network.classifier.model)
    assert "\n" not in str(caught.value)


def test_a_version_without_edits_does_not_hide_them(network, tmp_path):
    network.remove("bee", 2)
    path = network.save(tmp_path) / "prototypes.json"
    path.write_text(path.read_text().replace('"format_version": 3', '"format_version": 2'))
    with pytest.raises(CheckpointError, match="reads 'ppn prototypes' 3"):
        ppn.load(tmp_path, model=network.classifier.model)


def test_copies_and_pickles_carry_edits_of_their_own(network):
    network.patches = None
    network.remove("bee", 2)
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert again.edits == network.edits
        again.restore()
        assert torch.equal(again.head.prototypes, network.head.unedited())
    assert len(network.edits) == 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda n: n.remove("bee", 0), "part is 0, but must be a whole number of at least 1"),
        (lambda n: n.remove("bee", 4), "a class has parts 1 to 3"),
        (lambda n: n.remove("bee"), "name one, from 1"),
        (lambda n: n.remove("wasp", 1), "There is no class 'wasp'"),
        (lambda n: n.remove("bee", "wing"), "part is 'wing'"),
        (lambda n: (n.remove("bee", 1), n.remove("bee", 1)), "carries nothing any more"),
        (lambda n: n.scale("bee", 1, float("nan")), "factor is nan"),
        (lambda n: n.merge("bee", 1), "at least two parts"),
        (lambda n: n.merge("bee", 1, 1), "name two"),
        (lambda n: n.restore("bee", 7), "parts 1 to 3"),
    ],
)
def test_mistakes_are_one_sentence(network, edit, message):
    with pytest.raises(DataError, match=message):
        edit(network)


def test_effects_come_from_what_was_cached(network):
    data = Named()
    images, labels = torch.stack(data.images), torch.tensor(data.labels)
    cached = network.cache(DataLoader(data, batch_size=5))
    edits = [Edit("remove", 1, (0, 1)), Edit("scale", 0, (2,), -4.0)]
    tried = cached.effect(network, edits)
    assert network.edits == ()
    network.edit(edits)
    assert cached.effect(network) == tried
    logits = outputs(network, images).logits
    blackbox = network.classifier.classify(images).detach()
    assert tried.images == len(images)
    assert tried.accuracy[1] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    before = blackbox.argmax(1)
    assert tried.accuracy[0] == pytest.approx(float((before == labels).double().mean()))
    assert tried.changed == int((before != logits.argmax(1)).sum())
    assert tried.edits[0] == "part 1, part 2 of bee removed"
    said = next(item for item in tried.classes if item.name == "bee")
    change = logits[:, 1] - blackbox[:, 1]
    assert said.logit_change == pytest.approx(float(change.mean()), abs=1e-5)
    assert said.own_change == pytest.approx(float(change[labels == 1].mean()), abs=1e-5)
    wrong = sum(item.after - item.before for item in tried.confusions)
    gained = (tried.accuracy[1] - tried.accuracy[0]) * len(images)
    assert wrong == pytest.approx(-gained)
    assert json.loads(json.dumps(tried.to_dict()))["images"] == len(images)


def test_fitting_again_forgets_edits(network):
    from ppn.prototypes.fit import Fit

    network.remove("bee", 1)
    Fit(network, [])
    assert network.edits == ()
    assert "edits" not in network.certificate

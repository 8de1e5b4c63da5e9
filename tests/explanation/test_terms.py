"""Explanations whose maps add up: their terms, their words, and how far pixels and cells agree."""

import copy
import json

import numpy as np
import pytest
import timm
import torch

import ppn
from ppn.classifier import blocks
from ppn.errors import HeadError, PPNError
from ppn.explanation import attribute
from ppn.explanation.attribute import Way, maps_account
from ppn.explanation.terms import Agreement, agreement
from ppn.report.summary import certificate_facts
from ppn.visualization.heatmap import averaged

NAMES = ["ant", "bee", "cat"]


@pytest.fixture(scope="module")
def networks():
    """A network whose head reads its class token, and one whose maps of cells are exact."""
    made = {}
    for name, options in (("test_vit", {"img_size": 64}), ("test_resnet", {})):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=3, **options).eval()
        torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
        images = torch.nn.functional.interpolate(torch.randn(6, 3, 8, 8), (64, 64), mode="bicubic")
        batches = [(images, torch.tensor([0, 1, 2, 0, 1, 2]))]
        made[name] = (ppn.from_classifier(model, batches, k=2, class_names=NAMES), images)
    return made


def expect_sum(found):
    """A contribution is its map's mean and its terms, to the error that is told."""
    terms = found.terms
    spread = 0.0
    for grid, value, rest, base in zip(
        found.maps, found.contributions, terms.elsewhere, terms.baseline, strict=True
    ):
        spread = max(spread, abs(float(grid.mean(dtype=np.float64)) + rest + base - value))
    assert terms.error <= 0.01
    assert spread <= 0.05 * max(map(abs, found.contributions))


def test_a_class_tokens_maps_add_up_unless_cells_are_asked_for(networks):
    network, images = networks["test_vit"]
    found = network.explain(images[0])
    assert found.terms.kind == "complete"
    expect_sum(found)
    assert "maps complete" in found.to_dict()["exact"]
    assert "the blurred image" in found.notes[0]
    late = network.explain(images[0], cut="blocks.4", baseline="grey")
    assert late.terms.place == "the output of 'blocks.4'"
    assert late.terms.elsewhere_share(late.contributions) > 0.02
    assert "such as the class token" in late.notes[0]
    assert "a grey image" in late.notes[0]
    cells = network.explain(images[0], maps="cells")
    assert cells.terms is None
    assert "indicative" in cells.notes[0]
    assert cells.contributions == found.contributions


@pytest.mark.parametrize("options", [{}, {"cut": "blocks.4"}, {"maps": "pixels"}])
def test_the_pass_that_predicts_the_class_is_not_done_again(networks, options, monkeypatch):
    network, images = networks["test_vit"]
    found = network.explain(images[0], **options)
    runs = []
    block = network.classifier.model.blocks[0]
    handle = block.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    network.explain(images[0], **options)
    assert runs.count(False) == 2  # the image, and its baseline
    handle.remove()
    with monkeypatch.context() as patched:
        patched.setattr(attribute, "Way", lambda span, _: Way(span, []))
        again = network.explain(images[0], **options)
    for ours, theirs in zip(found.maps, again.maps, strict=True):
        assert np.allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_the_certificate_says_what_complete_maps_leave_out_and_cost(networks):
    network, images = networks["test_vit"]
    told = network.certificate["maps"]
    found = network.explain(images[0])
    assert (told["cut"], told["images"]) == ("norm_pre", 2)
    assert told["nodes"] >= found.terms.nodes
    assert told["elsewhere"] <= 1e-5
    assert told["error"] <= 0.01
    titles = [fact.label for fact in certificate_facts(network)]
    assert "Complete maps: without a place" in titles
    assert "maps" not in networks["test_resnet"][0].certificate
    late = maps_account(network.classifier, network.head, images[:2], "blocks.5")
    assert late["elsewhere"] == pytest.approx(1, abs=1e-3)


def test_a_classifier_that_is_cut_nowhere_says_why(networks, monkeypatch):
    network, images = networks["test_vit"]
    monkeypatch.setattr(blocks, "_first_span", lambda *_: None)
    monkeypatch.setattr(blocks, "_known", {})
    told = maps_account(network.classifier, network.head, images[:2])
    assert list(told) == ["reason"]
    assert "maps of its pixels add up" in told["reason"]


def test_exact_maps_stay_as_they_are(networks):
    network, images = networks["test_resnet"]
    found = network.explain(images[0])
    same = network.explain(images[0], maps="complete")
    assert found.terms is None
    assert same.terms is None
    assert np.array_equal(found.maps, same.maps)
    with torch.no_grad():
        tokens = network.tokens(images[:1])
        maps = network.head.maps(tokens, torch.tensor([found.label]))
    assert np.array_equal(np.stack(found.maps), maps[0].numpy())


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_pixels_add_up_beside_the_cells(networks, name):
    network, images = networks[name]
    found = network.explain(images[0], maps="pixels")
    expect_sum(found)
    assert [grid.shape for grid in found.maps] == [(64, 64)] * 2
    assert found.terms.elsewhere == (0.0, 0.0)
    cells = network.explain(images[0], maps="cells")
    assert np.array_equal(found.terms.cells, cells.maps)
    assert len(found.agreements) == 2
    content = json.loads(json.dumps(found.to_dict()))
    assert content["maps"]["kind"] == "pixels"
    told = [(part["inside_cells"], part["cells_area"]) for part in content["prototypes"]]
    assert told == [(each.inside, each.area) for each in found.agreements]
    assert all(inside is None or 0 <= inside <= 1 for inside, _ in told)
    assert found.picture().size[1] > cells.picture().size[1]


def test_what_cannot_be_had_is_one_sentence(networks):
    network, images = networks["test_vit"]
    with pytest.raises(PPNError, match="maps is 'pixel', but must be one of"):
        network.explain(images[0], maps="pixel")
    with pytest.raises(HeadError, match="not all that the head"):
        network.explain(images[0], cut="blocks.2.mlp")
    with pytest.raises(PPNError, match="maps of pixels are cut nowhere"):
        network.explain(images[0], maps="pixels", cut="blocks.2")
    early = networks["test_resnet"]
    expect_sum(early[0].explain(early[1][0], cut="layer2"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"baseline": "black"}, "baseline is 'black', but must be one of 'blurred'"),
        ({"tolerance": 0}, "tolerance is 0, but must be positive"),
        ({"tolerance": float("nan")}, "tolerance is nan, but must be positive"),
        ({"tolerance": "small"}, "tolerance is 'small', but must be positive"),
        ({"maps": 3}, "maps is 3, but must be one of"),
    ],
)
def test_options_of_maps_are_checked_before_an_image_is_read(networks, options, said):
    with pytest.raises(PPNError, match=said):
        networks["test_vit"][0].explain(
            "there is no such file.png", **{"maps": "pixels", **options}
        )


def test_a_network_in_double_precision_explains(networks):
    network, images = networks["test_resnet"]
    found = copy.deepcopy(network).double().explain(images[0].double())
    assert found.adds_up
    assert found.contributions == pytest.approx(network.explain(images[0]).contributions, rel=1e-4)


def test_an_error_that_was_not_reached_is_told(networks):
    network, images = networks["test_vit"]
    found = network.explain(images[0], tolerance=1e-12)
    assert not found.terms.reached
    assert "not complete" in found.notes[0]
    assert "1.0e-10\N{NARROW NO-BREAK SPACE}% was not reached" in found.notes[0]
    assert "at most 0" not in found.notes[0]  # small, but not zero


def test_agreement_is_the_share_inside_the_cells():
    cells = np.array([[1.0, 0.2], [0.6, -3.0]])
    pixels = np.zeros((4, 4))
    pixels[0, 0], pixels[3, 1], pixels[3, 3] = 2, -1, 1  # two of the region, one out of it
    found = agreement(pixels, cells)
    assert found == Agreement(0.75, 0.5)
    assert found.agrees
    assert not agreement(pixels, -np.abs(cells)).agrees


@pytest.mark.parametrize("spoil", [lambda p, c: (0 * p, c), lambda p, c: (p, np.ones_like(c))])
def test_where_there_is_nothing_to_compare_nothing_disagrees(spoil):
    found = agreement(*spoil(np.ones((4, 4)), np.eye(2)))
    assert found.inside is None
    assert found.agrees
    assert found.sentence == "nothing to compare"


def test_an_image_that_is_its_own_baseline_adds_up(networks):
    network, _ = networks["test_vit"]
    found = network.explain(torch.full((3, 64, 64), 0.3), maps="pixels")
    expect_sum(found)
    assert [each.inside for each in found.agreements] == [None, None]
    assert not any("disagree" in note for note in found.notes)
    assert found.picture().size
    assert json.loads(json.dumps(found.to_dict()))["prototypes"][0]["inside_cells"] is None


def test_means_of_squares_keep_the_mean():
    grid = np.random.default_rng(0).normal(size=(224, 112))
    small = averaged(grid, 56)
    assert small.shape == (56, 28)
    assert small.mean() == pytest.approx(grid.mean())
    assert np.allclose(averaged(grid, 500), grid)
    assert averaged(np.ones((50, 7)), 20).shape == (17, 3)

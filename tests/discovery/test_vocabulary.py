"""A vocabulary: what classes share, and that every row is still an exact sum."""

import pytest
import timm
import torch
from torch.utils.data import DataLoader

import ppn
from ppn.discovery import NMF, ClassTokens, Vocabulary
from ppn.discovery.vocabulary import alike_directions, distinct_nearest, divide, divided
from ppn.errors import DiscoveryError
from ppn.prototypes.fit import find_parts
from ppn.refinement import CamSplit, CompactSplit, Equal
from tests.prototypes.test_from_classifier import NAMES, Named

WIDTH, GRID = 24, (4, 4)


def classes(shown=((0, 1), (0, 2), (3, 1)), images=6, seed=0):
    """Each class shows some of four concepts, each of which is six channels."""
    generator = torch.Generator().manual_seed(seed)
    for label, concepts in enumerate(shown):
        tokens = 0.05 * torch.rand(images, 16, WIDTH, generator=generator)
        for place, concept in enumerate(concepts):
            tokens[:, 4 * place : 4 * place + 3, 6 * concept : 6 * concept + 6] += 2
        yield ClassTokens(label, f"class {label}", tokens, torch.arange(images), None, GRID)


def fitted(k=2, **options):
    way = Vocabulary(**options)
    weight = torch.ones(3, WIDTH, dtype=torch.float64)
    way.fit(classes(), weight, k)
    return way, weight


def test_classes_that_show_the_same_thing_use_the_same_entry():
    way, _ = fitted(entries=4)
    assert way.directions.shape == (4, WIDTH)
    concept = way.directions.view(4, 4, 6).sum(2).argmax(1)  # of each entry
    uses = {label: {int(concept[e]) for e in own} for label, own in way.uses.items()}
    assert uses == {0: {0, 1}, 1: {0, 2}, 2: {3, 1}}
    assert torch.allclose(way.directions.norm(dim=1), torch.ones(4), atol=1e-6)
    assert way.account["entries"] == 4
    assert way.account["uses"]["0"] == way.uses[0]


@pytest.mark.parametrize("variants", [True, False])
@pytest.mark.parametrize("rest", [0.0, 0.5])
@pytest.mark.parametrize("refinement", [CompactSplit(), CamSplit(), Equal()])
@pytest.mark.parametrize("seed", range(3))
def test_rows_are_exact_sums_whatever_the_vocabulary(refinement, rest, variants, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, WIDTH, generator=generator, dtype=torch.float64)
    items = [
        item._replace(tokens=torch.rand(6, 16, WIDTH, generator=generator))
        for item in classes(seed=seed)
    ]
    way = Vocabulary(entries=5, rest=rest, variants=variants, seed=seed)
    way.fit(items, weight, 3)
    for item, problem in zip(items, find_parts(items, weight, 3, way), strict=True):
        assert problem.coefficients.shape == (96, 3)
        assert bool((problem.coefficients >= 0).all())
        assert problem.remainder == (rest > 0)
        missing = refinement.refine(problem).prototypes.double().sum(0) - weight[item.label]
        assert float(missing.abs().max()) <= 1e-6 * float(weight[item.label].abs().max())


def test_a_remainder_is_where_no_entry_is():
    way, weight = fitted(k=3, entries=4, rest=1.0, variants=False)
    item = next(classes())
    item.tokens[:, 15, 18:] += 3  # what this class did not show before
    (found,) = way.discover([item], weight, 3)
    rest = found.coefficients[:, 2].view(6, 16)
    assert found.remainder
    assert bool((rest.argmax(1) == 15).all())
    assert float(found.parts[2].norm()) == pytest.approx(1)


def test_a_variant_is_the_part_of_the_class_itself():
    way, weight = fitted(entries=4)
    (item, *_) = classes()
    (found,) = way.discover([item], weight, 2)
    (alone,) = NMF().discover([item], weight, 2)
    assert torch.equal(found.coefficients, alone.coefficients)
    assert bool(((found.parts * way.directions[way.uses[0]]).sum(1) > 0.9).all())


def test_no_entry_twice_and_the_nearest_over_all():
    directions = torch.eye(3)
    parts = torch.tensor([[1.0, 0.9, 0.0], [1.0, 0.0, 0.0]])
    assert distinct_nearest(parts, directions) == [1, 0]


def test_fewer_parts_than_entries_and_parts_of_zeros():
    parts = torch.cat([torch.eye(2, 5), torch.zeros(3, 5)])
    assert len(alike_directions(parts, 9)) == 2
    assert alike_directions(torch.zeros(3, 5), 2).shape == (0, 5)


def test_many_parts_are_joined_too(monkeypatch):
    parts = torch.eye(4, 9).repeat(5, 1) + 0.01 * torch.rand(20, 9)
    linked = alike_directions(parts, 4)
    monkeypatch.setattr("ppn.discovery.vocabulary._LINKED", 10)
    by_means = alike_directions(parts, 4)
    assert sorted(linked.argmax(1).tolist()) == [0, 1, 2, 3]
    assert bool((by_means.norm(dim=1) > 0.999).all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary(entries=0), "entries of vocabulary is 0"),
        (lambda: Vocabulary(rest=-1.0), "rest of vocabulary is -1.0"),
        (lambda: fitted(k=1, rest=0.1), "leaves no entry beside the rest"),
        (lambda: fitted(k=2, entries=1), "too small for 2 in each"),
        (lambda: Vocabulary().fit([], torch.ones(3, WIDTH), 2), "no class"),
        (
            lambda: Vocabulary().discover(list(classes()), torch.ones(3, WIDTH), 2),
            "no 2 entries for class class 0: call fit",
        ),
    ],
)
def test_mistakes_are_one_sentence(make, message):
    with pytest.raises(DiscoveryError, match=message):
        make()


@pytest.mark.parametrize("rest", [0.0, 0.2])
def test_a_network_keeps_which_entries_a_class_uses(tmp_path, rest):
    model = timm.create_model("test_resnet", num_classes=3)
    way = Vocabulary(entries=4, rest=rest)
    loader = DataLoader(Named(), batch_size=5)
    network = ppn.from_classifier(model, loader, k=3, class_names=NAMES, discoverer=way)
    said = network.certificate["vocabulary"]
    assert set(said["uses"]) == {"0", "1", "2"}
    assert all(len(set(own)) == 3 - (rest > 0) for own in said["uses"].values())
    assert (said["remainder_share"] > 0) == (rest > 0)
    assert network.certificate["max_sum_error"] < 1e-6
    again = ppn.load(network.save(tmp_path), model=model)
    assert again.certificate["vocabulary"] == said
    assert again.remainder == (rest > 0)


def looks(classes=6, seed=0):
    """(C, 2, D): the first part looks the same in even and in odd classes, the second in all."""
    generator = torch.Generator().manual_seed(seed)
    parts = 0.05 * torch.rand(classes, 2, WIDTH, generator=generator)
    parts[:, 0, :4] += 1
    parts[::2, 0, 4:8] += 1
    parts[1::2, 0, 8:12] += 1
    parts[:, 1, 12:] += 1
    return torch.nn.functional.normalize(parts, dim=2)


def test_classes_whose_named_part_looks_alike_share_its_entry():
    assert divide(looks(5), 3).tolist() == [[0, 2], [1, 2], [0, 2], [1, 2], [0, 2]]
    said = divided(looks(5), [0, 1, 2, 3, 4], ["wing", "tail"], 3)
    assert said["names"] == ["wing 1", "wing 2", "tail"]
    assert said["entries"] == 3
    assert said["uses"]["3"] == [1, 2]


@pytest.mark.parametrize("classes", [1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 99])
def test_parts_are_divided_into_as_many_entries_as_asked_for(classes, count):
    found = divide(looks(classes, seed=count), count)
    used = found.unique()
    assert used.tolist() == list(range(len(used)))
    assert len(used) == min(max(count, 2), 2 * classes)
    assert not set(found[:, 0].tolist()) & set(found[:, 1].tolist())


def test_classes_without_parts_use_no_entry():
    parts = looks(4)
    parts[2] = 0
    assert set(divided(parts, [0, 1, 3], ["wing", "tail"], 3)["uses"]) == {"0", "1", "3"}

"""The FunnyBirds protocol on birds of tiles, whose classifier adds up what the tiles show."""

from __future__ import annotations

from itertools import chain, combinations
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import ppn
from ppn.data.funnybirds import FunnyBirdsDataModule
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.explainers import CAM
from ppn.explainers.base import Attribution, Inputs
from ppn.metrics import Accuracy, EvaluationShape, FunnyBirdsProtocol
from ppn.metrics.part_importance import evidence, importance, margin, widened
from ppn.metrics.probe import Probe
from ppn.metrics.resampling import image_counts
from tests import fakes
from tests.explainers.tiny import convolutions, network_of

# Each class has a form of five parts; the first shares two with the second and two with the third.
TRAITS = ((0, 0, 0, 0, 0), (0, 0, 1, 1, 1), (1, 1, 0, 0, 1), (2, 2, 2, 2, 0))
K, C, OBJECTS, TILE, S = 5, 4, 2, 4, 16
WORTH = torch.tensor([1.0, 1.1, 1.2, 1.3, 1.4])
BIAS = torch.tensor([0.0, 0.0, 0.0, 1.5])
"""What is said of a bird without parts: the last class."""


def place(tile):
    row, column = divmod(tile, S // TILE)
    return slice(TILE * row, TILE * (row + 1)), slice(TILE * column, TILE * (column + 1))


class Tiles:
    """Images (3, S, S) of tiles; a part shows its form's channel, as bright as it is in an image.

    Object 0 means nothing; object 1 is worth 1 to the first class.
    """

    kinds = ("beak", "eye", "foot", "tail", "wing")
    traits: ClassVar = dict(enumerate(TRAITS))

    def __init__(self, labels, bright=None, known=None):
        self.labels = labels
        self.known = {} if known is None else known
        self.drawn = 0
        self.bright = torch.ones(len(labels), K + OBJECTS) if bright is None else bright

    def draw(self, index, gone=()):
        image = torch.zeros(3, S, S)
        for tile in set(range(K + OBJECTS)) - set(gone):
            channel = TRAITS[self.labels[index]][tile] if tile < K else 0
            image[channel, place(tile)[0], place(tile)[1]] = self.bright[index, tile]
        return image

    def answers(self, index):
        return self.known.get(index, {})

    def learn(self, index, said):
        self.known[index] = said

    def regions(self, index):
        masks = torch.zeros(K + OBJECTS, S, S, dtype=torch.bool)
        for tile, mask in enumerate(masks):
            mask[place(tile)] = True
        return masks

    def without_parts(self, index, parts):
        self.drawn += 1
        return self.draw(index, [self.kinds.index(part) for part in parts])

    def without_object(self, index, number):
        return self.draw(index, [K + number])


def terms(images):
    """(B, C, K + OBJECTS): what each tile adds to each logit."""
    found = torch.zeros(len(images), C, K + OBJECTS)
    for tile in range(K):
        shown = images[:, :, place(tile)[0], place(tile)[1]].mean((2, 3))
        for label in range(C):
            found[:, label, tile] = WORTH[tile] * shown[:, TRAITS[label][tile]]
    found[:, 0, K + 1] = images[:, 0, place(K + 1)[0], place(K + 1)[1]].mean((1, 2))
    return found


def classify(images, most=None):
    return terms(images).sum(2) + BIAS


def painted(values):
    """Maps (B, 1, S, S) of values (B, tiles) for the first tiles."""
    maps = torch.zeros(len(values), 1, S, S)
    for tile in range(values.shape[1]):
        maps[:, 0, place(tile)[0], place(tile)[1]] = values[:, tile, None, None] / TILE**2
    return maps


class Knows:
    """What each tile adds."""

    def attribute(self, inputs, target):
        return Attribution(painted(terms(inputs.images)[torch.arange(len(target)), target]))


class Misleads:
    """All for an object without meaning, the rest in the wrong order, the same for every class."""

    def attribute(self, inputs, target):
        said = torch.cat([WORTH.flip(0) / 10, torch.tensor([100.0, 0.0])])
        return Attribution(painted(said.expand(len(target), -1)))


class SaysNothing:
    def attribute(self, inputs, target):
        return Attribution(torch.zeros(len(target), 1, S, S))


class Draws:
    """Numbers of its own for each class, some negative, spread over two maps."""

    def attribute(self, inputs, target):
        pairs = zip(inputs.indices.tolist(), target.tolist(), strict=True)
        rows = [np.random.default_rng([7, i, c]).normal(0.5, 1, (2, K + OBJECTS)) for i, c in pairs]
        values = torch.tensor(np.array(rows), dtype=torch.float32)
        return Attribution(torch.cat([painted(values[:, part]) for part in (0, 1)], 1))


def measured(explainer, tiles, batches, counted=False):
    metric = computed(explainer, tiles, batches, counted)
    return metric.figures(metric.compute()), metric.values(metric.compute())


def computed(explainer, tiles, batches, counted=False):
    metric = FunnyBirdsProtocol().setup(EvaluationShape(C, 1, (), S))
    for rows in batches:
        images = torch.stack([tiles.draw(row) for row in rows])
        tokens = SimpleNamespace(logits=classify(images))
        inputs = Inputs(images, tokens, torch.tensor(rows))
        probe = Probe(SimpleNamespace(classify=classify), explainer, inputs, None, tiles)
        labels = torch.tensor([tiles.labels[row] for row in rows])
        counts = image_counts(inputs.indices) if counted else None
        metric.update(probe, labels, explainer.attribute(inputs, labels), counts)
    return metric


def short(figures):
    return {name.removeprefix("funny_birds_protocol_"): value for name, value in figures.items()}


def test_an_explainer_that_knows_what_parts_are_worth_scores_one():
    figures, values = measured(Knows(), Tiles([0, 0]), [[0, 1]])
    found = short(figures)
    ones = ("csdc", "pc", "dc", "distractibility", "sd", "ts", "completeness")
    assert {name: found[name] for name in ones} == dict.fromkeys(ones, 1.0)
    assert found["funny_birds_protocol"] == 1.0
    assert found["background_independence"] == 0.5  # one of two objects is worth 1 of 7
    assert found["threshold"] == 0.01
    assert values.classes[0] == 1
    assert values.classes[1:].isnan().all()


def test_one_that_misleads_scores_nothing():
    found = short(measured(Misleads(), Tiles([0, 0]), [[0, 1]])[0])
    zeros = ("csdc", "pc", "dc", "distractibility", "sd", "ts")
    assert [found[name] for name in zeros] == pytest.approx([0.0] * 6, abs=1e-12)
    assert found["funny_birds_protocol"] == pytest.approx(0, abs=1e-12)


def test_one_that_says_nothing_is_not_distracted_and_has_no_order():
    found = short(measured(SaysNothing(), Tiles([0]), [[0]])[0])
    assert [found[name] for name in ("csdc", "pc", "dc", "ts")] == [0, 0, 0, 0]
    assert (found["distractibility"], found["completeness"]) == (1, 0.5)
    assert found["sd"] is found["funny_birds_protocol"] is None


def sets_of(parts):
    return chain(*(combinations(parts, size) for size in range(1, len(parts) + 1)))


def sufficient(label):
    """All smallest sets of parts that are this class's alone, as the paper says it."""
    own = set(enumerate(TRAITS[label]))
    others = [set(enumerate(form)) for other, form in enumerate(TRAITS) if other != label]
    found = [set(s) for s in sets_of(sorted(own)) if not any(set(s) <= other for other in others)]
    return [{part for part, _ in s} for s in found if not any(other < s for other in found)]


def literal(explainer, tiles):
    """Every figure, image after image, part after part."""
    thresholds = np.linspace(0.01, 0.50, 80)
    checks = {name: [[] for _ in thresholds] for name in ("csdc", "pc", "dc", "distractibility")}
    sd, ts, independent = [], [], []
    for index, label in enumerate(tiles.labels):
        image = tiles.draw(index)
        inputs = Inputs(image[None], None, torch.tensor([index]))

        def said(gone=(), index=index):
            return classify(tiles.draw(index, gone)[None])[0]

        def maps(label, inputs=inputs):
            return explainer.attribute(inputs, torch.tensor([label])).maps[0].sum(0)

        def worth(where, index=index):
            return [where[mask].sum().item() for mask in tiles.regions(index)]

        def important(where, threshold, count):
            least = where.sum().item() * threshold
            return {tile for tile in range(count) if worth(where)[tile] > least}

        logits = said()
        predicted = logits.argmax().item()
        target = logits[label].item()
        lost = [target - said([tile])[label].item() for tile in range(K + OBJECTS)]
        irrelevant = {t for t, v in enumerate(lost) if abs(v) < abs(0.05 * target) or v < 0}
        for loss in lost[K:]:
            independent.append(not (loss >= abs(0.05 * target) and loss > 0))
        for level, threshold in enumerate(thresholds):
            own = important(maps(label), threshold, K + OBJECTS)
            if predicted == label:
                shares = [len(own & s) / len(s) for s in sufficient(label)]
                checks["csdc"][level].append(max(shares, default=0))
            parts = important(maps(predicted), threshold, K)
            kept = said(set(range(K)) - parts).argmax().item()
            checks["pc"][level].append(kept == predicted)
            checks["dc"][level].append(said(parts).argmax().item() != predicted)
            if irrelevant:
                checks["distractibility"][level].append(1 - len(own & irrelevant) / len(irrelevant))
        rho = spearmanr(lost[:K], worth(maps(label))[:K])[0]
        if not np.isnan(rho):
            sd.append((rho + 1) / 2)
        shared = {
            other: {k for k in range(K) if form[k] == TRAITS[label][k]}
            for other, form in enumerate(TRAITS)
            if other != label
        }
        two = [other for other, parts in shared.items() if len(parts) == 2]
        pairs = [(a, b) for a, b in combinations(two, 2) if not shared[a] & shared[b]]
        if not pairs:
            continue
        a, b = pairs[0]
        without = {other: said(shared[other]) for other in (a, b)}
        if without[a][a] < without[b][a] and without[b][b] < without[a][b]:
            of = {other: worth(maps(other)) for other in (a, b)}
            for one, other in ((a, b), (b, a)):
                sums = [sum(of[c][part] for part in shared[one]) for c in (one, other)]
                ts.append(sums[0] > sums[1])
    means = {name: [np.mean(level) for level in levels] for name, levels in checks.items()}
    completeness = [
        (np.mean([means[n][t] for n in ("csdc", "pc", "dc")]) + means["distractibility"][t]) / 2
        for t in range(80)
    ]
    best = int(np.argmax(completeness))
    found = {name: levels[best] for name, levels in means.items()}
    found |= {"sd": np.mean(sd), "ts": np.mean(ts), "background_independence": np.mean(independent)}
    found |= {"completeness": completeness[best], "threshold": thresholds[best]}
    found["funny_birds_protocol"] = np.mean([completeness[best], np.mean(sd), np.mean(ts)])
    return found


@pytest.mark.parametrize("batches", [[[0, 1, 2, 3, 4, 5]], [[4, 0, 2], [1], [5, 3]]])
def test_it_equals_the_literal_loops_for_every_batch(batches):
    generator = torch.Generator().manual_seed(4)
    bright = 0.05 + torch.rand(6, K + OBJECTS, generator=generator)
    tiles = Tiles([0, 1, 0, 2, 3, 0], bright)
    figures, _ = measured(Draws(), tiles, batches)
    expected = literal(Draws(), tiles)
    assert 0 < expected["ts"] < 1
    assert len(set(expected.values())) >= 8
    assert short(figures) == pytest.approx(expected, abs=1e-6)


def test_a_draw_counts_each_image_as_often_as_it_was_drawn():
    bright = 0.05 + torch.rand(16, K + OBJECTS, generator=torch.Generator().manual_seed(4))
    tiles = Tiles([0] * 14 + [1, 3], bright)
    metric = computed(Draws(), tiles, [range(9), range(9, 16)], counted=True)
    draws = metric.values(metric.compute()).draws
    beside = metric.beside(metric.compute())
    level = measured(Draws(), tiles, [range(16)])[0]["funny_birds_protocol_threshold"]
    place = int(np.abs(np.linspace(0.01, 0.5, 80) - level).argmin())
    counts = image_counts(torch.arange(16))
    for draw in range(3):
        rows = torch.arange(16).repeat_interleave(counts[:, draw].long()).tolist()
        found = computed(Draws(), tiles, [rows]).compute()
        checks = found.checks.sum(1)[:, place] / found.checked.sum(1)
        others = found.others.sum(1) / found.others_known.sum(1)
        expected = ((checks[:3].mean() + checks[3]) / 2 + others[:2].sum()) / 3
        assert float(draws[draw]) == pytest.approx(float(expected))
        for name, one in {"csdc": checks[0], "ts": others[1]}.items():
            again = beside[f"funny_birds_protocol_{name}"].draws[draw]
            assert float(again) == pytest.approx(float(one))


def test_what_is_known_of_changed_images_is_not_asked_again():
    first = Tiles([0, 1])
    expected = measured(Knows(), first, [[0, 1]])[0]
    assert first.drawn > 0
    assert set(first.known) == {0, 1}
    again = Tiles([0, 1], known=first.known)
    assert measured(Knows(), again, [[1], [0]])[0] == expected
    assert again.drawn == 0


def test_several_maps_give_their_contributions_to_where_they_have_the_sign():
    maps = torch.tensor([[[[2.0, -1.0], [0.0, 2.0]], [[-1.0, -1.0], [3.0, 0.0]]]])
    found = evidence(Attribution(maps, torch.tensor([[4.0, -6.0]])), (2, 2))
    assert found.tolist() == [[[-1.0, -3.0], [0.0, 2.0]]]
    found = evidence(Attribution(maps.abs(), torch.tensor([[0.0, -5.0]])), (2, 2))
    assert found.tolist() == [[[-1.0, -1.0], [-3.0, 0.0]]]  # where there is no such sign: anywhere
    assert evidence(Attribution(maps), (2, 2)).tolist() == [[[1.0, -2.0], [3.0, 2.0]]]
    one = Attribution(maps[:, :1], torch.tensor([[9.0]]))
    assert torch.equal(evidence(one, (2, 2)), maps[:, 0])


def test_a_part_reaches_two_of_256_pixels_beyond_its_own():
    assert [margin(size) for size in (16, 224, 256, 512)] == [0, 2, 2, 4]
    mask = torch.zeros(2, 256, 256, dtype=torch.bool)
    mask[0, 100, 100] = True
    where = torch.ones(1, 256, 256)
    where[0, 98, 98] = 10
    where[0, 97, 98] = 1000
    assert importance(where, [widened(mask)]).tolist() == [[34.0, 0.0]]


def test_drawn_birds_and_the_complete_set_have_what_it_needs_and_others_do_not(tmp_path):
    network = network_of(convolutions())
    drawn = SyntheticBirdsDataModule(3, 2, 1, draw_size=64, num_workers=0)
    found = ppn.evaluate(CAM(), drawn, [Accuracy(), FunnyBirdsProtocol()], network)
    assert 0 <= found.figures["funny_birds_protocol_background_independence"] <= 1
    assert 0 <= found.figures["funny_birds_protocol_completeness"] <= 1
    for complete in (True, False):
        root = fakes.funnybirds(tmp_path / str(complete) / "FunnyBirds", interventions=complete)
        data = FunnyBirdsDataModule(str(root), num_workers=0)
        found = ppn.evaluate(CAM(), data, [Accuracy(), FunnyBirdsProtocol()], network)
        assert ("funny_birds_protocol_dc" in found.figures) == complete

"""Metrics that run the classifier again, on one small enough to follow."""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.functional import interpolate

from ppn.classifier import Classifier
from ppn.errors import PPNError
from ppn.explainers import Inputs, PrototypeExplainer, UniformMaps
from ppn.explainers.base import Attribution
from ppn.metrics import (
    C2Score,
    ConceptDeletion,
    Evaluation,
    EvaluationShape,
    Observation,
    PartTermDeletion,
    PixelDeletion,
    PixelInsertion,
    RandomisationCheck,
    SpatialMisalignment,
    SurfMAE,
)
from ppn.metrics.part_terms import random_windows
from ppn.metrics.pixels import pixel_ranks
from ppn.metrics.probe import Model, Probe, redrawn
from ppn.metrics.randomisation import rank_correlation
from ppn.metrics.regions import blurred
from ppn.prototypes.head import PrototypeHead
from ppn.refinement.base import exact_sum
from ppn.types import InputConfig
from tests.toys import OneCell

B, C, K, D, S = 5, 3, 2, 6, 32


@pytest.fixture
def classifier():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=4),
        nn.ReLU(),
        nn.Conv2d(4, D, 2, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(D, C),
    )
    with torch.no_grad():
        model[6].weight.mul_(5)
    return Classifier(model.eval(), InputConfig(size=(S, S)))


@pytest.fixture
def explainer(classifier):
    weight, bias = classifier.effective_head()
    head = PrototypeHead(C, K, D, "ours")
    drawn = torch.randn(C, K, D, generator=torch.Generator().manual_seed(0)).double()
    head.prototypes.copy_(
        torch.stack([exact_sum(d, v) for d, v in zip(drawn, weight, strict=True)])
    )
    head.bias.copy_(bias)
    return PrototypeExplainer(head)


def probe_of(classifier, explainer, rows=None):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(B, 3, S // 4, S // 4, generator=generator)
    images = interpolate(images, (S, S), mode="bicubic")
    index = torch.arange(B) if rows is None else torch.tensor(rows)
    images = images[index]
    return Probe(Model(classifier), explainer, Inputs(images, classifier(images, False), index))


def measured(metric, *given):
    metric.setup(EvaluationShape(C, K, (), S))
    metric.update(*given)
    return metric.figures(metric.compute())


def probability(classifier, image, label):
    with torch.no_grad():
        return classifier.model(image[None])[0].softmax(0)[label].item()


@pytest.mark.parametrize("baseline", ["zero", "blur"])
@pytest.mark.parametrize(("kind", "inserts"), [(PixelDeletion, False), (PixelInsertion, True)])
def test_pixel_curves_equal_the_literal_loops(classifier, explainer, kind, inserts, baseline):
    probe = probe_of(classifier, explainer)
    metric = kind(step=1792 * 7, baseline=baseline)
    found = measured(metric, probe)
    pixels = round(1792 * 7 * S * S / 224**2)
    curves = []
    for i, image in enumerate(probe.inputs.images):
        label = probe.logits[i].argmax().item()
        maps = explainer.attribute(probe.inputs, probe.predicted).maps[i].sum(0)
        values = interpolate(maps[None, None], (S, S), mode="bicubic")[0, 0].flatten().tolist()
        order = sorted(range(S * S), key=lambda n: -values[n])
        other = blurred(image[None])[0] if baseline == "blur" else torch.zeros_like(image)
        changed, into = (other, image) if inserts else (image, other)
        changed, curve = changed.clone(), []
        for start in range(0, S * S + pixels, pixels):
            curve.append(probability(classifier, changed, label))
            for n in order[start : start + pixels]:
                changed[:, n // S, n % S] = into[:, n // S, n % S]
        curves.append(curve)
    mean = np.mean(curves, axis=0)
    assert mean.std() > 0.01
    assert found[f"{kind.key}_curve"] == pytest.approx(mean.tolist(), abs=1e-6)
    area = (mean.sum() - mean[0] / 2 - mean[-1] / 2) / (len(mean) - 1)
    assert found[kind.key] == pytest.approx(area, abs=1e-6)
    assert metric.constants["evaluations"] == len(mean)
    assert (metric.constants["step"], metric.constants["baseline"]) == (pixels, baseline)


def test_there_are_28_steps_of_1792_pixels():
    constants = PixelDeletion().setup(EvaluationShape(C, K)).constants
    assert (constants["step"], constants["evaluations"]) == (1792, 29)
    for size in (64, 256, 384):
        assert PixelDeletion().setup(EvaluationShape(C, K, (), size)).constants["evaluations"] == 29


def test_ranks_are_places_in_the_descending_order():
    maps = torch.tensor([[[3.0, 1.0], [2.0, 2.0]]])
    assert pixel_ranks(maps, (2, 2)).tolist() == [[[0, 3], [1, 2]]]


def test_part_term_deletion_equals_the_literal_loops(classifier, explainer):
    probe = probe_of(classifier, explainer)
    found = measured(PartTermDeletion(), probe)
    head = explainer.head.prototypes
    windows = random_windows(probe.inputs.indices, K, (S, S), 0.2)

    def terms(image, label):
        with torch.no_grad():
            pooled = classifier.model[:6](image[None])[0]
        return [float(pooled @ head[label, j]) for j in range(K)]

    def one(image, label, mask, part, before):
        changed = torch.where(mask, blurred(image[None])[0], image)
        fall = [b - a for b, a in zip(before, terms(changed, label), strict=True)]
        others = [fall[j] for j in range(K) if j != part]
        return (fall[part] - sum(others) / len(others)) / sum(map(abs, before))

    scores = {"": [], "_random_window": [], "_other_part": []}
    for i, image in enumerate(probe.inputs.images):
        label = probe.predicted[i].item()
        maps = explainer.attribute(probe.inputs, probe.predicted).maps[i]
        before = terms(image, label)
        for part in range(K):
            values = interpolate(maps[part][None, None], (S, S), mode="bicubic")[0, 0].flatten()
            order = values.argsort(descending=True, stable=True)
            mask = torch.zeros(S * S, dtype=torch.bool)
            mask[order[: round(0.2 * S * S)]] = True
            mask = mask.view(S, S)
            scores[""].append(one(image, label, mask, part, before))
            scores["_random_window"].append(one(image, label, windows[i, part], part, before))
            scores["_other_part"].append(one(image, label, mask, (part + 1) % K, before))
    for name, values in scores.items():
        wanted = pytest.approx(np.mean(values), abs=1e-5)
        assert found[f"part_term_deletion{name}"] == wanted, name


class Fading(PrototypeExplainer):
    """Says next to nothing of the first image."""

    def attribute(self, inputs, target):
        found = super().attribute(inputs, target)
        factor = torch.where(inputs.indices == 0, 1e-9, 1.0)
        return found._replace(
            contributions=found.contributions * factor[:, None],
            maps=found.maps * factor[:, None, None, None],
        )


def test_images_of_which_nothing_is_said_have_no_score(classifier, explainer):
    fading, labels = Fading(explainer.head), torch.arange(B) % C
    whole = probe_of(classifier, fading)
    rest = probe_of(classifier, explainer, rows=range(1, B))
    # Changed images of the first are not told as faded: shares of its terms would be enormous.
    for asked in ("see", "terms"):
        setattr(whole, asked, getattr(probe_of(classifier, explainer), asked))
    terms = [measured(PartTermDeletion(), probe) for probe in (whole, rest)]
    assert terms[0] == pytest.approx(terms[1])
    parts = [
        measured(SpatialMisalignment(), probe, labels[-len(probe.logits) :])
        for probe in (whole, rest)
    ]
    name = "spatial_misalignment_activation"
    assert parts[0][name] == pytest.approx(parts[1][name])


def test_windows_have_the_area_and_follow_from_the_image_alone():
    windows = random_windows(torch.arange(40), 3, (S, S), 0.25)
    assert (windows.flatten(2).sum(2) == S * S / 4).all()
    assert torch.equal(random_windows(torch.tensor([7]), 3, (S, S), 0.25), windows[[7]])
    assert len(torch.unique(windows[:, 0], dim=0)) > 20


def test_misalignment_equals_the_literal_loops(classifier, explainer):
    probe = probe_of(classifier, explainer)
    labels = torch.arange(B) % C
    found = measured(SpatialMisalignment(), probe, labels)

    def box(grid):
        values = interpolate(grid[None, None], (S, S), mode="bicubic")[0, 0].flatten().tolist()
        chosen = sorted(range(S * S), key=lambda n: -values[n])[: round(0.1 * S * S)]
        ys, xs = [n // S for n in chosen], [n % S for n in chosen]
        return min(xs), min(ys), max(xs) + 1, max(ys) + 1

    def maps_of(image, label):
        tokens = classifier(image[None], False)
        inputs = Inputs(image[None], tokens, torch.tensor([0]))
        return explainer.attribute(inputs, torch.tensor([label])).maps[0].detach(), tokens.logits[0]

    moved, relative, ranks, lost = [], [], [], []
    for i, image in enumerate(probe.inputs.images):
        label = probe.predicted[i].item()
        maps, _ = maps_of(image, label)
        for part in range(K):
            x0, y0, x1, y1 = box(maps[part])
            changed = blurred(image[None])[0]
            changed[:, y0:y1, x0:x1] = image[:, y0:y1, x0:x1]
            after, logits = maps_of(changed, label)
            u0, v0, u1, v1 = box(after[part])
            shared = max(0, min(x1, u1) - max(x0, u0)) * max(0, min(y1, v1) - max(y0, v0))
            whole = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - shared
            moved.append(1 - shared / whole)
            old, new = ([float(m.max()) for m in every] for every in (maps, after))
            relative.append(abs(new[part] - old[part]) / abs(old[part]))
            places = [sorted(range(K), key=lambda j, v=v: -v[j]).index(part) for v in (old, new)]
            ranks.append(abs(places[0] - places[1]))
            right = label == labels[i].item(), logits.argmax().item() == labels[i].item()
            lost.append(right[0] - right[1])
    assert np.mean(moved) > 0
    expected = {"": moved, "_activation": relative, "_rank": ranks, "_accuracy": lost}
    for name, values in expected.items():
        wanted = pytest.approx(np.mean(values), abs=1e-5)
        assert found[f"spatial_misalignment{name}"] == wanted, name


def test_an_adversarial_change_is_small_outside_and_lowers_the_maximum(classifier, explainer):
    probe = probe_of(classifier, explainer)
    seen, see = [], probe.see

    def noting(images, rows, target):
        found = see(images, rows, target)
        seen.append((images, rows, found.attribution.maps))
        return found

    with torch.inference_mode(), mock.patch.object(probe, "see", noting):
        found = measured(SpatialMisalignment("adversarial"), probe, torch.arange(B) % C)
    ((images, rows, maps),) = seen
    std = torch.tensor(InputConfig().std)[:, None, None]
    change = (images - probe.inputs.images[rows]).abs() * std
    assert change.max() <= 2 / 255 + 1e-6
    assert (change == 0).flatten(1).any(1).all()
    parts = torch.arange(K).repeat(B)
    every = torch.arange(len(rows))
    before = probe.attribution.maps[rows][every, parts].flatten(1).amax(1)
    after = maps[every, parts].flatten(1).amax(1)
    assert (after <= before + 1e-6).all()
    assert (after < before).any()
    assert found["spatial_misalignment_activation"] > 0
    blind = probe_of(classifier, OneCell())
    assert measured(SpatialMisalignment("adversarial"), blind, torch.arange(B) % C) == {
        f"spatial_misalignment{name}": None for name in ("", "_activation", "_rank", "_accuracy")
    }


def test_late_layers_are_drawn_anew_and_the_rest_stays(classifier):
    other = redrawn(classifier, 0)
    same = [
        torch.equal(ours, theirs)
        for ours, theirs in zip(
            classifier.model.parameters(), other.model.parameters(), strict=True
        )
    ]
    assert same == [True, True, False, False, True, True]  # of two convolutions the second
    again = zip(redrawn(classifier, 0).parameters(), other.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in again)


def test_randomisation_equals_the_literal_loops(classifier, explainer):
    probe = probe_of(classifier, explainer)
    before = probe.attribution.maps
    after = probe.with_late_layers_redrawn(0).maps
    values = [
        spearmanr(b.flatten().detach(), a.flatten().detach()).statistic
        for b, a in zip(before.flatten(0, 1), after.flatten(0, 1), strict=True)
    ]
    found = measured(RandomisationCheck(), before, after)
    assert found["randomisation_check"] == pytest.approx(np.mean(values), abs=1e-6)
    assert abs(np.mean(values)) < 0.9


def test_values_are_of_the_class_whose_parts_were_looked_at(classifier, explainer):
    probe = probe_of(classifier, explainer)
    wrong = (probe.predicted + 1) % C
    seen = Observation(
        {"label": wrong}, probe.logits, probe.logits, probe.attribution.maps, probe=probe
    )
    for metric in (SpatialMisalignment(), RandomisationCheck(), PartTermDeletion()):
        metric.setup(EvaluationShape(C, K, (), S)).observe(seen)
        known = metric.values(metric.compute()).prototypes.isfinite().any(1)
        assert set(known.nonzero()[:, 0].tolist()) == set(probe.predicted.tolist()), metric.key


def test_rank_correlation_shares_ranks_among_equals():
    first, second = torch.randn(2, 6, 4, 4).round()
    for ours, one, other in zip(rank_correlation(first, second), first, second, strict=True):
        assert ours.item() == pytest.approx(spearmanr(one.flatten(), other.flatten()).statistic)
    assert rank_correlation(first, torch.zeros(6, 4, 4)).isnan().all()


def chosen():
    return [
        *(ConceptDeletion(), PartTermDeletion(), PixelDeletion(), PixelInsertion()),
        *(RandomisationCheck(), SpatialMisalignment(), SurfMAE()),
    ]


def evaluated(classifier, explainers, size=B):
    for explainer in explainers:
        explainer.prepare(mock.Mock(k=K, remainder=False))
    shape = EvaluationShape(C, K, (), S)
    evaluation = Evaluation(shape, explainers, chosen(), classifier=classifier)
    with torch.inference_mode():
        for rows in torch.arange(B).split(size):
            inputs = probe_of(classifier, explainers[0], rows.tolist()).inputs
            batch = {"label": rows % C, "index": rows}
            evaluation.update(batch, inputs, None, explainers[0].head(inputs.tokens))
    return evaluation.compute()


def test_an_evaluation_measures_them_for_every_batch_size(classifier, explainer):
    every = evaluated(classifier, [explainer, UniformMaps(), OneCell()])
    keys = {metric.key for metric in chosen()}
    rows = every.figures["explainers"]
    assert set(every.figures["metrics"]) == keys
    assert all(rows["ours"][key] is not None for key in keys)
    assert rows["ours"]["surf_mae"] < 1e-5
    for name in ("uniform", "one_cell"):  # they have no contributions
        assert rows[name]["part_term_deletion"] is None
        assert rows[name]["concept_deletion"] is None
        assert rows[name]["pixel_deletion"] is not None
    assert json.loads(json.dumps(every.figures)) == every.figures
    halves = evaluated(classifier, [explainer, UniformMaps(), OneCell()], 2)
    for name, row in halves.scores.items():
        for figure, value in row.items():
            assert value == pytest.approx(every.scores[name][figure], abs=1e-4), figure


def test_without_a_classifier_nothing_is_run_again(explainer):
    evaluation = Evaluation(EvaluationShape(C, K, (), S), [explainer], chosen())
    assert evaluation.measured == []


def test_what_several_explainers_ask_is_run_once(classifier, explainer):
    with mock.patch("ppn.metrics.probe.redrawn", side_effect=redrawn) as made:
        evaluated(classifier, [explainer, OneCell()], 2)
    assert made.call_count == 1


def test_a_dense_model_is_run_once_for_all_explainers(classifier, explainer):
    dense = mock.Mock(side_effect=lambda images: images[:, :, ::8, ::8])
    shape, explainers = EvaluationShape(C, K, (), S), [explainer, OneCell()]
    evaluation = Evaluation(shape, explainers, [C2Score(dense)], (), classifier)
    inputs = probe_of(classifier, explainer).inputs
    batch = {"label": torch.arange(B) % C, "index": torch.arange(B)}
    dense.reset_mock()
    evaluation.update(batch, inputs, None, explainer.head(inputs.tokens))
    dense.assert_called_once()
    assert evaluation.compute().figures["c2_score"] is not None


def test_images_are_run_in_batches_of_the_evaluations_size(classifier, explainer):
    probe, sizes = probe_of(classifier, explainer, [0, 1]), []
    handle = classifier.model.register_forward_pre_hook(
        lambda _, given: sizes.append(len(given[0]))
    )
    probe.classify(probe.inputs.images.repeat(3, 1, 1, 1)[:5])
    probe.see(probe.inputs.images.repeat(3, 1, 1, 1), torch.arange(6) % 2, torch.zeros(6).long())
    handle.remove()
    assert max(sizes) <= 2


def test_an_explainers_answer_is_asked_for_once(classifier):
    explainer = mock.Mock()
    explainer.attribute.return_value = Attribution(torch.zeros(B, 1, 2, 2))
    probe = probe_of(classifier, explainer)
    assert probe.attribution is probe.attribution
    explainer.attribute.assert_called_once()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PixelDeletion(step=0), "step of pixel_deletion is 0"),
        (lambda: PixelInsertion(baseline="grey"), "baseline of pixel_insertion is 'grey'"),
        (lambda: PartTermDeletion(1.0), "share of part_term_deletion is 1.0"),
        (lambda: SpatialMisalignment("noise"), "change of spatial_misalignment is 'noise'"),
        (lambda: RandomisationCheck(0.5), "seed of randomisation_check is 0.5"),
    ],
)
def test_options_out_of_range_are_refused(make, told):
    with pytest.raises(PPNError, match=told):
        make()

"""Errors of surrogates, concepts removed and added, explanation size, agreement of dictionaries."""

from __future__ import annotations

import math
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppn.errors import PPNError
from ppn.metrics import (
    ConceptDeletion,
    ConceptInsertion,
    DictionaryAgreement,
    EvaluationShape,
    ExplanationSize,
    SurfEMD,
    SurfMAE,
    dictionary_agreement,
)
from ppn.metrics.concepts import logit_curves, random_order

B, C, K = 7, 4, 3


def shape(k=K):
    return EvaluationShape(C, k)


def softmax(values):
    top = [math.exp(value - max(values)) for value in values]
    return [value / sum(top) for value in top]


def figures(metric, *given):
    metric.setup(shape())
    metric.update(*given)
    return metric.figures(metric.compute())


def test_surf_equals_the_literal_loops():
    logits, estimate = 3 * torch.randn(2, B, C)
    labels = torch.arange(B) % C
    mae = sum(
        abs(logits[i, c].item() - estimate[i, c].item()) for i in range(B) for c in range(C)
    ) / (B * C)
    emd = 0.0
    for i in range(B):
        both = zip(softmax(logits[i].tolist()), softmax(estimate[i].tolist()), strict=True)
        emd += sum(abs(a - b) for a, b in both) / 2 / B
    assert figures(SurfMAE(), estimate, logits, labels)["surf_mae"] == pytest.approx(mae)
    assert figures(SurfEMD(), estimate, logits, labels)["surf_emd"] == pytest.approx(emd)
    for kind in (SurfMAE, SurfEMD):
        assert figures(kind(), logits, logits, labels)[kind.key] == 0


def test_random_importances_and_concepts_are_worse_surrogates():
    tokens, weight = torch.randn(50, 8), torch.randn(C, 8)
    concepts = torch.linalg.qr(torch.randn(8, 8)).Q
    labels = torch.zeros(50, dtype=torch.long)

    def error(importance, concepts):
        estimate = tokens @ concepts.T @ importance.T
        return figures(SurfMAE(), estimate, tokens @ weight.T, labels)["surf_mae"]

    importance = weight @ concepts.T
    assert error(importance, concepts) < 1e-5
    assert error(torch.randn(C, 8), concepts) > 0.5
    assert error(importance, torch.linalg.qr(torch.randn(8, 8)).Q) > 0.5


def literal_curve(logits, contributions, order, inserts):
    """Probability of the predicted class, and which class is predicted, after each step."""
    top = max(range(C), key=lambda c: logits[c])
    removed = set(range(K)) if inserts else set()
    chances, predicted = [], []
    for step in range(K + 1):
        if step:
            (removed.discard if inserts else removed.add)(order[step - 1])
        changed = list(logits)
        changed[top] -= sum(contributions[j] for j in removed)
        chances.append(softmax(changed)[top])
        predicted.append(max(range(C), key=lambda c: changed[c]))
    return chances, predicted


@pytest.mark.parametrize(("kind", "inserts"), [(ConceptDeletion, False), (ConceptInsertion, True)])
def test_concept_curves_equal_the_literal_loops(kind, inserts):
    logits, contributions = 2 * torch.randn(B, C), torch.randn(B, K)
    labels, indices = torch.arange(B) % C, torch.arange(B) + 11
    found = figures(kind(seed=5), contributions, logits, labels, indices)
    curves, right, at_random = [], [], []
    for i in range(B):
        given = logits[i].tolist(), contributions[i].tolist()
        order = sorted(range(K), key=lambda j: -contributions[i, j].item())
        chances, predicted = literal_curve(*given, order[::-1] if inserts else order, inserts)
        curves.append(chances)
        right.append([p == labels[i].item() for p in predicted])
        shuffled = np.random.default_rng([5, i + 11]).permutation(K).tolist()
        at_random.append(literal_curve(*given, shuffled, inserts)[0])

    def area(curve):
        return (sum(curve) - curve[0] / 2 - curve[-1] / 2) / K

    key = kind.key
    assert found[key] == pytest.approx(np.mean([area(c) for c in curves]))
    assert found[f"{key}_random"] == pytest.approx(np.mean([area(c) for c in at_random]))
    assert found[f"{key}_curve"] == pytest.approx(np.mean(curves, axis=0).tolist())
    assert found[f"{key}_accuracy"] == pytest.approx(np.mean(right, axis=0).tolist())


def test_the_logits_curve_is_known_in_closed_form():
    contributions = torch.tensor([[1.0, 4.0, 2.0]])
    order, logits = torch.tensor([[1, 2, 0]]), torch.tensor([7.5])
    assert logit_curves(logits, contributions, order, False).tolist() == [[7.5, 3.5, 1.5, 0.5]]
    assert logit_curves(logits, contributions, order, True).tolist() == [[0.5, 4.5, 6.5, 7.5]]


def test_deleting_the_largest_first_is_no_worse_than_any_order():
    logits, contributions = torch.randn(1, C), torch.rand(1, K)
    own = logits.amax(1)
    areas = [
        logit_curves(own, contributions, torch.tensor([order]), False).sum().item()
        for order in permutations(range(K))
    ]
    largest = contributions.argsort(dim=1, descending=True)
    assert logit_curves(own, contributions, largest, False).sum().item() == min(areas)


def test_a_random_order_follows_from_seed_and_image():
    order = random_order(torch.arange(30), 5, 1)
    assert torch.equal(random_order(torch.tensor([9]), 5, 1), order[[9]])
    assert order.sort(1).values.tolist() == [list(range(5))] * 30
    assert len({tuple(row) for row in order.tolist()}) > 20


def test_explanation_size_of_an_image_and_of_all():
    contributions = torch.tensor([[9.0, 0.5, 0.5], [1, 1, -5], [-1, -1, -2], [9.0, 0.5, 0.5]])
    labels = torch.tensor([0, 1, 2, 0])
    found = figures(ExplanationSize(), contributions, labels)
    assert found == {"explanation_size": (1 + 2 + 1) / 3, "explanation_size_global": 3}


def test_dictionaries_agree_up_to_order_and_length():
    first = torch.randn(C, K, 6)
    assert torch.allclose(
        dictionary_agreement(first, 3 * first[:, [2, 0, 1]]), torch.ones(C).double()
    )
    second = torch.randn(C, K + 1, 6)
    units = [torch.nn.functional.normalize(d.double(), dim=2) for d in (first, second)]
    for c, found in enumerate(dictionary_agreement(first, second).tolist()):
        best = max(
            sum(float(units[0][c, i] @ units[1][c, j]) for i, j in enumerate(order)) / K
            for order in permutations(range(K + 1), K)
        )
        assert found == pytest.approx(best)


def test_leaving_out_groups_gives_the_jackknifes_interval():
    first = torch.eye(4).repeat(3, 1, 1)[:, :2]
    angles = [0.1, 0.2, 0.5, 0.4]  # of parts found without each group, to what they were

    def again(halves, left_out):
        assert halves
        if left_out is None:
            return first, first
        assert left_out[1] == 4
        angle = angles[left_out[0]]
        second = first.clone()
        second[:, 0, 0], second[:, 0, 2] = math.cos(angle), math.sin(angle)
        return first, second

    metric = DictionaryAgreement(groups=4).setup(EvaluationShape(3, 2))
    seen = SimpleNamespace(again=again)
    for _ in range(2):  # batches
        metric.observe(seen)
    assert metric.figures(metric.compute()) == {"dictionary_agreement": 1.0}
    without = np.array([(math.cos(angle) + 1) / 2 for angle in angles])
    error = math.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    draws = metric.values(metric.compute()).draws
    assert draws.std(correction=0).item() == pytest.approx(error)
    assert draws.mean().item() == pytest.approx(1)
    plain = DictionaryAgreement().setup(EvaluationShape(3, 2))
    plain.observe(seen)
    assert plain.values(plain.compute()).draws is None
    with pytest.raises(PPNError, match="groups of dictionary_agreement is 1"):
        DictionaryAgreement(groups=1)


def test_parts_that_are_found_again_are_matched_and_what_is_empty_is_left_out():
    first = torch.eye(4).repeat(3, 1, 1)[:, :2]  # (3, 2, 4)
    second = first.flip(1).clone()
    second[1] = 0  # class 1 was not found the second time
    first[2, 1] = 0
    metric = DictionaryAgreement().setup(EvaluationShape(3, 2))
    for _ in range(2):  # as two processes would
        metric.update(first, second + 0.0)
    found = metric.values(metric.compute())
    assert metric.figures(metric.compute()) == {"dictionary_agreement": 1.0}
    expected = torch.tensor([[1.0, 1], [torch.nan, torch.nan], [1, torch.nan]]).double()
    assert torch.equal(found.prototypes.nan_to_num(-9), expected.nan_to_num(-9))
    third = torch.ones(3, 1, 4)  # fewer parts: one of two is matched, by an angle of 60 degrees
    metric.reset()
    metric.update(first[:1].repeat(3, 1, 1), third)
    assert metric.figures(metric.compute()) == {"dictionary_agreement": pytest.approx(0.5)}

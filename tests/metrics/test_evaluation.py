"""One evaluation: explainers beside each other, metrics that may be defined elsewhere."""

from __future__ import annotations

import json
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

import ppn.metrics.evaluation
from ppn.errors import PPNError
from ppn.explainers import CentreMaps, Inputs, PrototypeExplainer, RandomMaps
from ppn.metrics import (
    ClassShares,
    Consistency,
    DistinctPeaks,
    Evaluation,
    EvaluationShape,
    Metric,
    Stability,
    default_floors,
    default_metrics,
)
from ppn.metrics.flagging import Flagging
from ppn.metrics.maps import peak
from ppn.prototypes.head import PrototypeHead
from ppn.types import Tokens
from tests.toys import CornerMass, OneCell

IMAGES, C, K, D, S = 6, 3, 2, 5, 32
PARTS = ("beak", "tail")


def head(name="ours", k=K, seed=0, exact=True):
    made = PrototypeHead(C, k, D, name, exact)
    made.prototypes.copy_(torch.randn(C, k, D, generator=torch.Generator().manual_seed(seed)))
    return made


def seen(draw=0):
    """Images, their tokens and what a batch says of them."""
    generator = torch.Generator().manual_seed(10 + draw)
    tokens = torch.randn(IMAGES, 9, D, generator=generator)
    logits = torch.randn(IMAGES, C, generator=generator)
    pooled, scale = tokens.mean(1), torch.ones(IMAGES)
    given = Tokens(tokens, (3, 3), pooled, scale, logits)
    return Inputs(torch.zeros(IMAGES, 3, S, S), given, torch.arange(IMAGES), draw, seed=4)


def batch():
    generator = torch.Generator().manual_seed(1)
    points = S * torch.rand(IMAGES, len(PARTS), 2, generator=generator)
    keypoints = torch.cat([points, torch.ones(IMAGES, len(PARTS), 1)], -1)
    labels = torch.arange(IMAGES) % C
    return {"label": labels, "index": torch.arange(IMAGES), "keypoints": keypoints}


def evaluated(explainers, metrics, parts=PARTS, annotations=()):
    for explainer in explainers:
        explainer.prepare(SimpleNamespace(k=K, remainder=False))
    shape = EvaluationShape(C, K, parts, S)
    evaluation = Evaluation(shape, explainers, metrics, annotations)
    clean, noisy = seen(), seen(1) if evaluation.needs_noise else None
    evaluation.update(batch(), clean, noisy, explainers[0].head(clean.tokens))
    return evaluation.compute()


def alone(metric, explainer):
    """The score of one metric, fed by hand."""
    labels, keypoints = batch()["label"], batch()["keypoints"]
    maps = explainer.attribute(seen(), labels).maps
    metric.setup(EvaluationShape(C, maps.shape[1], PARTS, S))
    if isinstance(metric, Stability):
        metric.update(maps, explainer.attribute(seen(1), labels).maps, keypoints, labels)
    elif isinstance(metric, Consistency):
        metric.update(maps, keypoints, labels)
    else:
        metric.update(maps)
    return metric.figures(metric.compute())


def methods():
    return [PrototypeExplainer(head()), PrototypeExplainer(head("theirs", 3, 1, False))]


def test_every_explainer_has_the_scores_of_its_own_maps():
    explainers = [*methods(), OneCell(), *default_floors()]
    results = evaluated(explainers, default_metrics([CornerMass()]))
    rows = results.figures["explainers"]
    assert list(rows) == ["ours", "theirs", "one_cell", "random", "centre", "uniform"]
    for explainer in explainers:
        for kind in (Consistency, Stability, DistinctPeaks, CornerMass):
            for figure, value in alone(kind(), explainer).items():
                assert rows[explainer.name][figure] == value, (explainer.name, figure)
    assert len({row["stability"] for row in rows.values()}) > 2
    assert results.figures["refinement"] == "ours"
    for figure, value in results.scores["ours"].items():
        assert results.figures[figure] == value


def test_explainers_and_metrics_say_what_they_are():
    chosen, other = methods()
    metrics = default_metrics([CornerMass(weight=0.5)])
    figures = evaluated([chosen, other, OneCell(cell=3), RandomMaps()], metrics).figures
    described = ("kind", "title", "exact", "additive", "k")
    assert {name: [row[d] for d in described] for name, row in figures["explainers"].items()} == {
        "ours": ["method", "ours", True, True, 2],
        "theirs": ["method", "theirs", False, True, 3],
        "one_cell(cell=3)": ["control", "one cell", False, False, 1],
        "random": ["floor", "chance: random", False, False, 2],
    }
    assert figures["metrics"]["corner_mass"] == {
        "title": "Corner mass",
        "unit": "",
        "bounds": [0.0, 1.0],
        "higher_is_better": False,
        "help": "Share of maps whose maximum is in the first cell.",
        "protocol": "toy",
        "constants": {"weight": 0.5},
        "of_maps": True,
    }
    # In the order of the list; what gives no score is not described.
    scores = [metric for metric in metrics if not isinstance(metric, (ClassShares, Flagging))]
    assert list(figures["metrics"]) == [metric.key for metric in scores]
    assert not any("of_maps" in figures["metrics"][key] for key in ("accuracy", "agreement"))
    for key, about in figures["metrics"].items():
        assert key in figures
        assert about["title"]
        assert about["protocol"]
        assert about["help"].endswith(".")
    assert json.loads(json.dumps(figures)) == figures


def test_what_the_data_lacks_is_left_out():
    class Masked(CornerMass):
        key = "masked"
        needs = frozenset({"mask"})

        def figures(self, result):
            return {"masked": float(result)}

    metrics = default_metrics([Masked()])
    bare = evaluated(methods(), metrics, parts=()).figures
    for rows in (bare, bare["metrics"], *bare["explainers"].values()):
        assert not {"consistency", "stability", "masked"} & set(rows)
        assert "distinct_peaks" in rows
    assert "masked" in evaluated(methods(), metrics, (), ["mask"]).figures["metrics"]


@pytest.mark.parametrize("parts", [PARTS, ()])
def test_images_with_noise_are_wanted_only_where_a_metric_compares_them(parts):
    shape = EvaluationShape(C, K, parts, S)
    assert Evaluation(shape, methods(), default_metrics()).needs_noise == bool(parts)


def test_maxima_are_found_once_for_all_metrics():
    with mock.patch.object(ppn.metrics.evaluation, "peak", side_effect=peak) as found:
        evaluated(methods(), [Consistency(), Stability(), DistinctPeaks()])
    assert found.call_count == 4  # two explainers, with and without noise
    with mock.patch.object(ppn.metrics.evaluation, "peak", side_effect=AssertionError):
        evaluated(methods(), [DistinctPeaks()])


@pytest.mark.filterwarnings("error")
def test_without_contributions_nothing_is_said_of_them():
    chosen = PrototypeExplainer(head(), additive=False)
    rows = evaluated([chosen, CentreMaps()], default_metrics()).figures["explainers"]
    assert rows["ours"]["completeness_error"] is None  # its maps claim no such thing
    assert rows["ours"]["gini"] > 0
    low, high = rows["ours"]["gini_image_interval"]
    assert 0 <= low < rows["ours"]["gini"] < high <= 1
    assert rows["centre"]["gini"] is None
    assert rows["centre"]["completeness_error"] is None
    explained = evaluated([PrototypeExplainer(head())], default_metrics()).figures
    assert 0 <= explained["completeness_error"] < 1e-5


def test_numbers_for_loggers():
    results = evaluated([*methods(), CentreMaps()], default_metrics())
    numbers = results.numbers()
    assert all(type(value) is float for value in numbers.values())
    assert numbers["accuracy"] == results.figures["accuracy"]
    assert numbers["stability"] == numbers["stability/ours"]
    assert numbers["stability/centre"] == 100
    named = {name.split("/")[0] for name in numbers}
    assert not named & {"kind", "title", "exact", "additive", "k", "consistency_sweep"}
    assert "gini/centre" not in numbers


def test_details_are_found_by_what_they_hold():
    results = evaluated(methods(), default_metrics())
    assert results.having("best_part", "best_share") is results.results["consistency"]
    assert results.having("share", "images").share.shape == (C, K)
    assert results.having("no such thing") is None


def test_a_given_metric_takes_the_place_of_the_default_one_of_its_key():
    metrics = default_metrics([CornerMass(), Consistency(threshold=0.1)])
    assert [m.key for m in metrics] == [*(m.key for m in default_metrics()), "corner_mass"]
    figures = evaluated(methods(), metrics).figures
    assert figures["metrics"]["consistency"]["constants"]["threshold"] == 0.1


def test_two_of_one_name_are_refused():
    shape = EvaluationShape(C, K, PARTS, S)
    for threshold in (0.8, 0.1):
        twice = [Consistency(threshold=threshold), Consistency(threshold=threshold)]
        with pytest.raises(PPNError, match="Two metrics are called 'consistency"):
            Evaluation(shape, methods(), twice)
    with pytest.raises(PPNError, match="There is nothing to measure"):
        Evaluation(shape, methods(), [])
    with pytest.raises(PPNError, match="Two explainers are called 'ours'"):
        Evaluation(shape, [*methods(), PrototypeExplainer(head())], default_metrics())


def test_two_metrics_of_one_class_are_told_apart_by_their_options():
    chosen = [Consistency(threshold=0.1), Consistency(), Consistency(half_size=9)]
    found = evaluated(methods(), chosen).figures
    for key, one in (
        ("consistency_threshold_0_1", chosen[0]),
        ("consistency", chosen[1]),
        ("consistency_half_size_9", chosen[2]),
    ):
        alone = evaluated(methods(), [one]).figures
        for name in ("", "_sweep", "_standard_error", "_interval"):
            assert found[f"{key}{name}"] == alone[f"consistency{name}"], key
    titles = [about["title"] for about in found["metrics"].values()]
    assert titles == ["Consistency (threshold=0.1)", "Consistency", "Consistency (half_size=9)"]
    assert [metric.key for metric in chosen] == ["consistency"] * 3


def test_given_metrics_stay_as_they_are():
    metric = CornerMass()
    for _ in range(2):
        evaluated(methods(), [metric])
    assert not metric._defaults


@pytest.mark.parametrize("metric", default_metrics(), ids=lambda metric: metric.key)
def test_constructors_hold_options_only(metric):
    assert isinstance(metric, Metric)
    assert type(metric)(**metric.options).name == metric.key
    assert not metric._defaults

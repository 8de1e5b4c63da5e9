"""What the report takes from the results, of metrics and explainers that it has never heard of."""

import re

import pytest

from ppn.errors import DataError
from ppn.report.content import Column, Report
from ppn.report.measured import measured
from ppn.report.render import render
from ppn.report.summary import explainers, facts, metrics, sensitivity
from tests.measured import ABOUT, figures


@pytest.fixture
def found():
    return measured(figures(), "The evaluation")


def page(found):
    parts = {"metrics": metrics(found), "explainers": explainers(found)}
    parts |= {"sensitivity": sensitivity(found), "facts": facts(found)}
    return render(Report(title="Toys", model="m", dataset="d", split="test", **parts))


def test_every_metric_is_shown_on_its_own_scale_beside_its_floors(found):
    shown = {metric.name: metric for metric in metrics(found)}
    maps = ["Consistency", "Distinct peaks", "Toy drift"]
    assert list(shown) == [*maps, "Effective prototypes", "Toy weight"]
    drift = shown["Toy drift"]
    assert (drift.value, drift.unit, drift.better) == (12.5, "px", "lower")
    assert drift.bounds == (0, 50)
    assert drift.levels == {"chance: random": 40.5, "chance: centre": 30.5}
    assert (drift.protocol, drift.constants) == ("toy-2026", {"toys": 7})
    assert (shown["Consistency"].error, drift.error) == (4.0, None)
    weight = shown["Toy weight"]
    assert (weight.better, weight.levels, weight.bounds) == (None, {}, None)
    html = page(found)
    assert '<span class="mark" style="left:25.0%">' in html  # 12.5 of 50
    assert html.count("Lower is better.") == 1


def test_the_best_of_a_column_is_sought_in_its_own_direction(found):
    rows = {row.name: row for row in explainers(found)}
    assert list(rows) == ["cam_split", "equal", "unrefined", "Toy maps", "shuffled head"]
    assert rows["Toy maps"].values[Column("Toy drift", "px", "lower")] == 20.5
    assert [name for name, row in rows.items() if row.chosen] == ["cam_split"]
    assert [name for name, row in rows.items() if not row.exact] == ["unrefined"]
    html = page(found)
    table = html[html.index('id="explainers"') : html.index("</table>")]
    # The control and what is not exact are better, but do not count.
    assert re.findall(r"<strong>([^<]+)</strong>", table) == ["80.0", "0.950", "7.50"]


def test_the_first_metric_of_maps_is_among_the_key_numbers(found):
    shown = {fact.label: fact for fact in facts(found)}
    assert shown["Consistency"].value == 80.0
    assert "chance: centre 50.0" in shown["Consistency"].help
    without = {key: ABOUT[key] for key in ("toy_drift", "toy_weight")}
    others = facts(measured(figures(metrics=without), "The evaluation"))
    assert [fact.label for fact in others][2] == "Toy drift"


def test_the_sensitivity_of_any_metric_is_read_by_its_constants():
    constants = {"sweep_weights": [1, 2, 3], "weight": 2, "sweep_ages": [4], "age": 5}
    toy = {**ABOUT["toy_drift"], "constants": constants}
    about = {"consistency": ABOUT["consistency"], "toy_drift": toy}
    changed = figures(metrics=about, toy_drift_sweep=[[10.0], [20.0], [30.0]])
    first, second = sensitivity(measured(changed, "The evaluation"))
    assert (first.metric, first.default) == ("Consistency %", (36, 0.8))
    assert first.rows == ("half size", [27, 36])
    assert first.columns == ("threshold", [0.7, 0.8])
    assert (second.metric, second.bounds) == ("Toy drift px", (0, 50))
    assert (second.rows, second.columns) == (("weight", [1, 2, 3]), ("age", [4]))
    html = page(measured(changed, "The evaluation"))
    assert 'class="default" style="--a:0.8"' in html
    assert 'style="--a:0.6">30.0' in html


def test_titles_that_are_given_twice_fall_back_to_names():
    twice = figures()
    for name in ("toy", "shuffled"):
        twice["explainers"][name]["title"] = "Same"
    rows = [row.name for row in explainers(measured(twice, "The evaluation"))]
    assert rows == ["cam_split", "equal", "unrefined", "toy", "shuffled"]


def test_results_of_before_are_refused():
    with pytest.raises(DataError, match="The evaluation is from an earlier version of ppn: run"):
        measured({"accuracy": 0.5, "strategies": {}}, "The evaluation")

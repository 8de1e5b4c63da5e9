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
    assert drift.levels == {"annotated parts": 6.5, "chance: random": 40.5, "chance: centre": 30.5}
    assert (drift.protocol, drift.constants) == ("toy-2026", {"toys": 7})
    assert (shown["Consistency"].error, drift.error) == (4.0, None)
    weight = shown["Toy weight"]
    assert (weight.better, weight.levels, weight.bounds) == (None, {}, None)
    html = page(found)
    assert '<span class="mark" style="left:25.0%">' in html  # 12.5 of 50
    assert html.count("Lower is better.") == 1


def test_intervals_differences_and_the_share_of_the_ceiling_are_shown():
    changed = figures(
        consistency_interval=[72.0, 88.5],
        consistency_image_interval=[76.0, 84.0],
        consistency_ceiling_share=0.75,
    )
    changed["explainers"]["cam_split"]["consistency_interval"] = [72.0, 88.5]
    changed["explainers"]["equal"]["consistency_difference"] = [20.0, 12.5, 27.0]
    html = page(measured(changed, "The evaluation"))
    scale = html[html.index("<h3>Consistency") : html.index("<h3>Distinct peaks")]
    assert "72.0 to 88.5" in scale
    assert 'class="span" style="left:72.0%;width:16.5%"' in scale
    assert "over images it is 76.0 to 84.0." in scale
    assert "Share of the ceiling, from the best floor on: 0.75." in scale
    assert "annotated parts <b>90" in scale
    assert "± 4" not in scale
    minus = "\N{MINUS SIGN}"
    assert f"<small>{minus}20.0 ({minus}27.0 to {minus}12.5)</small>" in html
    assert "<small>72.0 to 88.5</small>" in html
    assert "Small print: 95 % intervals" in html
    assert "Small print" not in page(measured(figures(), "The evaluation"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"consistency_interval": [1.0]},
        {"consistency_interval": 5.0},
        {"consistency_ceiling_share": "half"},
        {"consistency_difference": [1.0, 2.0]},
    ],
)
def test_intervals_that_are_none_are_refused(wrong):
    with pytest.raises(DataError, match="The evaluation is not what ppn writes"):
        measured(figures(**wrong), "The evaluation")
    changed = figures()
    changed["explainers"]["equal"] |= wrong
    with pytest.raises(DataError, match="The evaluation is not what ppn writes"):
        measured(changed, "The evaluation")


def test_the_best_of_a_column_is_sought_in_its_own_direction(found):
    rows = {row.name: row for row in explainers(found)}
    assert list(rows) == [
        "cam_split",
        "equal",
        "unrefined",
        "Toy maps",
        "shuffled head",
        "annotated parts",
    ]
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
    assert "of cells" not in shown["Consistency"].help
    token = figures(head={**found.figures["head"], "case": "class_token"})
    cells = {fact.label: fact for fact in facts(measured(token, "The evaluation"))}
    assert cells["Consistency"].help.startswith("of cells, not of the maps shown below, ")
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
    assert rows == ["cam_split", "equal", "unrefined", "toy", "shuffled", "annotated parts"]


def test_results_of_before_are_refused():
    with pytest.raises(DataError, match="The evaluation is from an earlier version of ppn: run"):
        measured({"accuracy": 0.5, "strategies": {}}, "The evaluation")

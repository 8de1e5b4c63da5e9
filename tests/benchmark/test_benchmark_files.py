"""Cells that were damaged, tables and figures of made-up results, and every benchmark's file."""

import json
import math
import re
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ppn
from ppn.benchmark.cells import Cell, read_cell, write_cell
from ppn.benchmark.config import Benchmark
from ppn.benchmark.critical_difference import critical_difference
from ppn.benchmark.figures import draw
from ppn.benchmark.results import Outcome
from ppn.benchmark.tables import curve_table, latex, markdown
from ppn.benchmark.tokens import StoredInterventions
from ppn.commands.benchmark import make_parser
from ppn.commands.recipes import resolve
from ppn.data.interventions import Interventions
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.errors import DataError
from ppn.explainers import Explainer
from ppn.metrics import Consistency, DistinctPeaks, Metric
from ppn.metrics.intervals import bootstrap_interval
from ppn.metrics.ranks import ranking
from ppn.metrics.resampling import Values
from ppn.metrics.score import Evaluated
from ppn.refinement import Alpha, CamSplit, Equal
from ppn.types import InputConfig
from tests import fakes
from tests.toys import OneCell, SharedChannels

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments/benchmark").glob("*.yaml"))
METRICS = (Consistency, DistinctPeaks)
# Scores of consistency by class; equal and alpha are the same as printed.
SCORES = {
    "shared_channels + cam_split": [60.0, 80.0, 70.0],
    "shared_channels + equal": [50.0, 55.0, 60.0],
    "shared_channels + alpha": [50.0, 55.0, 60.03],
    "ceiling": [90.0, 90.0, 90.0],
    "one_cell": [99.0, 99.0, 99.0],
    "random_exact": [5.0, 5.0, 5.0],
    "random": [0.0, 10.0, 20.0],
}


def evaluated(name, classes, benchmark):
    one = next(e for e in benchmark.explainers if e.name == name)
    title = one.title or name
    about = {"title": title, "kind": one.kind, "exact": True, "additive": True, "k": 2}
    mean = sum(classes) / len(classes)
    values = Values(torch.tensor(classes, dtype=torch.float64), torch.full((3, 2), mean))
    figures = {"consistency": mean, "distinct_peaks": mean / 100}
    described = {m.key: {**m.about(), "protocol": m.protocol, "of_maps": True} for m in METRICS}
    known = {"consistency": values}
    return Evaluated(name, about, figures, described, known, ["a", "b", "c"], 6, 0.001)


@pytest.fixture
def outcome():
    birds = SyntheticBirdsDataModule(num_classes=3)
    ways = [CamSplit(), Equal(), Alpha()]
    metrics = [metric() for metric in METRICS]
    benchmark = Benchmark(
        birds, "none.ckpt", [SharedChannels()], ways, [OneCell()], metrics, seeds=[0, 1], k=2
    )
    cost = {"fit_seconds": 1.0, "seconds_per_image": 0.001, "peak_mib": None, "parameters": 7.0}
    cells = [
        Cell(one.name, seed, evaluated(one.name, SCORES[one.name], benchmark), "", cost)
        if one.name in SCORES
        else Cell(one.name, seed, None, "It cannot.")
        for one in benchmark.explainers
        for seed in (0, 1)
    ]
    return Outcome(benchmark, cells)


def test_the_best_method_is_bold_the_second_underlined_and_equals_are_alike(outcome):
    table = markdown(outcome, "x").partition("\n## ")[0]
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()}
    assert "**70.0**" in rows["shared_channels + cam_split"]
    assert "<ins>55.0</ins>" in rows["shared_channels + equal"]
    assert "<ins>55.0</ins>" in rows["shared_channels + alpha"]
    for other in ("annotated parts", "one cell", "chance: random"):
        assert "**" not in rows[other]
    text = latex(outcome)
    assert r"\textbf{70.0} {\scriptsize [60.0, 80.0]}" in text
    assert text.count(r"\underline{55.0} {\scriptsize") == 2
    assert text.count(r"\midrule") == 4
    assert "`centre`: It cannot." in markdown(outcome, "x")


def test_shares_of_the_ceiling_and_ranks(outcome):
    score = outcome.score("shared_channels + cam_split", "consistency")
    assert score.share == pytest.approx((70 - 10) / (90 - 10))
    assert outcome.score("one_cell", "distinct_peaks").interval is None
    names, ranked = outcome.ranked(outcome.measured.metrics["consistency"])
    assert names == [n for n in SCORES if n not in ("ceiling", "random")]
    # Equal and alpha share 3.5 on two classes; on the third they are 4th and 3rd.
    assert [mean.mean for mean in ranked.mean] == pytest.approx([2, 11 / 3, 10 / 3, 1, 5])
    assert outcome.ranked(outcome.measured.metrics["distinct_peaks"]) is None


def with_curves(outcome, name, curves):
    """The same outcome, whose explainer has curves of each class, the same for both seeds."""
    cells = []
    for cell in outcome.cells:
        if cell.name == name:
            values = dict(cell.evaluated.values)
            values["consistency"] = values["consistency"]._replace(curves=torch.tensor(curves))
            cell = replace(cell, evaluated=replace(cell.evaluated, values=values))
        cells.append(cell)
    return Outcome(outcome.benchmark, cells)


def test_curves_have_bands_over_classes(outcome, tmp_path):
    curves = [[1.0, 0.9, 0.1], [1.0, 0.5, math.nan], [1.0, 0.1, 0.3]]
    found = with_curves(outcome, "random", curves).curve("random", "consistency")
    assert found.mean.tolist() == pytest.approx([1, 0.5, 0.2])
    expected = bootstrap_interval([0.9, 0.5, 0.1])
    assert (found.low[1], found.high[1]) == pytest.approx((expected.low, expected.high))
    assert (found.low[0], found.high[0]) == (1, 1)
    assert outcome.curve("random", "consistency") is None
    assert outcome.curve("one_cell", "distinct_peaks") is None
    both = with_curves(with_curves(outcome, "random", curves), "one_cell", curves)
    draw(both, tmp_path)
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"curve-consistency.{suffix}").stat().st_size > 1000
    lines = curve_table(both).splitlines()
    assert lines[0] == "explainer,metric,step,mean,low,high"
    assert len(lines) == 1 + 2 * 3
    assert lines[1].startswith("one_cell,consistency,0,1.0,1.0,1.0")


def test_a_cell_is_read_as_it_was_written(outcome, tmp_path):
    for number, cell in enumerate(outcome.cells):
        write_cell(tmp_path / f"{number}.json", cell)
        kept = read_cell(tmp_path / f"{number}.json")
        assert (kept.name, kept.seed, kept.why_empty) == (cell.name, cell.seed, cell.why_empty)
        if cell.evaluated is not None:
            assert kept.evaluated.figures == cell.evaluated.figures
            assert kept.evaluated.prototypes() == cell.evaluated.prototypes()
            assert kept.cost == cell.cost


def test_images_without_parts_are_kept_as_they_were(tmp_path):
    birds = SyntheticBirdsDataModule(num_classes=3, test_per_class=1, draw_size=64)
    birds.input_config = InputConfig(size=(64, 64))
    whole = Interventions.of(birds.view("test"))
    for _ in range(2):  # the second time from the disk
        kept = StoredInterventions.of(birds.view("test"), tmp_path)
        assert torch.equal(kept.regions(1), whole.regions(1))
        assert torch.equal(kept.without_parts(1, ["beak"]), whole.without_parts(1, ["beak"]))
    assert kept.answers(1) == {}
    said = {0: torch.tensor([1.0, 2.0]), 5: torch.tensor([3.0, 4.0])}
    kept.learn(1, said)
    found = StoredInterventions.of(birds.view("test"), tmp_path).answers(1)
    assert {gone: logits.tolist() for gone, logits in found.items()} == {0: [1, 2], 5: [3, 4]}


@given(st.data())
def test_a_damaged_cell_is_refused_or_read(outcome_text, data):
    path, content = outcome_text
    text = json.dumps(content)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(['"', "{", "]", "null", "-1", "1e999", ""]))
    path.write_text(text[:at] + other + text[at + data.draw(st.integers(0, 20)) :])
    with suppress(DataError):  # and nothing else
        assert isinstance(read_cell(path).name, str)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("about", {}),
        ("about", {"title": "t", "kind": "best", "exact": True, "additive": True, "k": 2}),
        ("class_names", ["a"]),
        ("name", "other"),
        ("seed", 1),
    ],
)
def test_a_cell_of_something_else_is_refused(outcome_text, part, changed):
    path, content = outcome_text
    path.write_text(json.dumps({**content, part: changed}))
    with pytest.raises(DataError, match="delete it, and run the benchmark again"):
        read_cell(path, ("one_cell", 0))


@pytest.fixture(scope="module")
def outcome_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("cell") / "cell.json"
    birds = SyntheticBirdsDataModule(num_classes=3)
    metrics = [metric() for metric in METRICS]
    benchmark = Benchmark(birds, "none.ckpt", explainers=[OneCell()], metrics=metrics)
    write_cell(path, Cell("one_cell", 0, evaluated("one_cell", [1.0, 2.0, 3.0], benchmark), "", {}))
    return path, json.loads(path.read_text())


def test_names_of_a_critical_difference_diagram_are_inside_of_it():
    ranked = ranking(torch.rand(6, 9).numpy(), higher_is_better=True)
    figure = critical_difference([f"explainer number {n}" for n in range(9)], ranked, "Toy")
    figure.draw_without_rendering()
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y0 >= 0, text
        assert box.y1 <= figure.bbox.height, text


def test_every_metric_is_in_the_full_list_and_on_its_page():
    page = (ROOT / "docs/metrics.md").read_text()
    listed = yaml.safe_load((ROOT / "configs/benchmark/metrics.yaml").read_text())
    names = {one if isinstance(one, str) else one["class_path"] for one in listed}
    kinds = {
        name
        for name, one in vars(ppn.metrics).items()
        if isinstance(one, type) and issubclass(one, Metric) and one is not Metric
    }
    assert len(kinds) > 25
    assert [name for name in sorted(kinds) if f"`{name}`" not in page] == []
    # Of the network alone, and what needs another model.
    assert kinds - names == {"ClassShares", "Flagging", "C2Score"}


def test_every_explainer_is_in_the_full_list_and_on_its_page():
    page = (ROOT / "docs/explainers.md").read_text()
    listed = yaml.safe_load((ROOT / "configs/benchmark/explainers.yaml").read_text())
    names = {one if isinstance(one, str) else one["class_path"] for one in listed}
    kinds = {
        name
        for name, one in vars(ppn.explainers).items()
        if isinstance(one, type) and issubclass(one, Explainer) and one is not Explainer
    }
    of_network = {"PrototypeExplainer", "FittedPrototypes"}
    assert [name for name in sorted(kinds - of_network) if f"`{name}`" not in page] == []
    levels = {
        "Ceiling",
        "RandomExact",
        "OtherClassExact",
        "RandomMaps",
        "CentreMaps",
        "UniformMaps",
    }
    # Trained before, by the user; and maps for classifiers whose cells are not exact.
    trained = {"TrainedMaps", "TrainedProtoPNet", "IntegratedMaps"}
    assert kinds - names == of_network | levels | trained


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_and_its_command_are_parsed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (command,) = re.findall(r"^# (ppn benchmark .*)", path.read_text(), flags=re.MULTILINE)
    root = str(fakes.cub(tmp_path / "CUB_200_2011"))
    words = [word.replace("ROOT", root) for word in shlex.split(command)[2:]]
    found = make_parser().parse_args(resolve(words))
    # A comparison of maps needs one network; the others compare every way to refine it.
    assert len(found.refinements) >= (1 if path.stem.startswith("maps") else 5)
    assert {"consistency", *found.columns} >= {"consistency"}
    page = (ROOT / "docs/benchmark.md").read_text()
    assert path.stem != "cub10" or command in page

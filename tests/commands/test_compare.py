"""Finished runs side by side, from files as `ppn test` writes them."""

import csv
import json
import shutil
from collections import Counter

import pytest
import yaml
from PIL import Image

from ppn.__main__ import main
from tests.measured import ABOUT, figures


def write(folder, module="CUBDataModule", crop="box", **changes):
    """A run's files."""
    config = {
        "model": {"init_args": {"architecture": "resnet_50", "k": 3}},
        "data": {
            "class_path": f"ppn.data.cub.{module}",
            "init_args": {"root": str(folder), "crop": crop, "num_workers": 2, "split_seed": 1},
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(figures(**changes)))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def runs(tmp_path):
    first = write(tmp_path / "a/test")
    changes = {"consistency": 70.0, "distinct_peaks": 0.5, "toy_drift": 22.5}
    second = write(tmp_path / "b/test", accuracy=0.8, agreement=0.95, **changes)
    return [str(first), str(second)]


def test_the_table_shows_both_runs_by_names_that_differ(runs, capsys):
    assert main(["compare", *runs]) == 0
    out = capsys.readouterr().out
    for text in ("a/test", "b/test", "resnet_50", "80.0 ± 4.0", "70.0 ± 4.0", "95.0", "0.950"):
        assert text in out, text
    assert "Consistency %, chance: centre" in out
    assert "contributions and maps exact" in out
    assert "Not comparable" not in out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"module": "CarsDataModule"}, "data differ: CUB (a); Cars (b)"),
        ({"split": "val"}, "split differ: test (a); val (b)"),
        ({"images": 99}, "images differ: 243 (a); 99 (b)"),
        ({"crop": "frame"}, "options of the data differ between: a; b"),
        (
            {"metrics": {**ABOUT, "toy_drift": {**ABOUT["toy_drift"], "constants": {"toys": 8}}}},
            "protocols differ between: a; b",
        ),
    ],
)
def test_what_is_not_comparable_is_said_everywhere(tmp_path, capsys, changes, told):
    given = [str(write(tmp_path / "a")), str(write(tmp_path / "b", **changes))]
    for suffix in (".csv", ".md", ".tex", ".json"):
        file = tmp_path / f"out{suffix}"
        assert main(["compare", *given, "--out", str(file)]) == 0
        assert told in file.read_text()
        assert told in capsys.readouterr().out


def test_tables_hold_the_numbers(runs, tmp_path):
    for suffix in ("csv", "md", "tex", "json"):
        assert main(["compare", *runs, "--out", str(tmp_path / f"out.{suffix}")]) == 0
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["Consistency %"]) for row in rows] == [80, 70]
    assert [float(row["Consistency %, standard error"]) for row in rows] == [4, 4]
    assert [float(row["accuracy %"]) for row in rows] == [90, 80]
    assert [float(row["Consistency %, chance: centre"]) for row in rows] == [50, 50]
    assert [row["k"] for row in rows] == ["3", "3"]
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["runs"][1]["Distinct peaks"] == 0.5
    assert found["runs"][0]["explainers"]["equal"]["consistency"] == 60
    assert found["notes"] == []
    head, rule, *lines = (tmp_path / "out.md").read_text().splitlines()
    assert len({line.count("|") for line in (head, rule, *lines)}) == 1
    assert r"resnet\_50" in (tmp_path / "out.tex").read_text()
    assert r"80.0 $\pm$ 4.0" in (tmp_path / "out.tex").read_text()


def test_a_benchmark_needs_no_accuracy(tmp_path, capsys):
    runs = [write(tmp_path / name, accuracy=None, seeds=[0]) for name in "ab"]
    assert main(["compare", *map(str, runs)]) == 0
    assert "Not comparable" not in capsys.readouterr().out
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "both.md")]) == 0


def test_intervals_and_levels_stand_beside_scores(tmp_path, capsys):
    run = write(tmp_path / "a", consistency_interval=[72.0, 88.5], consistency_ceiling_share=0.75)
    assert main(["compare", str(run), "--out", str(tmp_path / "out.csv")]) == 0
    out = capsys.readouterr().out
    assert "80.0 [72.0, 88.5]" in out
    with (tmp_path / "out.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert [row[f"Consistency %, 95 % {end}"] for end in ("low", "high")] == ["72.0", "88.5"]
    assert row["Consistency %, share of the ceiling"] == "0.75"
    assert row["Consistency %, annotated parts"] == "90.0"
    assert row["Consistency %, shuffled head"] == "10.0"
    assert main(["compare", str(run), "--out", str(tmp_path / "out.svg")]) == 0


def test_figures_are_drawn(runs, tmp_path):
    for suffix, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        file = tmp_path / f"out.{suffix}"
        assert main(["compare", *runs, "--out", str(file)]) == 0
        assert file.read_bytes().startswith(start)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 1000


def test_the_figure_has_every_explainer_run_and_floor(runs, monkeypatch):
    from matplotlib.figure import Figure

    from ppn.commands.comparison_figure import draw
    from ppn.commands.finished_run import read_runs

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (drawn.append(f), save(f, *a, **k)))
    draw(read_runs(runs), ["A note."], "svg")
    (figure,) = drawn
    consistency, _, drift, *rest = figure.axes
    heights = {80: 2, 60: 2, 90: 4, 65: 2, 10: 2}
    assert Counter(bar.get_height() for bar in consistency.patches) == heights
    assert [text.get_text() for text in consistency.get_xticklabels()] == ["a/test", "b/test"]
    levels = [line.get_ydata()[0] for line in consistency.lines if len(line.get_xdata()) == 2]
    assert levels.count(50.0) == 2
    assert consistency.get_title(loc="left") == "Consistency % ↑"
    assert drift.get_title(loc="left") == "Toy drift px ↓"
    assert (drift.get_ylim()[0], drift.get_ylim()[1]) == pytest.approx((-1, 52))
    assert sorted(bar.get_height() for bar in drift.patches)[:2] == [3.5, 3.5]
    assert not any(axis.axison for axis in rest)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "cam_split",
        "equal",
        "unrefined (not exact)",
        "Toy maps",
        "shuffled head (control)",
        "annotated parts (ceiling)",
        "chance: random",
        "chance: centre",
    ]


def test_a_metric_that_ppn_does_not_know_has_columns_too(runs, tmp_path, capsys):
    assert main(["compare", *runs, "--out", str(tmp_path / "out.csv")]) == 0
    out = capsys.readouterr().out
    for text in ("Consistency % ↑", "Toy drift px ↓", "Toy weight g  ", "22.5", "123"):
        assert text in out, text
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["Toy drift px"]) for row in rows] == [12.5, 22.5]
    assert [float(row["Toy drift px, chance: random"]) for row in rows] == [40.5, 40.5]
    assert main(["compare", *runs, "--out", str(tmp_path / "out.tex")]) == 0
    assert r"Toy drift px $\downarrow$" in (tmp_path / "out.tex").read_text()


def test_runs_with_different_metrics_are_compared_in_what_they_share(tmp_path, capsys):
    fewer = {key: ABOUT[key] for key in ("consistency", "toy_weight")}
    given = [str(write(tmp_path / "a")), str(write(tmp_path / "b", metrics=fewer))]
    assert main(["compare", *given, "--out", str(tmp_path / "out.csv")]) == 0
    assert "Not comparable" not in capsys.readouterr().out
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["Consistency %"] for row in rows] == ["80.0", "80.0"]
    assert main(["compare", *given, "--out", str(tmp_path / "out.svg")]) == 0


def test_a_black_box_has_fewer_numbers_and_no_figure(runs, tmp_path, capsys):
    box = tmp_path / "box"
    box.mkdir()
    content = {"split": "test", "model": "ClassificationTask", "accuracy": 0.7}
    (box / "metrics.json").write_text(json.dumps(content))
    assert main(["compare", runs[0], str(box)]) == 0
    assert "70.0" in capsys.readouterr().out
    assert main(["compare", str(box), "--out", str(tmp_path / "x.png")]) == 2
    assert "None of these runs has scores of maps" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def _absent(folder):
    shutil.rmtree(folder)


def _broken(folder):
    (folder / "metrics.json").write_text('{"split": ')


def _foreign(folder):
    (folder / "metrics.json").write_text('{"loss": 1}')


def _list(folder):
    (folder / "metrics.json").write_text("[]")


def _old(folder):
    (folder / "metrics.json").write_text(json.dumps(figures(strategies={}, chance={})))


def _no_kind(folder):
    explainers = {"cam_split": {"kind": "toy", "title": "", "exact": True}}
    (folder / "metrics.json").write_text(json.dumps(figures(explainers=explainers)))


def _no_scale(folder):
    metrics = {"toy_drift": {**ABOUT["toy_drift"], "bounds": [3, 3]}}
    (folder / "metrics.json").write_text(json.dumps(figures(metrics=metrics)))


def _no_number(folder):
    (folder / "metrics.json").write_text(json.dumps(figures(toy_drift="far")))


def _bad_config(folder):
    (folder / "config.yaml").write_text("a: [")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_absent, "has no metrics.json"),
        (_broken, "cannot be read"),
        (_foreign, "is not what `ppn test` writes"),
        (_list, "is not what ppn writes"),
        (_old, "is from an earlier version of ppn: run `ppn test` again"),
        (_no_kind, "explainers['cam_split'].kind is none of method, control, floor, ceiling"),
        (_no_scale, "bounds are not two ends of a scale"),
        (_no_number, "toy_drift: expected `float | null`, got `str`"),
        (_bad_config, "config.yaml cannot be read"),
    ],
)
def test_a_damaged_run_is_refused_in_one_sentence(runs, tmp_path, capsys, damage, message):
    damage(tmp_path / "b/test")
    assert main(["compare", *runs, "--out", str(tmp_path / "out.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert str(tmp_path / "b/test") in line
    assert not (tmp_path / "out.csv").exists()


def test_other_mistakes_are_told_in_one_sentence(runs, capsys):
    assert main(["compare", *runs, "--out", "table.docx"]) == 2
    assert "neither a table nor a figure" in capsys.readouterr().err
    assert main(["compare", runs[0], runs[0]]) == 2
    assert "given twice" in capsys.readouterr().err
    assert main(["compare"]) == 2
    assert "see ppn compare --help" in capsys.readouterr().err

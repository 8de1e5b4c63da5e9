"""Finished runs side by side, from files as `ppn test` writes them."""

import csv
import json
import shutil

import pytest
import yaml
from PIL import Image

from ppn.__main__ import main

STRATEGIES = {"cam_split": (80.0, 0.95), "equal": (60.0, 0.9)}
CHANCE = {"random": (0.0, 0.98), "centre": (50.0, 0.0)}


def scores(consistency, distinct_peaks):
    return {
        "consistency": consistency,
        "consistency_standard_error": 4.0,
        "stability": 40.0,
        "distinctiveness": 0.8,
        "distinct_peaks": distinct_peaks,
    }


def write(folder, module="CUBDataModule", crop="box", **changes):
    """A run's files."""
    figures = {
        "split": "test",
        "model": "PrototypeTask",
        "images": 243,
        "accuracy": 0.9,
        "blackbox_accuracy": 0.9,
        "agreement": 1.0,
        **scores(*STRATEGIES["cam_split"]),
        "strategy": "cam_split",
        "strategies": {name: scores(*values) for name, values in STRATEGIES.items()},
        "chance": {name: scores(*values) for name, values in CHANCE.items()},
        "protocols": {"consistency": {"protocol": "evalprotopnet-2023", "constants": {}}},
        "head": {"level": "contributions and maps exact"},
        **changes,
    }
    config = {
        "model": {"init_args": {"architecture": "resnet_50", "k": 3}},
        "data": {
            "class_path": f"ppn.data.cub.{module}",
            "init_args": {"root": str(folder), "crop": crop, "num_workers": 2, "split_seed": 1},
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(figures))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def runs(tmp_path):
    first = write(tmp_path / "a/test")
    second = write(tmp_path / "b/test", accuracy=0.8, agreement=0.95, **scores(70.0, 0.5))
    return [str(first), str(second)]


def test_the_table_shows_both_runs_by_names_that_differ(runs, capsys):
    assert main(["compare", *runs]) == 0
    out = capsys.readouterr().out
    for text in ("a/test", "b/test", "resnet_50", "80.0 ± 4.0", "70.0 ± 4.0", "95.0", "0.950"):
        assert text in out, text
    assert "chance: centre %" in out
    assert "contributions and maps exact" in out
    assert "Not comparable" not in out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"module": "CarsDataModule"}, "data differ: CUB (a); Cars (b)"),
        ({"split": "val"}, "split differ: test (a); val (b)"),
        ({"images": 99}, "images differ: 243 (a); 99 (b)"),
        ({"crop": "frame"}, "options of the data differ between: a; b"),
        ({"protocols": {}}, "protocols differ between: a; b"),
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
    assert [float(row["consistency %"]) for row in rows] == [80, 70]
    assert [float(row["accuracy %"]) for row in rows] == [90, 80]
    assert [float(row["chance: centre %"]) for row in rows] == [50, 50]
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["runs"][1]["distinct_peaks"] == 0.5
    assert found["runs"][0]["strategies"]["equal"]["consistency"] == 60
    assert found["notes"] == []
    head, rule, *lines = (tmp_path / "out.md").read_text().splitlines()
    assert len({line.count("|") for line in (head, rule, *lines)}) == 1
    assert r"resnet\_50" in (tmp_path / "out.tex").read_text()
    assert r"80.0 $\pm$ 4.0" in (tmp_path / "out.tex").read_text()


def test_figures_are_drawn(runs, tmp_path):
    for suffix, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        file = tmp_path / f"out.{suffix}"
        assert main(["compare", *runs, "--out", str(file)]) == 0
        assert file.read_bytes().startswith(start)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > 1000


def test_the_figure_has_every_strategy_run_and_chance_level(runs, monkeypatch):
    from matplotlib.figure import Figure

    from ppn.commands.comparison_figure import draw
    from ppn.commands.finished_run import read_runs

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (drawn.append(f), save(f, *a, **k)))
    draw(read_runs(runs), ["A note."], "svg")
    (figure,) = drawn
    consistency = figure.axes[0]
    assert [bar.get_height() for bar in consistency.patches] == [80, 80, 60, 60]
    assert [text.get_text() for text in consistency.get_xticklabels()] == ["a/test", "b/test"]
    levels = sorted(line.get_ydata()[0] for line in consistency.lines if len(line.get_xdata()) == 2)
    assert levels.count(50.0) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *STRATEGIES,
        "chance: image centre",
        "chance: random maps",
    ]


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


def _bad_config(folder):
    (folder / "config.yaml").write_text("a: [")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_absent, "has no metrics.json"),
        (_broken, "cannot be read"),
        (_foreign, "is not what `ppn test` writes"),
        (_list, "is not what ppn writes"),
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

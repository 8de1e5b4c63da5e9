"""Tables and figures of results, with a metric and an explainer that ppn does not know."""

import json

import pytest
import yaml
from matplotlib.figure import Figure

from experiments.reproduce import expected
from experiments.reproduce.collect import described, rows, summarise
from experiments.reproduce.figures import draw
from experiments.reproduce.plan import Chain
from experiments.reproduce.run import MARKER
from experiments.reproduce.tables import Circumstances, Ran, latex, markdown
from ppn.errors import DataError
from tests.measured import figures

CHAIN = Chain("birds", "toy_net", "probe", shared=True)


def finished(base, seed=0, **changes):
    """What a finished test leaves."""
    folder = base / CHAIN.name / f"test-{seed}"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(figures(**changes)))
    (folder / MARKER).write_text(json.dumps({"seconds": 3.0}))


@pytest.fixture
def results(tmp_path):
    finished(tmp_path)
    finished(tmp_path, 1, toy_weight=125.0)
    return summarise(rows(CHAIN, 2, tmp_path / CHAIN.name)), described([CHAIN], tmp_path)


def lines(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_every_metric_and_explainer_of_the_results_is_in_the_tables(results):
    about = Circumstances("cpu", "make", "1 core", "ppn", "today", 2)
    text = markdown([Ran(CHAIN, "", "mean_linear")], [], *results, about)
    (head,) = lines(text, "| maps ")
    assert head == "| maps | exact | Consistency % ↑ | Distinct peaks % ↑ | Toy drift px ↓ |"
    assert lines(text, "| cam_split ") == [
        "| cam_split | yes | 80.0 ± 0.0 | 95.0 ± 0.0 | 12.5 ± 0 |"
    ]
    assert lines(text, "| Toy maps ")[0].endswith("| yes | 65.0 ± 0.0 | 25.0 ± 0.0 | 20.5 ± 0 |")
    assert lines(text, "| unrefined ")[0].startswith("| unrefined | no | 90.0")
    assert lines(text, "| chance: centre ")[0].startswith("| chance: centre |  | 50.0")
    assert "Toy weight g" in text
    assert "124 ± 1.41" in text
    assert "- Toy drift: How far a toy is from its box." in text
    table = latex([CHAIN.name], *results)
    assert r"Toy drift px $\downarrow$" in table
    assert table.count("\\\\\n") == 9


def test_each_figure_has_the_scale_of_its_metric(results, tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (drawn.append(f), save(f, *a, **k)))
    files = draw([CHAIN.name], *results, tmp_path / "figures")
    assert "parts-birds.png" in {file.name for file in files}
    consistency, peaks, drift = drawn[0].axes
    assert [axes.get_xlim() for axes in (consistency, peaks, drift)] == [
        (0, 100),
        (0, 100),
        (0, 50),
    ]
    assert drift.get_xlabel() == "Toy drift px ↓"
    assert [text.get_text() for text in consistency.get_yticklabels()] == [
        "cam_split",
        "equal",
        "unrefined (not exact)",
        "Toy maps",
        "shuffled head (control)",
        "annotated parts (ceiling)",
        "chance: random",
        "chance: centre",
    ]


def test_tolerances_follow_the_scale_of_each_metric(results, tmp_path):
    file = tmp_path / "expected.yaml"
    expected.write(file, "cpu", *results)
    found = yaml.safe_load(file.read_text())["cpu"][CHAIN.name]
    assert found["Toy maps/toy_drift"] == {"value": 20.5, "tolerance": 2.5}
    assert found["chance: centre/consistency"] == {"value": 50.0, "tolerance": 5.0}
    assert found["equal/distinct_peaks"] == {"value": 0.9, "tolerance": 0.05}
    assert found["accuracy"] == {"value": 0.9, "tolerance": 0.05}
    assert not any(name.endswith(("gini", "effective_prototypes")) for name in found)
    assert expected.check(file, "cpu", results[0], [CHAIN.name]) == []


def test_results_of_an_earlier_version_are_told(tmp_path):
    finished(tmp_path, strategies={})
    with pytest.raises(DataError, match=r"test-0/metrics\.json is from an earlier version of ppn"):
        rows(CHAIN, 1, tmp_path / CHAIN.name)

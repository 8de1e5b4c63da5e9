"""`ppn benchmark`: a newcomer's explainer and metric in its tables, and cells that are kept."""

import csv
import json
import re
import weakref
from pathlib import Path

import pytest
import timm
import torch
import yaml
from PIL import Image
from torch import nn

import ppn.benchmark.run as running
from ppn.__main__ import main
from ppn.benchmark.cells import cell_key
from ppn.classifier import Classifier
from ppn.commands.benchmark import _parse
from ppn.errors import MissingPackageError
from tests import fakes, toys

CHOSEN = """
architecture: test_resnet
image_size: 64
k: 2
columns: [consistency, distinct_peaks]
seeds: [0, 1]
discoverers:
  - class_path: tests.toys.SharedChannels
refinements: [Equal, CamSplit]
explainers:
  - class_path: tests.toys.OneCell
  - class_path: tests.toys.LikeTheClass
    init_args: {power: 2.0}
  - class_path: tests.benchmark.test_benchmark.Lacking
metrics:
  - Accuracy
  - Fidelity
  - Consistency
  - Stability
  - DistinctPeaks
  - class_path: tests.toys.CornerMass
    init_args: {weight: 0.5}
"""
ROWS = 2 + 2 + 1 + 2 + 3  # ours, toys, ceiling, controls, floors


class Lacking(toys.OneCell):
    """An explainer whose package is not installed."""

    def prepare(self, network):
        raise MissingPackageError("nothing is not installed: run pip install 'ppn[nothing]'.")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), folder / "box.pth")
    fakes.cub(folder / "CUB_200_2011", train=6)
    (folder / "small.yaml").write_text(CHOSEN)
    return folder


def words(base, out, *more):
    return [
        *("benchmark", "--config", str(base / "small.yaml"), "--data=CUBDataModule"),
        f"--data.root={base / 'CUB_200_2011'}",
        *("--data.num_workers=0", "--data.val_fraction=0.2"),
        *(f"--classifier_ckpt={base / 'box.pth'}", f"--out={out}", *more),
    ]


@pytest.fixture(scope="module")
def finished(base):
    """A whole benchmark, and how many images its classifier has seen."""
    seen = []
    forward = Classifier.forward

    def counted(self, images, *rest):
        seen.append(len(images))
        return forward(self, images, *rest)

    patch = pytest.MonkeyPatch()
    patch.setattr(Classifier, "forward", counted)
    assert main(words(base, base / "run")) == 0
    patch.undo()
    return base / "run", sum(seen)


def table(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def numbers(folder):
    """All that was measured but durations and memory."""
    cost = ("fit_seconds", "seconds_per_image", "peak_mib")
    return [row for row in table(folder) if row["metric"] not in cost]


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.json")}


def test_a_newcomers_explainer_and_metric_are_in_the_table(finished):
    folder, _ = finished
    rows = {(r["explainer"], r["seed"], r["metric"]): r for r in table(folder)}
    for seed in "01":
        assert float(rows["one_cell", seed, "corner_mass"]["value"]) == 0
        assert ("like_the_class(power=2.0)", seed, "corner_mass") in rows
        assert ("shared_channels + equal", seed, "consistency") in rows
    assert len({r["explainer"] for r in rows.values()}) == ROWS
    assert {r["kind"] for r in rows.values()} == {"method", "control", "floor", "ceiling"}
    text = (folder / "results.md").read_text()
    assert re.search(r"^\| explainer .*Corner mass % ↓", text, flags=re.MULTILINE)
    assert re.search(r"^\| one cell \| control \|", text, flags=re.MULTILINE)
    assert "**" in text


def test_intervals_hold_their_scores(finished):
    folder, _ = finished
    with_ends = [r for r in table(folder) if r["class_low"]]
    assert {"consistency", "stability", "distinct_peaks"} <= {r["metric"] for r in with_ends}
    for row in with_ends:
        assert float(row["class_low"]) <= float(row["value"]) + 1e-9
        assert float(row["value"]) <= float(row["class_high"]) + 1e-9


def test_a_missing_package_leaves_its_row_empty_with_a_word(finished):
    folder, _ = finished
    text = (folder / "results.md").read_text()
    assert "- `lacking`: nothing is not installed: run pip install 'ppn[nothing]'." in text
    assert not any(row["explainer"] == "lacking" for row in table(folder))


def test_cost_and_predictions_are_told(finished):
    folder, _ = finished
    known = {(r["explainer"], r["metric"]): float(r["value"]) for r in table(folder)}
    assert known["shared_channels + equal", "fit_seconds"] > 0 == known["one_cell", "fit_seconds"]
    assert known["shared_channels + equal", "parameters"] >= known["random", "parameters"] == 0
    assert known["shared_channels + equal", "agreement"] == 1.0
    assert ("one_cell", "agreement") not in known
    assert all(known[name, "seconds_per_image"] >= 0 for name, _ in known)


def test_the_classifier_sees_every_image_once(finished):
    _, seen = finished
    # 3 classes of 6 - 1 training images; 2 test images each, and the same with noise; and what
    # looking for the head runs, for each of two seeds.
    looking = seen - 2 * (3 * 5 + 2 * 3 * 2)
    assert 0 <= looking <= 2 * 16


def test_every_file_is_there(finished):
    folder, _ = finished
    latex = (folder / "results.tex").read_text()
    assert latex.count("\\\\\n") == ROWS + 1
    assert "like\\_the\\_class" in latex
    figures = {path.name for path in (folder / "figures").iterdir()}
    for stem in ("scores", "trade-offs", "ranks", "critical-difference-distinct_peaks"):
        assert {f"{stem}.png", f"{stem}.pdf"} <= figures
    with Image.open(folder / "figures/scores.png") as picture:
        assert picture.width > 500
    parquet = pytest.importorskip("pyarrow.parquet").read_table(folder / "prototypes.parquet")
    assert {"explainer", "seed", "class", "prototype", "stability"} <= set(parquet.column_names)
    assert not (folder / "tokens").exists()
    assert not list((folder / "cells").glob("*.lock"))


def test_a_second_run_computes_what_is_empty_alone(base, finished):
    folder, _ = finished
    before, rows = stamps(folder), (folder / "results.csv").read_bytes()
    empty = {
        path.name
        for path in (folder / "cells").glob("*.json")
        if json.loads(path.read_text())["why_empty"]
    }
    assert len(empty) == 2
    assert main(words(base, folder)) == 0
    after = stamps(folder)
    assert {name for name in before if before[name] != after[name]} == empty
    assert (folder / "results.csv").read_bytes() == rows


def test_a_killed_run_goes_on_with_the_same_numbers(base, finished, tmp_path, monkeypatch):
    compute, done = running.compute, []

    def killed(*given):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(given[0].name)
        return compute(*given)

    monkeypatch.setattr(running, "compute", killed)
    with pytest.raises(KeyboardInterrupt):
        main(words(base, tmp_path))
    assert len(stamps(tmp_path)) == 4
    kept = stamps(tmp_path)
    monkeypatch.setattr(running, "compute", compute)
    assert main(words(base, tmp_path)) == 0
    assert {name: stamps(tmp_path)[name] for name in kept} == kept
    assert numbers(tmp_path) == numbers(finished[0])


def test_other_options_data_code_or_black_boxes_are_other_cells(base, tmp_path, monkeypatch):
    torch.manual_seed(1)
    other = tmp_path / "other.pth"
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), other)

    def cells(*more):
        benchmark, *_ = _parse(words(base, tmp_path, "--seeds=[0]", *more)[1:])
        setting = running.Setting(benchmark, 0, tmp_path, torch.device("cpu"))
        return {job.name: job.path.stem for job in setting.jobs}

    usual = cells()
    assert cells("--data.batch_size=3") == usual
    for more in (
        ["--k=1"],
        ["--images_per_class=1"],
        [f"--classifier_ckpt={other}"],
        ["--data.split_seed=1"],
        ["--data.crop=box"],
        ["--metrics=[Consistency]"],
    ):
        assert not set(cells(*more).values()) & set(usual.values()), more
    fewer = cells("--refinements=[{class_path: CamSplit, init_args: {ridge: 7}}, Equal]")
    assert fewer["shared_channels + equal"] == usual["shared_channels + equal"]
    assert set(fewer) - set(usual) == {"shared_channels + cam_split(ridge=7.0)"}
    monkeypatch.setattr("ppn.benchmark.cells.code_key", lambda: "another version")
    assert not set(cells().values()) & set(usual.values())


def test_the_example_of_one_file_is_in_the_table(base, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/benchmark.md").read_text()
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", page, flags=re.DOTALL)
    (chosen,) = re.findall(r"```yaml\n(explainers:\n.*?)```", page, flags=re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "mine.yaml").write_text(chosen)
    monkeypatch.syspath_prepend(tmp_path)
    more = [f"--config={tmp_path / 'mine.yaml'}", "--discoverers=null", "--refinements=null"]
    assert main(words(base, tmp_path / "out", *more, "--seeds=[0]", "--columns=null")) == 0
    rows = {(r["explainer"], r["metric"]): r for r in table(tmp_path / "out")}
    row = rows["edges(power=2.0)", "left_half"]
    assert 0 <= float(row["image_low"]) <= float(row["value"]) <= float(row["class_high"]) <= 1


class Tinted(nn.Module):
    """A module whose weights are not in its options."""

    def __init__(self, shade: float = 1.0):
        super().__init__()
        self.register_buffer("shade", torch.tensor(shade))

    def forward(self, images, target):
        return images.mean(1, keepdim=True) * self.shade


def test_other_weights_or_code_in_the_same_place_are_another_cell(base, tmp_path, monkeypatch):
    weights, code = tmp_path / "tinted.pth", tmp_path / "own_parts.py"
    monkeypatch.syspath_prepend(tmp_path)
    module = {"class_path": f"{__name__}.Tinted"}
    trained = {
        "class_path": "TrainedMaps",
        "init_args": {"module": module, "weights": str(weights)},
    }
    content = {"explainers": [trained], "discoverers": [{"class_path": "own_parts.Own"}]}
    (tmp_path / "tinted.yaml").write_text(yaml.safe_dump(content))

    def keys(shade, note):
        torch.save(Tinted(shade).state_dict(), weights)
        code.write_text(f"from tests.toys import SharedChannels as S\nclass Own(S): {note!r}\n")
        given = words(base, tmp_path, f"--config={tmp_path / 'tinted.yaml'}", "--seeds=[0]")
        benchmark, *_ = _parse(given[1:])
        return [cell_key(benchmark, one.name, 0, "") for one in benchmark.explainers[:3]]

    first = keys(1.0, "one way")
    assert keys(1.0, "one way") == first
    equal, split, tinted = keys(2.0, "one way")
    assert [equal, split] == first[:2]
    assert tinted != first[2]
    equal, split, tinted = keys(1.0, "another way")
    assert tinted == first[2]
    assert not {equal, split} & set(first)


def test_one_explainer_is_in_memory_at_a_time(base, tmp_path, monkeypatch):
    alive, most = weakref.WeakSet(), []
    attribute = toys.OneCell.attribute

    def watched(self, inputs, target):
        alive.add(self)
        most.append(len(alive))
        return attribute(self, inputs, target)

    monkeypatch.setattr(toys.OneCell, "attribute", watched)
    cells = [{"class_path": "tests.toys.OneCell", "init_args": {"cell": c}} for c in range(10)]
    (tmp_path / "ten.yaml").write_text(yaml.safe_dump({"explainers": cells}))
    more = [f"--config={tmp_path / 'ten.yaml'}", "--seeds=[0]", "--metrics=[DistinctPeaks]"]
    more += ["--discoverers=null", "--refinements=null"]
    assert main(words(base, tmp_path, *more)) == 0
    assert len(most) == 10
    assert max(most) == 1


@pytest.mark.slow
def test_processes_share_the_cells(base, finished, tmp_path):
    assert main(words(base, tmp_path, "--processes=2", "--data.num_workers=1")) == 0
    assert numbers(tmp_path) == numbers(finished[0])


def test_compare_reads_it_and_draws_only_what_is_comparable(base, finished, tmp_path, capsys):
    folder, _ = finished
    assert main(["compare", str(folder), "--out", str(tmp_path / "one.png")]) == 0
    assert main(words(base, tmp_path / "other", "--seeds=[0]")) == 0
    both = ["compare", str(folder), str(tmp_path / "other"), "--out"]
    assert main([*both, str(tmp_path / "both.csv")]) == 0
    assert "seeds differ: [0, 1] (run); [0] (other)" in (tmp_path / "both.csv").read_text()
    capsys.readouterr()
    assert main([*both, str(tmp_path / "both.png")]) == 2
    assert "would put on one axis what cannot be compared" in capsys.readouterr().err
    assert not (tmp_path / "both.png").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--seeds=[0,0]"], "seeds are [0, 0], but must be different"),
        (["--seeds=[]"], "seeds are [], but must be different"),
        (["--columns=[consistensy]"], "columns has 'consistensy', but there are accuracy, "),
        (["--columns=[consistency,consistency]"], "Two columns are called 'consistency'"),
        (["--metrics=[]"], "There is nothing to measure: give metrics."),
        (["--processes=0"], "--processes is 0, but must be at least 1"),
        (["--images_per_class=0"], "images_per_class is 0, but must be at least 1"),
        (["--classifier_ckpt=none.pth"], "none.pth"),
        (["--refinements=[Equal,Equal]"], "Two explainers are called 'shared_channels + equal'"),
        (["--refinement=[Equal]"], "There is no option --refinement"),
        (["--explainers=[Cam]"], "Cam"),
    ],
)
def test_mistakes_are_told_in_one_sentence(base, tmp_path, capsys, more, told):
    assert main(words(base, tmp_path / "out", *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not list(tmp_path.rglob("*.json"))

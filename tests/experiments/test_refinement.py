"""The refinement study: tokens once, cells once, and scores that mean what they say."""

import json
import re
import shlex

import pytest
import torch

from experiments.refinement.__main__ import main, make_parser
from experiments.refinement.cells import Cell, cells, refinements, score
from experiments.refinement.present import DEFAULT, markdown, mean_std
from experiments.refinement.tokens import Extracted
from ppn.__main__ import main as ppn
from tests.experiments.test_backbones import ROOT

SMALL = {
    "num_classes": 2,
    "train_per_class": 10,
    "test_per_class": 1,
    "draw_size": 96,
    "num_workers": 0,
}


def planted(images=10, grid=7):
    """One class per pair of channels; each part is one channel, at its keypoint's cell."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(images)
    clean = torch.zeros(len(labels), grid * grid, 4)
    keypoints = torch.zeros(len(labels), 2, 3)
    for image, label in enumerate(labels.tolist()):
        first, second = torch.randperm(grid * grid, generator=generator)[:2].tolist()
        for part, cell in enumerate((first, second)):
            clean[image, cell, 2 * label + part] = 5.0
            x, y = cell % grid + 0.5, cell // grid + 0.5
            keypoints[image, part] = torch.tensor([x * 224 / grid, y * 224 / grid, 1.0])
    weight = torch.tensor([[1.0, 1.0, 0, 0], [0, 0, 1.0, 1.0]], dtype=torch.float64)
    indices = torch.arange(len(labels))
    return Extracted(clean, clean, labels, indices, keypoints, weight, (grid, grid), 224)


def test_planted_parts_are_found_whichever_way_they_are_looked_for(tmp_path):
    for name in ("NMF", "CAM-weighted NMF", "FAISS k-means"):
        rows = score(Cell(name, 2, 0), planted(), "key", tmp_path)
        by_maps = {(row["maps"], row["lambda"]): row for row in rows}
        assert len(by_maps) == len(rows) == len(refinements()) + 3
        for strategy in (("cam_split", 1.0), ("equal", None), ("unrefined", None)):
            assert by_maps[strategy]["consistency"] == 100.0, (name, strategy)
        assert by_maps["cam_split", 1.0]["distinct_peaks"] == 1.0
        assert by_maps["chance: centre", None]["consistency"] < 50
        assert by_maps["chance: uniform", None]["distinct_peaks"] == 0.0


def test_one_prototype_leaves_nothing_to_split(tmp_path):
    rows = score(Cell("NMF", 1, 0), planted(), "key", tmp_path)
    exact = [row for row in rows if row["exact"]]
    assert len({row["consistency"] for row in exact}) == 1
    # The head's row sees both parts, and points at either.
    assert exact[0]["consistency"] < 100


def test_a_scored_cell_is_read_unless_the_tokens_are_others(tmp_path):
    cell = Cell("NMF", 2, 0)
    first = score(cell, planted(), "key", tmp_path)
    (file,) = tmp_path.iterdir()
    content = json.loads(file.read_text())
    content["rows"][0]["consistency"] = -1.0
    file.write_text(json.dumps(content))
    assert score(cell, planted(), "key", tmp_path)[0]["consistency"] == -1.0
    again = score(cell, planted(), "other key", tmp_path)[0]
    assert again["consistency"] == first[0]["consistency"]


def test_seeds_hold_out_other_images_and_all_cells_are_there(tmp_path):
    assert len(set(cells(3))) == 3 * 4 * 3
    extracted = planted()
    seen = {
        score(Cell("NMF", 2, seed), extracted, "key", tmp_path)[-3]["stability"]
        for seed in range(4)
    }
    assert len(seen) > 1


def test_mean_and_spread_are_over_what_was_asked_for():
    rows = [
        {"maps": "equal", "lambda": None, "k": k, "consistency": value}
        for k, value in ((3, 10.0), (3, 20.0), (5, 99.0))
    ]
    assert mean_std(rows, "consistency", maps="equal", k=3, ridge=None) == (
        15.0,
        pytest.approx(50**0.5),
    )
    assert mean_std(rows, "consistency", maps="alpha") is None


def test_the_summary_holds_every_way_against_the_default_seed_by_seed():
    def row(maps, ridge, seed, k, consistency):
        figures = {"stability": 50.0, "distinct_peaks": 0.5, "distinctiveness": 0.25}
        found = {"discoverer": DEFAULT[0], "maps": maps, "lambda": ridge, "seed": seed, "k": k}
        found |= {"kind": "method", "exact": True}
        return {**found, "consistency": consistency, **figures}

    values = {
        DEFAULT[1:]: {0: (10.0, 30.0), 1: (50.0, 70.0)},
        ("equal", None): {0: (20.0, 30.0), 1: (60.0, 80.0)},
    }
    rows = [
        row(*way, seed, k, value)
        for way, by_seed in values.items()
        for seed, pair in by_seed.items()
        for k, value in zip((3, 5), pair, strict=True)
    ]
    rows += [row(*way, 0, 1, 0.0) for way in values]  # k = 1 is left out
    text = markdown("birds", rows, 2)
    assert "| CAM-weighted NMF | equal |  | 47.5 | +7.5 ± 2.5 | 50.0 | 25.0 |" in text
    assert "| CAM-weighted NMF | cam_split | 3 | 40.0 | default | 50.0 | 25.0 |" in text
    assert text.index("| 47.5") < text.index("| 40.0")
    assert "equal" not in text.split("## k = 1")[1].split("## k = 3")[0]


def test_study_runs_from_a_checkpoint_and_goes_on(tmp_path, capsys):
    data = [f"--data.init_args.{name}={value}" for name, value in SMALL.items()]
    words = [
        *("fit", "--config", str(ROOT / "experiments/probe.yaml"), *data),
        *("--model", str(ROOT / "configs/backbone/test_resnet.yaml")),
        *("--trainer.max_epochs=1", "--trainer.default_root_dir", str(tmp_path / "black_box")),
    ]
    assert ppn(words) == 0
    checkpoint = str(tmp_path / "black_box/checkpoints/best.ckpt")
    options = [word for name, value in SMALL.items() for word in (f"--data.{name}", str(value))]
    study = ["--classifier_ckpt", checkpoint, *options, "--k", "2", "--seeds", "2"]
    study += ["--out", str(tmp_path / "study")]
    assert main(study) == 0
    folder = tmp_path / "study/synthetic_birds"
    text = (folder / "results.md").read_text()
    assert "| CAM-weighted NMF | cam_split | 3 |" in text
    assert text.count("chance: centre") == 2  # once in the summary, once for k = 2
    assert {"strategies.png", "strategies.svg", "ridge.png", "ridge.svg"} <= {
        file.name for file in folder.iterdir()
    }
    assert all((folder / file).is_file() for file in re.findall(r"!\[.*\]\((.*)\)", text))
    kept = torch.load(folder / "tokens.pt", weights_only=True)
    shapes = [tuple(part.shape) for part in kept["extracted"][:2]]
    assert shapes[0] == shapes[1]
    assert shapes[0][:2] == (20, 9)
    times = {file: file.stat().st_mtime_ns for file in folder.glob("cells/*")}
    assert len(times) == 6
    assert main(study) == 0
    assert {file: file.stat().st_mtime_ns for file in folder.glob("cells/*")} == times
    assert (folder / "results.md").read_text() == text


def test_a_wrong_option_is_told_in_one_sentence(tmp_path, capsys):
    file = tmp_path / "weights.ckpt"
    torch.save({"state_dict": {}}, file)
    assert main(["--classifier_ckpt", str(file), "--out", str(tmp_path), "--data.k", "3"]) == 2
    assert "has no option --data.k" in capsys.readouterr().err


def test_documented_command_parses():
    text = (ROOT / "docs/reproduce.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^python -m experiments\.refinement (.*)$", text, flags=re.MULTILINE)
    given = make_parser().parse_args(shlex.split(line))
    assert (given.data, given.root, given.seeds) == ("cub", "ROOT", 3)

import dataclasses
import re
from pathlib import Path

import pytest
from PIL import Image

from ppn.__main__ import main
from ppn.data import build as building
from ppn.data.build import build, parse_options
from ppn.data.cub import CARD, CUBDataModule
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.errors import DataError
from tests import fakes

DOCS = Path(__file__).parents[2] / "docs/datasets.md"
SMALL_BIRDS = ["--data.num_classes=2", "--data.train_per_class=2", "--data.test_per_class=1"]


class OwnDataModule(SyntheticBirdsDataModule):
    """Stands for a data set that needs a folder and is not in the catalog."""

    def __init__(self, root: str, csv: str | None = None, **options):
        super().__init__(**options)
        self.root, self.csv = root, csv


@pytest.fixture
def root(tmp_path):
    return fakes.cub(tmp_path / "CUB_200_2011")


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main(["data", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def listed(out, name):
    """What the table says of a data set."""
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if "│" in line]
    start = next(i for i, row in enumerate(rows) if row[2] == name)
    end = start + 1
    while end < len(rows) and not rows[end][2]:
        end += 1
    return " ".join(row[3] for row in rows[start:end])


def mistake(run, *words):
    """The one sentence that a mistake is answered with."""
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("ppn: ")
    assert err.count("\n") == 1
    return err


def test_list_says_what_is_there(run, root):
    code, out, _ = run("list", "--data.root", root.parent)
    assert code == 0
    assert "partial: 3 of 200 classes, 12 of 5994 training images" in listed(out, "cub")
    assert "CUB_200_2011" in listed(out, "cub")
    assert "missing: get it from https://dl.allaboutbirds.org" in listed(out, "nabirds")
    assert listed(out, "synthetic_birds").startswith("built in")


def test_list_knows_a_complete_data_set(run, root, monkeypatch):
    small = dataclasses.replace(CARD, classes=3, train=12, test=6)
    monkeypatch.setattr(CUBDataModule, "card", small)
    _, out, _ = run("list", "--data.root", root)
    expected = "complete: 3 classes, 12 training images, 6 test images"
    assert listed(out, "cub").startswith(expected)


def test_list_names_what_an_incomplete_data_set_lacks(run, root):
    (root / "parts/part_locs.txt").unlink()
    _, out, _ = run("list", "--data.root", root)
    assert listed(out, "cub").startswith("partial:")
    assert "part_locs.txt is missing" in listed(out, "cub")
    assert "download: true" in listed(out, "cub")


def test_list_goes_on_after_an_unreadable_data_set(run, root, monkeypatch):
    (root / "images.txt").write_text("nonsense\n")
    code, out, _ = run("list", "--data.root", root)
    assert code == 0
    assert listed(out, "cub").startswith("unreadable:")
    assert "images.txt, line 1" in listed(out, "cub")

    def stumble(self, folder, split):
        raise KeyError("odd")

    monkeypatch.setattr(CUBDataModule, "read_folder", stumble)
    _, out, _ = run("list", "--data.root", root)
    assert "KeyError: 'odd'" in listed(out, "cub")
    assert listed(out, "nabirds").startswith("missing:")


def test_list_looks_where_the_environment_says(run, root, tmp_path, monkeypatch):
    monkeypatch.setenv("PPN_DATA", str(root.parent))
    assert listed(run("list")[1], "cub").startswith("partial:")
    monkeypatch.delenv("PPN_DATA")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert listed(run("list")[1], "cub").startswith("missing:")
    root.rename(tmp_path / "data/CUB_200_2011")
    assert listed(run("list")[1], "cub").startswith("partial:")
    assert "no such folder" in run("list", "--data.root", "elsewhere")[1]


def test_the_documentation_holds_the_table_that_the_command_prints(run):
    _, printed, _ = run("list", "--markdown")
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    advice = "replace the table in docs/datasets.md by what `ppn data list --markdown` prints"
    assert lines == printed.splitlines(), advice
    assert len({re.sub(r"\\\|", "", line).count("|") for line in lines}) == 1


def test_list_does_not_take_a_folder_of_another_name_for_a_data_set(run, tmp_path):
    for split in ("train", "test", "val"):
        (tmp_path / "mine" / split / "a class").mkdir(parents=True)
    _, out, _ = run("list", "--data.root", tmp_path / "mine")
    assert "partial" not in out
    assert "unreadable" not in out


def test_check_reads_the_users_own_images(run, root):
    words = ("check", "folder", "--data.root", root / "images", "--data.test_fraction=0.5")
    code, out, _ = run(*words)
    assert code == 0
    assert re.search(r"train +│ +9 │", out)
    next((root / "images").rglob("*.jpg")).write_bytes(b"no image")
    assert run(*words)[0] == 2


def test_check_passes_a_subset(run, root):
    code, out, _ = run("check", "cub", "--data.root", root, "--leaks", "--num_workers", 2)
    assert code == 0
    assert "Note: CUB-200-2011 is not the whole data set: 3 of 200 classes" in out
    assert "cub is right" in out
    assert "Error" not in out


def test_check_names_each_broken_file_on_its_own_line(run, root):
    broken = ["001.Bird_0/Bird_0_0001.jpg", "002.Bird_1/Bird_1_0005.jpg"]
    for path in broken:
        (root / "images" / path).unlink()
    code, out, _ = run("check", "cub", "--data.root", root)
    assert code == 2
    errors = [line for line in out.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 2
    assert all(path in line for path, line in zip(broken, errors, strict=True))
    assert "cub is not right; errors named above: 2." in out


def test_check_finds_leaks_only_when_asked(run, root):
    train, test = (root / "images/001.Bird_0" / f"Bird_0_000{i}.jpg" for i in (0, 5))
    test.write_bytes(train.read_bytes())
    assert run("check", "cub", "--data.root", root)[0] == 0
    code, out, _ = run("check", "cub", "--data.root", root, "--leaks")
    assert code == 2
    assert "The same image is in train (001.Bird_0/Bird_0_0000.jpg) and test" in out


def test_check_warns_of_annotations_outside_and_of_empty_classes(run, root):
    boxes = (
        (root / "bounding_boxes.txt").read_text().replace("1 20.0 10.0 80.0", "1 20.0 10.0 800.0")
    )
    (root / "bounding_boxes.txt").write_text(boxes)
    (root / "classes.txt").write_text("1 001.A\n2 002.B\n3 003.C\n4 004.[red]\n")
    code, out, _ = run("check", "cub", "--data.root", root)
    assert code == 0
    assert re.search(r"Warning: Boxes that reach outside .* in train: \d+, first 001\.Bird_0", out)
    assert "Classes without an image in train: 1, the first is [red]." in out


def test_check_works_without_a_folder(run):
    code, out, _ = run("check", "synthetic_birds", *SMALL_BIRDS)
    assert code == 0
    assert "synthetic_birds is right" in out


def test_preview_draws_a_sheet(run, root, tmp_path):
    out = tmp_path / "sheets/cub.png"
    words = ("preview", "cub", "--data.root", root, "--count", 4, "--split", "test")
    assert run(*words, "--out", out)[0] == 0
    with Image.open(out) as image:
        frame = image.size
    assert frame[0] > 1000
    assert run(*words, "--out", out, "--data.crop", "box", "--transformed")[0] == 0
    with Image.open(out) as image:
        assert image.size != frame  # square places now


def test_preview_shows_augmentation_only_where_there_is_any(run, tmp_path):
    words = ("preview", "synthetic_birds", "--out", tmp_path / "a.png", *SMALL_BIRDS)
    words += ("--data.augmentation",)
    assert "--transformed" in mistake(run, *words, "flip")
    assert "train" in mistake(run, *words, "flip", "--transformed", "--split", "test")
    assert not list(tmp_path.iterdir())
    assert run(*words, "flip", "--transformed", "--count", 2)[0] == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check", "nothing"], "no data set 'nothing': choose one of cub"),
        (["check", "cub", "--data.size=3"], "no option --data.size: it takes root"),
        (["check", "cub", "--data.crop=oval"], "crop oval does not fit: .*'frame', 'box'"),
        (["check", "cub", "--data.batch_size=many"], "batch_size many does not fit: .* int"),
        (["check", "folder", "--data.root", "x", "--data.csv=3"], "csv 3 does not fit: .* str or"),
        (["check", "folder"], "add --data.root FOLDER"),
        (["check", "cub", "--data.crop"], "--data.crop needs a value"),
        (["check", "cub", "--data.crop=["], "not YAML"),
        (["check", "cub", "--data.val_fraction=2"], "val_fraction is 2"),
        (
            ["check", "cub", "--num_workers", "0"],
            "--num_workers 0 does not fit: .* whole number of at least 1",
        ),
        (["check", "cub", "--data.root", "nowhere"], "nowhere/bounding_boxes.txt is missing"),
        (["check"], "data must be given: see ppn data check --help"),
        (["check", "synthetic_birds", "--data.root", "x"], "leave out --data.root x"),
        (["show"], "There is no command 'show': see ppn data --help"),
        (["chek"], "There is no command 'chek': did you mean 'check'"),
        (["check", "cub", "--root", "x"], "no option --root: did you mean '--data.root'"),
        (["check", "cub", "--leak"], "no option --leak: did you mean '--leaks'"),
        (["preview", "cub"], "--out must be given"),
        (["preview", "cub", "--out", "a.jpg"], "a.jpg does not end in .png"),
        (["preview", "synthetic_birds", "--out", "a.png", "--count", "999"], "1 to 120 images"),
    ],
)
def test_a_mistake_is_one_sentence(run, words, expected):
    assert re.search(expected, mistake(run, *words))


def test_an_unreadable_image_is_one_sentence_of_the_preview(run, root, tmp_path):
    for path in (root / "images").rglob("*.jpg"):
        path.write_bytes(b"no image")
    target = tmp_path / "a.png"
    assert "cannot be read" in mistake(run, "preview", "cub", "--data.root", root, "--out", target)
    assert not target.exists()


@pytest.mark.parametrize("words", [[], ["--help"], ["check", "--help"], ["preview", "--help"]])
def test_help_is_no_mistake(run, words):
    code, out, _ = run(*words)
    assert code == 0
    assert "usage: ppn data" in out


def test_options_reach_the_constructor_of_an_unpublished_data_set(monkeypatch):
    monkeypatch.setitem(building._UNPUBLISHED, "own", (__name__, "OwnDataModule"))
    data = build("own", "here", parse_options(["csv=list.csv", "masks=true", "num_classes=3"]))
    assert (data.root, data.csv, data.masks, data.num_bird_classes) == ("here", "list.csv", True, 3)
    with pytest.raises(DataError, match=r"add --data\.root FOLDER"):
        build("own")

"""`ppn edit`: what it writes is explained, tested and edited again."""

import json

import pytest
import torch

import ppn
from ppn.__main__ import main
from tests.commands.conftest import QUIET


def ckpt(folder):
    return str(folder / "checkpoints/prototypes.ckpt")


def edit(base, *arguments):
    return main(["edit", "--ckpt", ckpt(base / "run"), *map(str, arguments)])


@pytest.fixture(scope="module")
def edited(world, tmp_path_factory):
    """The run without part 2 of mug, and part 3 of plate halved."""
    base, out = world[0], tmp_path_factory.mktemp("edited") / "out"
    options = ["--remove", "mug:2", "--scale", "plate:3=0.5", "--data", "folder", "--data.root"]
    assert edit(base, *options, base / "photos", "--out", out, "--data.num_workers=0") == 0
    return base, out


def test_the_edited_checkpoint_gives_what_was_said(edited):
    base, out = edited
    before, after = ppn.load(ckpt(base / "run")), ppn.load(ckpt(out))
    image = base / "photos/mug/1.png"
    for name, part, factor in (("mug", 1, 0.0), ("plate", 2, 0.5)):
        old, new = before.explain(image, name), after.explain(image, name)
        said = list(old.contributions)
        said[part] *= factor
        assert new.contributions == pytest.approx(said, rel=1e-5)
        assert new.logit == pytest.approx(
            old.logit + said[part] - old.contributions[part], abs=1e-5
        )
        assert new.adds_up
        assert new.patches[part].name == old.patches[part].name
    assert after.certificate["edits"]["is_black_box"] is False
    again = ppn.load(out, model=after.classifier.model)
    assert again.edits == after.edits


def test_the_file_says_what_was_edited_and_what_it_does(edited):
    base, out = edited
    content = json.loads((out / "edits.json").read_text())
    assert content["what"] == ["part 2 of mug removed", "part 3 of plate scaled by 0.5"]
    effect = content["effect"]
    after = ppn.load(ckpt(out))
    right = []
    for item in effect["classes"]:
        assert item["images"] > 0
    from ppn.data.folder import ImageFolderDataModule

    data = ImageFolderDataModule(str(base / "photos"), num_workers=0)
    data.input_config = after.input_config
    for image, label in ((one["image"], one["label"]) for one in data.view("test")):
        with torch.no_grad():
            right.append(int(after(image[None]).logits.argmax()) == int(label))
    assert effect["images"] == len(right)
    assert effect["accuracy"][1] == pytest.approx(sum(right) / len(right))


def test_evaluation_is_of_the_edited_network(edited, tmp_path):
    base, out = edited
    words = [
        *("test", "--model=PrototypeTask", "--data=ImageFolderDataModule"),
        f"--data.root={base / 'photos'}",
        "--data.num_workers=0",
        "--trainer.callbacks=HTMLReport",
        f"--ckpt_path={ckpt(out)}",
        f"--trainer.default_root_dir={tmp_path}",
        *QUIET,
    ]
    assert main(words) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    content = json.loads((out / "edits.json").read_text())["effect"]
    assert metrics["accuracy"] == pytest.approx(content["accuracy"][1])
    assert metrics["blackbox_accuracy"] == pytest.approx(content["accuracy"][0])
    assert metrics["certificate"]["edits"]["what"][0] == "part 2 of mug removed"
    assert metrics["max_logit_error"] > 1e-3
    page = (tmp_path / "report/index.html").read_text()
    top = page[: page.index('<dl class="facts">')]
    assert "This network was edited (part 2 of mug removed; part 3 of plate scaled" in top


def test_edits_are_taken_back_in_files_too(edited, tmp_path):
    base, out = edited
    command = ["edit", "--ckpt", ckpt(out), "--out", str(tmp_path / "a"), "--restore", "mug"]
    assert main(command) == 0
    assert [e.label for e in ppn.load(ckpt(tmp_path / "a")).edits] == [1]
    command = ["edit", "--ckpt", ckpt(out), "--out", str(tmp_path / "b"), "--restore", "all"]
    assert main(command) == 0
    before, after = ppn.load(ckpt(base / "run")), ppn.load(ckpt(tmp_path / "b"))
    assert torch.equal(before.head.prototypes, after.head.prototypes)
    assert before.certificate == after.certificate
    command = ["edit", "--ckpt", ckpt(out), "--out", str(tmp_path / "c"), "--undo"]
    assert main(command) == 0
    assert [e.kind for e in ppn.load(ckpt(tmp_path / "c")).edits] == ["remove"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There is nothing to edit"),
        (["--remove", "mug"], "--remove mug is not of the form CLASS:PART, as in 'mug:2'"),
        (["--remove", "cup:1"], "There is no class 'cup'"),
        (["--remove", "mug:9"], "a class has parts 1 to 3"),
        (["--scale", "mug:1"], "is not of the form CLASS:PART=FACTOR"),
        (["--scale", "mug:1=much"], "is not of the form CLASS:PART=FACTOR"),
        (["--merge", "mug:1"], "at least two parts"),
        (["--remove", "mug:1", "--split", "all"], "There is no split 'all'"),
        (["--remove", "mug:1", "--data", "synthetic_birds"], "has other classes"),
        (["--flagged", "outside"], "--flagged needs --run"),
        (["--flagged", "ugly", "--run", "."], "There is no flag 'ugly'"),
        (["--remove", "mug:1", "--changed", "background=1"], "--changed needs --data"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    world, tmp_path, capsys, arguments, message
):
    assert edit(world[0], *arguments, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_network_is_never_overwritten(edited, capsys):
    base, out = edited
    assert edit(base, "--remove", "mug:1", "--out", out) == 2
    assert "is there already" in capsys.readouterr().err


def test_flagged_parts_are_dropped_and_counted_on_two_sets(world, tmp_path, capsys):
    flags = [
        {"flag": "outside", "label": 1, "prototype": n, "value": value, "other": None}
        for n, value in ((1, 0.7), (2, 0.9), (3, 0.8))
    ]
    flags.append({**flags[0], "label": 0, "flag": "foreign"})
    (tmp_path / "metrics.json").write_text(json.dumps({"flags": {"prototypes": flags}}))
    base, out = world[0], tmp_path / "out"
    options = ["--flagged", "outside", "--run", tmp_path, "--data.num_workers=0"]
    options += ["--data", "folder", "--data.root", base / "photos", "--changed", "crop=frame"]
    assert edit(base, *options, "--out", out) == 0
    told = capsys.readouterr().out
    assert "Part 1 of plate stays" in told
    assert "(crop=frame)" in told
    content = json.loads((out / "edits.json").read_text())
    assert content["what"] == ["part 2 of plate removed", "part 3 of plate removed"]
    again = content["effect"].pop("again")
    assert again.pop("set") == ["crop=frame"]
    assert again == {key: content["effect"][key] for key in again}

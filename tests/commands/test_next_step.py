import json
import re
import shlex
import sys
from types import SimpleNamespace

import pytest
import yaml

from ppn.__main__ import main
from ppn.commands.next_step import next_step
from ppn.commands.recipes import available
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.tasks.classification import ClassificationTask
from ppn.tasks.prototypes import PrototypeTask

QUICK = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.deterministic=false",
]


def said(words, kind=ClassificationTask, interrupted=False, best="best.ckpt"):
    trainer = SimpleNamespace(
        interrupted=interrupted,
        default_root_dir="runs/x",
        ckpt_path="p.ckpt",
        checkpoint_callback=SimpleNamespace(best_model_path=best),
    )
    return next_step(shlex.split(words), trainer, kind.__new__(kind))


@pytest.mark.parametrize(
    ("words", "follows"),
    [
        (
            "fit --config ppn:probe --model ppn:backbone/resnet50 --data ppn:data/pets "
            "--data.root=A --trainer.max_epochs 3 --data.val_fraction -1",
            "ppn fit --config ppn:prototypes --data ppn:data/pets --data.root=A "
            "--data.val_fraction -1 --model.classifier_ckpt best.ckpt",
        ),
        (
            "fit --config ppn:synthetic/classifier",
            "ppn fit --config ppn:synthetic/prototypes --model.classifier_ckpt best.ckpt",
        ),
        (
            "fit --config mine.yaml --data.root 'my birds' --model.architecture code:net",
            "ppn fit --config mine.yaml --data.root 'my birds' --model.architecture code:net "
            "--model ppn:model/prototypes --trainer ppn:trainer/prototypes "
            "--model.classifier_ckpt best.ckpt",
        ),
    ],
)
def test_prototypes_follow_a_classifier_on_the_same_data(words, follows):
    assert said(words) == f"next:\n  {follows}"


def test_explanations_and_edits_follow_a_test():
    words = "test --config ppn:prototypes --data ppn:data/pets --data.root=A --ckpt_path p.ckpt"
    assert said(words, PrototypeTask) == (
        "next:\n  ppn explain IMAGE --ckpt p.ckpt\n"
        "  ppn edit --ckpt p.ckpt --remove CLASS:2 --out FOLDER --data ppn:data/pets --data.root=A"
    )
    assert said(words) is None


def test_only_a_finished_run_that_was_typed_is_followed_by_something():
    assert said("fit --config ppn:probe", interrupted=True) is None
    assert said("fit --config ppn:probe", best="") is None
    assert said("-x tests") is None
    assert said("test --config ppn:probe", PrototypeTask, interrupted=True) is None
    assert said("validate --config ppn:probe", PrototypeTask) is None


def test_recipes_that_go_together_have_the_same_data():
    found = available()
    for name, file in found.items():
        pair = re.sub("(classifier|probe|finetune)", "prototypes", name)
        if pair != name and pair in found and not name.startswith(("model/", "trainer/")):
            first, second = (yaml.safe_load(one.read_text()) for one in (file, found[pair]))
            assert first["data"] == second["data"], name


def test_what_is_said_runs_as_it_is(tmp_path, monkeypatch, caplog, capsys):
    """From images in folders to an explanation, by typing what each command says."""
    birds = SyntheticBirdsDataModule(2, 6, 1).read_split("train")
    for index, label in enumerate(birds.labels):
        image = tmp_path / f"my birds/{birds.class_names[label]}/{index}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        birds.read(index).image.save(image)
    monkeypatch.chdir(tmp_path)

    def typed(line, *more):
        monkeypatch.setattr(sys, "argv", [*shlex.split(line), *more])
        caplog.clear()
        with caplog.at_level("INFO"):
            assert main() == 0
        lines = [message for message in caplog.messages if message.startswith("next:")]
        return "".join(lines).splitlines()[1:]

    (line,) = typed(
        "ppn fit --config ppn:probe --model ppn:backbone/test_resnet --data ppn:data/folder "
        "--data.root 'my birds' --data.num_workers 0 --data.val_fraction 0.4",
        *QUICK,
        *("--trainer.max_epochs=1", "--model.image_size=64"),
    )
    test, explain = typed(line, *QUICK)
    capsys.readouterr()
    again, edit = typed(test, *QUICK, "--trainer.default_root_dir=tested")
    assert again == explain
    shown = capsys.readouterr().out
    assert "compact_split" in shown
    assert f"every number: {'tested/metrics.json'}" in shown
    assert "test/gini" not in shown  # Lightning's table of all numbers
    assert typed(explain.replace("IMAGE", shlex.quote(str(image)))) == []
    edit = edit.replace("CLASS", shlex.quote(birds.class_names[0])).replace("FOLDER", "edited")
    assert typed(edit) == []
    assert json.loads((tmp_path / f"explanations/{image.stem}.json").read_text())

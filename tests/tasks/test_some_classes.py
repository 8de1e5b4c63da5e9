"""Data that has some of a classifier's classes: found by name or number, never by position."""

import csv
import json
import math
import re

import pytest
import timm
import torch
from lightning import Trainer

import ppn
from ppn.__main__ import main
from ppn.callbacks.discovery import PrototypeDiscovery
from ppn.classifier.weights import read_checkpoint
from ppn.data.class_names import labels_in
from ppn.data.folder import ImageFolderDataModule
from ppn.errors import CheckpointError, DataError
from ppn.tasks.classification import ClassificationTask
from ppn.tasks.prototypes import PrototypeTask
from tests import ddp
from tests.data.test_folder import split_tree

NAMES = ["ape", "bee", "cat", "dog", "elk", "fox", "gnu"]
OWN = ["gnu", "bee", "elk"]
LABELS = [1, 4, 6]
"""Where the classifier has the data's classes, which are sorted by name."""
QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data=ImageFolderDataModule",
    "--data.num_workers=0",
    "--data.val_fraction=0.34",
]


def classifier(path, **beside):
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=len(NAMES))
    torch.save({"state_dict": model.state_dict(), **beside}, path)
    return model.eval()


def fit_options(base, *more):
    return [
        *("--model=PrototypeTask", "--model.architecture=test_resnet", "--model.image_size=128"),
        f"--model.classifier_ckpt={base / 'box.pth'}",
        *("--model.k=2", "--model.num_patches=2"),
        *("--trainer.callbacks=PrototypeDiscovery", "--trainer.max_epochs=0"),
        *more,
    ]


def command(name, base, run, *options):
    where = [f"--data.root={base / 'own'}", f"--trainer.default_root_dir={base / run}"]
    return main([name, *QUIET, *options, *where])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A classifier of seven classes, images of three, and a run of each command."""
    base = tmp_path_factory.mktemp("some classes")
    split_tree(base / "own", ("train", "test"), OWN, 6)
    classifier(base / "box.pth", classes=NAMES)
    assert command("fit", base, "fit", *fit_options(base)) == 0
    ckpt = f"--ckpt_path={base / 'fit/checkpoints/prototypes.ckpt'}"
    network = ["--model=PrototypeTask", ckpt]
    control = "--model.explainers=[ppn.explainers.control.OtherClassExact]"
    report = "--trainer.callbacks=HTMLReport"
    assert command("test", base, "test", *network, report, control) == 0
    assert command("validate", base, "validate", *network) == 0
    assert command("predict", base, "predict", *network) == 0
    return base


def test_prototypes_are_found_for_the_classes_that_have_images(world):
    network = ppn.load(world / "fit/checkpoints/prototypes.ckpt")
    assert network.class_names == NAMES
    assert network.dictionary.found.nonzero()[:, 0].tolist() == LABELS
    assert network.dictionary.images.tolist() == [0, 4, 0, 0, 4, 0, 4]
    for label in LABELS:
        assert network.image_names[label][0][0].startswith(f"train/{NAMES[label]}/")
    assert network.certificate["images"] == 12
    assert network.certificate["relative_logit_error"] <= 1e-4
    model = classifier(world / "box.pth", classes=NAMES)
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        assert torch.allclose(network(images).logits, model(images), atol=1e-4)
    again = ppn.load(world / "fit", model=model)
    assert again.dictionary.found.tolist() == network.dictionary.found.tolist()


def test_they_are_those_that_python_finds(world):
    model = classifier(world / "box.pth", classes=NAMES)
    data = ImageFolderDataModule(str(world / "own"), num_workers=0, val_fraction=0.34)
    config = ppn.load(world / "fit/checkpoints/prototypes.ckpt").input_config
    found = ppn.from_classifier(model, data, k=2, class_names=NAMES, config=config)
    kept = read_checkpoint(world / "fit/checkpoints/prototypes.ckpt")["state_dict"]
    assert torch.equal(found.head.prototypes, kept["network.heads.0.prototypes"])
    unnamed = ImageFolderDataModule(str(world / "own"), num_workers=0)
    with pytest.raises(CheckpointError, match="The classifier has 7 classes, and which of them"):
        ppn.from_classifier(model, unnamed, k=2, config=config)


def test_evaluation_counts_what_it_can(world):
    measured = json.loads((world / "test/metrics.json").read_text())
    assert measured["images"] == 18
    assert measured["agreement"] == 1.0
    assert 0 <= measured["distinctiveness"] <= 100
    scores = measured["explainers"]["other_class_exact"]
    assert all(math.isfinite(v) for v in scores.values() if isinstance(v, float))
    page = (world / "test/report/index.html").read_text()
    assert (
        "3 of the classifier's 7 classes" in page or "3 of the classifier&#39;s 7 classes" in page
    )
    words = set(re.findall(r"\w+", re.sub(r"data:[^\"']*", "", page)))
    assert words & set(NAMES) == set(OWN)
    assert sorted(path.stem for path in (world / "fit/gallery").glob("*.jpg")) == [
        f"{label:05d}" for label in LABELS
    ]


@pytest.mark.parametrize("kind", ["checkpoint", "state dict"])
def test_the_black_box_alone_is_counted_by_the_classifiers_numbers(world, kind, tmp_path, capsys):
    options = ["--model=ClassificationTask"]
    if kind == "checkpoint":
        model = ClassificationTask(7, "test_resnet", image_size=128)
        model.class_names = NAMES
        weights = timm.create_model("test_resnet", num_classes=7)
        weights.load_state_dict(torch.load(world / "box.pth", weights_only=True)["state_dict"])
        model.classifier.model.load_state_dict(weights.state_dict())
        content = {"state_dict": model.state_dict(), "pytorch-lightning_version": "2.5.0"}
        model.on_save_checkpoint(content)
        torch.save(content, tmp_path / "box.ckpt")
        options += [f"--ckpt_path={tmp_path / 'box.ckpt'}"]
    else:
        made = ["--model.architecture=test_resnet", "--model.image_size=128"]
        options += [f"--model.weights={world / 'box.pth'}", "--model.classifier_classes=7", *made]
    assert command("test", world, tmp_path / "test", *options) == 0
    network = json.loads((world / "test/metrics.json").read_text())
    measured = json.loads((tmp_path / "test/metrics.json").read_text())
    assert measured["accuracy"] == pytest.approx(network["blackbox_accuracy"])
    assert command("predict", world, tmp_path / "predict", *options) == 0
    with (
        (tmp_path / "predict/predictions.csv").open() as ours,
        (world / "predict/predictions.csv").open() as theirs,
    ):
        both = [[row["predicted_class"] for row in csv.DictReader(file)] for file in (ours, theirs)]
    assert both[0] == both[1]
    capsys.readouterr()
    assert command("fit", world, tmp_path / "fit", *options) == 2
    assert "has 7 classes, the data 3: train it on the data of all" in capsys.readouterr().err


def test_predictions_of_other_classes_have_no_contributions(world):
    with (world / "predict/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["true_class"] for row in rows} == set(OWN)
    for row in rows:
        terms = [row["contribution_1"], row["contribution_2"]]
        if row["predicted_class"] in OWN:
            total = float(row["bias"]) + sum(map(float, terms))
            assert total == pytest.approx(float(row["logit"]), abs=1e-4)
        else:
            assert terms == ["", ""]


def test_a_class_without_images_is_refused_in_one_sentence(world, capsys):
    image = next((world / "own/test/elk").glob("*.jpg"))
    given = [str(image), f"--ckpt={world / 'fit/checkpoints/prototypes.ckpt'}"]
    out = f"--out={world / 'explained'}"
    capsys.readouterr()
    assert main(["explain", *given, "--target=cat", out]) == 2
    said = capsys.readouterr().err.strip()
    assert "Class 'cat' has no prototypes, because there was no training image of it" in said
    assert len(said.splitlines()) == 1
    assert not (world / "explained").exists()
    assert main(["explain", *given, "--target=elk", out]) == 0


def test_the_same_command_goes_on_after_a_stop(world, monkeypatch):
    from ppn.callbacks import discovery

    certain = []

    def stopped(*_):
        certain.append(1)
        raise KeyboardInterrupt

    kept = read_checkpoint(world / "fit/checkpoints/prototypes.ckpt")["state_dict"]
    options = fit_options(world, "--trainer.callbacks.classes_per_group=1")
    with monkeypatch.context() as patch:
        patch.setattr(discovery.Fit, "merge", stopped)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            command("fit", world, "again/one", *options)
    assert certain
    assert len(list((world / "again/.journal").rglob("*.safetensors"))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(discovery, "find_parts", None, raising=False)
        assert command("fit", world, "again/two", *options) == 0
    found = read_checkpoint(world / "again/two/checkpoints/prototypes.ckpt")["state_dict"]
    assert torch.equal(found["network.heads.0.prototypes"], kept["network.heads.0.prototypes"])


def test_two_processes_find_and_measure_the_same(world):
    two = ["--trainer.strategy=ddp", "--trainer.devices=2"]
    common = [f"--data.root={world / 'own'}", *two]
    ckpt = f"--ckpt_path={world / 'two/fit/checkpoints/prototypes.ckpt'}"
    given = {"fit": fit_options(world), "test": ["--model=PrototypeTask", ckpt]}
    lines = [
        [name, *QUIET, *common, *options, f"--trainer.default_root_dir={world / 'two' / name}"]
        for name, options in given.items()
    ]
    ended = ddp.commands(lines, world / "out", 2)
    assert [code for code, _ in ended] == [0, 0], ended
    ours, theirs = (
        read_checkpoint(world / run / "checkpoints/prototypes.ckpt")["state_dict"]
        for run in ("fit", "two/fit")
    )
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    one, both = (
        json.loads((world / run / "metrics.json").read_text()) for run in ("test", "two/test")
    )
    assert both["images"] == one["images"] == 18
    assert both["distinctiveness"] == pytest.approx(one["distinctiveness"])
    assert both["certificate"] == one["certificate"]


def run(network, data, folder):
    trainer = Trainer(
        max_epochs=0,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=[PrototypeDiscovery()],
    )
    trainer.fit(network, datamodule=data)
    trainer.test(network, datamodule=data, verbose=False)
    return network.network.dictionary.found.nonzero()[:, 0].tolist()


@pytest.mark.parametrize("kind", ["numbers", "file", "config", "timm"])
def test_names_and_numbers_come_from_where_people_have_them(kind, tmp_path):
    numbered = kind == "numbers"
    split_tree(tmp_path / "own", ("train", "test"), list("461") if numbered else OWN, 4)
    classifier(tmp_path / "box.pth")
    options = {"image_size": 64, "k": 2}
    if kind == "file":
        (tmp_path / "classes.json").write_text(json.dumps({n: i for i, n in enumerate(NAMES)}))
        options["class_names"] = str(tmp_path / "classes.json")
    if kind == "config":
        named = {"id2label": {str(i): n for i, n in enumerate(NAMES)}, "model_type": "resnet"}
        (tmp_path / "config.json").write_text(json.dumps(named))
    if kind == "timm":
        (tmp_path / "config.json").write_text(json.dumps({"label_names": NAMES}))
    network = PrototypeTask(3, str(tmp_path / "box.pth"), "test_resnet", **options)
    data = ImageFolderDataModule(str(tmp_path / "own"), num_workers=0, val_fraction=0.5)
    assert run(network, data, tmp_path / "run") == LABELS
    assert network.network.class_names == (list("0123456") if numbered else NAMES)


def test_the_split_does_not_depend_on_the_classifier(tmp_path):
    split_tree(tmp_path / "own", ("train", "test"), OWN, 8)

    def held_out(follow):
        data = ImageFolderDataModule(str(tmp_path / "own"), num_workers=0, val_fraction=0.5)
        if follow:
            data.follow_classes("The classifier", NAMES, len(NAMES))
        view = data.view("val")
        return [view.source.name(int(i)) for i in view.indices], view.labels.tolist()

    (before, labels), (after, numbers) = held_out(False), held_out(True)
    assert before == after
    assert [LABELS[label] for label in labels] == numbers


def test_a_contradiction_of_labels_and_predictions_is_said(tmp_path):
    split_tree(tmp_path / "own", ("train", "test"), list("461"), 8)
    model = classifier(tmp_path / "box.pth")
    with torch.no_grad():
        model.fc.bias[0] = 50.0  # sure of a class that no image has
    torch.save(model.state_dict(), tmp_path / "box.pth")
    network = PrototypeTask(3, str(tmp_path / "box.pth"), "test_resnet", image_size=64, k=2)
    data = ImageFolderDataModule(str(tmp_path / "own"), num_workers=0, val_fraction=0)
    with pytest.warns(UserWarning, match="predicts the label of 0 of 24 images"):
        run(network, data, tmp_path / "run")


@pytest.mark.parametrize(
    ("trained", "found", "labels"),
    [
        (NAMES, NAMES, list(range(7))),
        (NAMES, OWN, [6, 1, 4]),
        (None, ["0", "6"], [0, 6]),
        (None, ["01", "2"], [1, 2]),
        (NAMES, ["0", "6"], [0, 6]),
        (["1", "10", "2", "4", "5", "6", "7"], ["10", "2"], [1, 2]),  # names go before numbers
    ],
)
def test_classes_are_found_by_name_then_by_number(trained, found, labels):
    assert labels_in("Checkpoint a.pth", trained, 7, found) == labels


@pytest.mark.parametrize(
    ("trained", "found", "said"),
    [
        (NAMES, ["bee", "cta"], r"'cta' is, is not known \(did you mean 'cat'\?\): name them as"),
        (NAMES, ["bee", "4"], "the data's class '4' is, is not known"),
        (None, ["bee"], "'bee' is, is not known, for it has no names: .* as model.class_names"),
        (None, ["1", "7"], "has the classes 0 to 6, which the data's class '7' is not"),
        (None, ["1", "01"], "'01' is not, or not alone"),
        (None, [str(i) for i in range(8)], "has 7 classes, the data 8"),
        ([*NAMES[:6], "bee"], ["bee"], r"calls several classes 'bee' \(1 and 6\)"),
    ],
)
def test_what_is_not_clear_is_refused_in_one_sentence(trained, found, said):
    with pytest.raises(CheckpointError, match=said) as error:
        labels_in("Checkpoint a.pth", trained, 7, found)
    assert "\n" not in str(error.value)


def test_labels_of_a_data_set_are_held_against_the_names_that_are_given():
    class Some(torch.utils.data.Dataset):
        classes = ("bee", "cat")

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.randn(3, 64, 64), index % 2

    model = timm.create_model("test_resnet", num_classes=7).eval()
    loader = torch.utils.data.DataLoader(Some(), batch_size=2)
    with pytest.raises(DataError, match="Class 0 of the data set is 'bee', which class_names has"):
        ppn.from_classifier(model, loader, k=1, class_names=NAMES)

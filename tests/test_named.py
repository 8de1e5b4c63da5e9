"""Named parts from the command line to files, report and `ppn explain`."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

import ppn
from ppn.__main__ import main
from ppn.classifier.weights import read_checkpoint
from ppn.data.annotated import AnnotatedTraining
from ppn.data.cub import CUBDataModule
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.synthetic import SyntheticBirds, SyntheticBirdsDataModule
from ppn.discovery import NamedParts
from ppn.discovery.points import area_evidence, evident_points
from ppn.discovery.teacher import Teacher, areas_of, taught_names
from ppn.errors import DataError, DiscoveryError
from ppn.metrics.maps import peak
from ppn.metrics.windows import part_hits
from ppn.prototypes.journal import Journal
from ppn.tasks.classification import ClassificationTask
from ppn.types import InputConfig
from tests import fakes
from tests.prototypes.test_from_classifier import Named

ROOT = Path(__file__).parents[1]
GROUPS = '{"head": ["beak", "crown", "eye"], "underside": ["belly", "breast"], "back": ["back"]}'
NAMES = ["head", "underside", "back", "rest"]
DISCOVERER = "--trainer.callbacks.discoverer"
BIRDS = {"num_classes": 4, "train_per_class": 6, "test_per_class": 2, "draw_size": 96}


def drawn(split="train"):
    return SyntheticBirds(4, 6, split, 0, 96)


def write_clicks(path, images=(0, 1, 7, 13), parts=("beak", "belly")):
    """Clicks where the drawings' own keypoints are."""
    source = drawn()
    lines = ["image,part,x,y"]
    for index in images:
        for part in parts:
            x, y, visible = source.read(index).keypoints[source.part_names.index(part)]
            lines.append(f"{source.name(index)},{part}," + (f"{x},{y}" if visible else ","))
    path.write_text("\n".join(lines) + "\n")
    return path


class Halves(Teacher):
    """The left and the right half of every image.

    Args:
        sure: Probability inside.
    """

    part_names = ("left", "right")

    def __init__(self, sure: float = 0.9):
        self.sure = sure

    def __call__(self, images):
        areas = torch.zeros(len(images), 2, 8, 8)
        areas[:, 0, :, :4] = areas[:, 1, :, 4:] = self.sure
        return areas


def quarter(images):
    return Halves(0.25)(images)[:, :1]


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("named") / "box.pth"
    torch.save(timm.create_model("test_resnet", num_classes=4).state_dict(), path)
    return path


def common(run_dir):
    return [
        "--data=SyntheticBirdsDataModule",
        *(f"--data.{key}={value}" for key, value in BIRDS.items()),
        "--data.num_workers=0",
        "--data.batch_size=5",
        "--data.val_fraction=0.2",
        "--model=PrototypeTask",
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={run_dir}",
    ]


def fit(box, run_dir, *more):
    return main(
        [
            *("fit", *common(run_dir), f"--model.classifier_ckpt={box}"),
            *("--model.architecture=test_resnet", "--model.image_size=128"),
            *("--trainer.max_epochs=0", "--trainer.callbacks=PrototypeDiscovery"),
            *(f"{DISCOVERER}=NamedParts", *more),
        ]
    )


@pytest.fixture(scope="module")
def fitted(box):
    run_dir = box.parent / "fit"
    assert fit(box, run_dir, f"{DISCOVERER}.groups={GROUPS}", f"{DISCOVERER}.images=8") == 0
    return run_dir


def checkpoint(run_dir):
    return run_dir / "checkpoints/prototypes.ckpt"


def test_names_are_saved_with_all_that_is_known_of_them(fitted):
    described = json.loads((fitted / "prototypes.json").read_text())
    assert described["parts"] == {"names": NAMES, "remainder": True}
    told = described["certificate"]["named_parts"]
    assert told["images"] == 8
    assert set(told["accuracy_of"]) == set(NAMES[:3])
    assert 0 <= told["accuracy"] <= 1
    assert 0 <= told["missed"] <= 1
    assert 0 < told["remainder_share"] < 1
    network = ppn.load(checkpoint(fitted))
    assert (network.k, network.part_names, network.remainder) == (4, NAMES, True)
    assert network.token_classifier.weight.shape[0] == 4
    assert network.token_classifier.weight.any()
    tensors = load_file(fitted / "prototypes.safetensors")
    kept = tensors["token_classifier.weight"]
    assert torch.equal(kept, network.token_classifier.weight)
    again = ppn.load(fitted, model=network.classifier.model)
    assert again.part_names == NAMES
    assert torch.equal(again.token_classifier.weight, kept)
    assert again.certificate == network.certificate


def test_names_are_everywhere(fitted, tmp_path, capsys):
    ckpt = f"--ckpt_path={checkpoint(fitted)}"
    out = tmp_path / "test"
    assert main(["test", *common(out), ckpt, "--trainer.callbacks=HTMLReport"]) == 0
    figures = json.loads((out / "metrics.json").read_text())
    assert list(figures["parts"]) == NAMES
    assert sum(part["share"] for part in figures["parts"].values()) == pytest.approx(1, abs=0.01)
    assert figures["parts"]["rest"]["consistent"] is None  # it has no place
    page = (out / "report/index.html").read_text()
    assert "Every named part" in page
    for name in NAMES:
        assert f">{name}</span>" in page
    assert "Part 1" not in page
    assert main(["predict", *common(out), ckpt]) == 0
    with (out / "predictions.csv").open() as file:
        header = next(csv.reader(file))
    assert header[-4:] == [f"contribution_{name}" for name in NAMES]
    drawn("test").read(0).image.save(tmp_path / "bird.png")
    said = [str(tmp_path / "bird.png"), "--ckpt", str(checkpoint(fitted))]
    capsys.readouterr()
    assert main(["explain", *said, "--out", str(tmp_path / "out")]) == 0
    assert "= head " in capsys.readouterr().out
    told = json.loads((tmp_path / "out/bird.json").read_text())
    assert [part["name"] for part in told["prototypes"]] == NAMES


def test_a_remainder_is_no_failing_part(fitted, tmp_path):
    """Metrics of places leave it out; those of contributions do not."""
    network = ppn.load(checkpoint(fitted))
    data = SyntheticBirdsDataModule(**BIRDS, num_workers=0)
    data.input_config = network.input_config
    loader = data.test_dataloader()
    out = tmp_path / "test"
    assert main(["test", *common(out), f"--ckpt_path={checkpoint(fitted)}"]) == 0
    figures = json.loads((out / "metrics.json").read_text())
    hits = torch.zeros(4, 3, 12)
    visible = torch.zeros(4, 12)
    for batch in loader:
        tokens = network.tokens(batch["image"])
        maps = network.head.maps(tokens, batch["label"])[:, :3]
        half = round(36 * 128 / 224)
        found = part_hits(peak(maps, (128, 128)), batch["keypoints"], [half], (128, 128))[0]
        seen = batch["keypoints"][..., 2] > 0
        hits.index_add_(0, batch["label"], found.float())
        visible.index_add_(0, batch["label"], seen.float())
    share = (hits / visible.clamp(min=1)[:, None]).amax(2)
    expected = 100 * float((share >= 0.8).double().mean())
    assert figures["consistency"] == pytest.approx(expected)


def test_named_parts_are_divided_into_entries_that_classes_share(box, tmp_path):
    given = [f"{DISCOVERER}.groups={GROUPS}", f"{DISCOVERER}.images=8", f"{DISCOVERER}.entries=6"]
    assert fit(box, tmp_path / "run", *given) == 0
    network = ppn.load(checkpoint(tmp_path / "run"))
    said = network.certificate["vocabulary"]
    assert said["entries"] == len(said["names"]) == 6
    assert network.part_names == NAMES
    assert network.certificate["max_sum_error"] <= 1e-6
    for own in said["uses"].values():
        assert [said["names"][entry].split()[0] for entry in own] == NAMES[:3]
    out = tmp_path / "test"
    ckpt = f"--ckpt_path={checkpoint(tmp_path / 'run')}"
    assert main(["test", *common(out), ckpt, "--trainer.callbacks=HTMLReport"]) == 0
    page = (out / "report/index.html").read_text()
    assert page.index("Every named part") < page.index("Every entry that classes share")
    for name in [*NAMES, *said["names"]]:
        assert f">{name}</span>" in page
    assert "Entry 1" not in page


def test_only_annotated_images_are_learned_from(box, tmp_path, monkeypatch):
    seen = []
    original = FineGrainedDataModule.chosen_loader

    def chosen(self, indices):
        seen.append(list(indices))
        return original(self, indices)

    monkeypatch.setattr(FineGrainedDataModule, "chosen_loader", chosen)
    clicks = write_clicks(tmp_path / "clicks.csv")
    assert fit(box, tmp_path / "run", f"{DISCOVERER}.clicks={clicks}") == 0
    assert seen == [[0, 1, 7, 13]]
    network = ppn.load(checkpoint(tmp_path / "run"))
    assert network.part_names == ["beak", "belly", "rest"]
    assert network.certificate["max_sum_error"] <= 1e-6


def test_classes_without_clicks_have_their_parts_all_the_same(box, tmp_path):
    clicks = write_clicks(tmp_path / "clicks.csv", images=(0, 1, 2))  # of class 0
    assert fit(box, tmp_path / "run", f"{DISCOVERER}.clicks={clicks}") == 0
    network = ppn.load(checkpoint(tmp_path / "run"))
    weight, _ = network.classifier.effective_head()
    missing = (network.head.prototypes.double().sum(1) - weight).abs().amax(1)
    assert (missing <= 1e-6 * weight.abs().amax(1)).all()
    assert (network.dictionary.found == 1).all()


def test_a_resumed_discovery_depends_on_the_clicks(box, tmp_path, monkeypatch, caplog):
    class Stop(Exception):
        pass

    write = Journal.write

    def dying(self, labels):
        write(self, labels)
        raise Stop

    clicks = write_clicks(tmp_path / "clicks.csv")
    given = [f"{DISCOVERER}.clicks={clicks}", "--trainer.callbacks.classes_per_group=2"]
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", dying)
        with pytest.raises(Stop):
            fit(box, tmp_path / "run", *given)
    kept = clicks.read_text()
    write_clicks(clicks, images=(0, 1, 7, 14))
    with caplog.at_level("INFO"):
        assert fit(box, tmp_path / "other/run", *given) == 0
    assert "Going on" not in caplog.text
    clicks.write_text(kept)
    with caplog.at_level("INFO"):
        assert fit(box, tmp_path / "run", *given) == 0
    assert "Going on: " in caplog.text
    assert fit(box, tmp_path / "whole/run", *given) == 0
    ours, theirs = (
        read_checkpoint(checkpoint(folder))["state_dict"]
        for folder in (tmp_path / "run", tmp_path / "whole/run")
    )
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize(
    ("teacher", "names"),
    [
        ([f"{DISCOVERER}.teacher=tests.test_named.quarter"], ["0", "rest"]),
        (
            [
                f"{DISCOVERER}.teacher=tests.test_named.Halves",
                f"{DISCOVERER}.teacher.sure=1.0",
                f'{DISCOVERER}.groups={{"west": ["left"], "east": ["right"]}}',
            ],
            ["west", "east", "rest"],
        ),
        ([f"{DISCOVERER}.source=boxes"], ["box", "rest"]),
    ],
)
def test_a_teacher_or_boxes_say_where_parts_are(box, tmp_path, teacher, names):
    assert fit(box, tmp_path / "run", *teacher, f"{DISCOVERER}.images=6") == 0
    described = json.loads((tmp_path / "run/prototypes.json").read_text())
    assert described["parts"]["names"] == names
    assert described["certificate"]["named_parts"]["images"] == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model.k=3", f"{DISCOVERER}.groups={GROUPS}"], "leave k out, or set it to 4"),
        ([f'{DISCOVERER}.groups={{"a": ["nose"]}}'], "no 'nose' among the data set's keypoints"),
        ([f'{DISCOVERER}.groups={{"rest": ["beak"]}}'], "give it another name"),
        ([f"{DISCOVERER}.images=0"], "images of named_parts is 0"),
        ([f"{DISCOVERER}.entries=2", f"{DISCOVERER}.groups={GROUPS}"], "too few for 3 names"),
        ([f"{DISCOVERER}.clicks=none.csv"], "none.csv is missing"),
        (
            [f"{DISCOVERER}.clicks=x.csv", f"{DISCOVERER}.teacher=tests.test_named.quarter"],
            "give one of the two",
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(box, tmp_path, capsys, given, said):
    assert fit(box, tmp_path / "run", *given) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_datamodule_in_python(box, tmp_path):
    model = timm.create_model("test_resnet", num_classes=4).eval()
    data = SyntheticBirdsDataModule(**BIRDS, num_workers=0)
    clicks = write_clicks(tmp_path / "clicks.csv")
    network = ppn.from_classifier(model, data, discoverer=NamedParts(clicks=str(clicks)))
    assert network.part_names == ["beak", "belly", "rest"]
    explanation = network.explain(drawn("test").read(0).image)
    assert explanation.titles == ("beak", "belly", "rest")
    assert explanation.adds_up
    way = NamedParts(images=3)
    first = ppn.from_classifier(model, data, discoverer=way)
    other = SyntheticBirdsDataModule(**{**BIRDS, "draw_size": 64}, seed=7, num_workers=0)
    again = ppn.from_classifier(model, other, discoverer=way)  # nothing is left of the first
    fresh = ppn.from_classifier(model, other, discoverer=NamedParts(images=3))
    assert torch.equal(again.token_classifier.weight, fresh.token_classifier.weight)
    assert not torch.equal(again.token_classifier.weight, first.token_classifier.weight)
    with pytest.raises(DiscoveryError, match="set it to 3"):
        ppn.from_classifier(model, data, k=5, discoverer=NamedParts(clicks=str(clicks)))


def test_a_loader_in_python():
    model = timm.create_model("test_resnet", num_classes=3).eval()
    loader = torch.utils.data.DataLoader(Named(), batch_size=5)
    way = NamedParts(teacher=Halves(), images=4)
    assert ppn.from_classifier(model, loader, discoverer=way).part_names == [
        *("left", "right", "rest")
    ]
    way = NamedParts()
    points = torch.tensor([[[28.0, 28, 1], [5, 60, 1]], [[30.0, 30, 1], [0, 0, 0]]])
    way.annotate([1, 5], points, ["square", "ground"], (64, 64))
    network = ppn.from_classifier(model, loader, discoverer=way)
    assert network.part_names == ["square", "ground", "rest"]
    assert network.certificate["named_parts"]["images"] == 2
    for other, said in (
        (NamedParts(clicks="clicks.csv"), "a loader's transform moves"),
        (NamedParts(), "A loader has no keypoints"),
    ):
        with pytest.raises(DataError, match=said):
            ppn.from_classifier(model, loader, discoverer=other)
    way.annotate([1, 99], points, ["square", "ground"], (64, 64))
    with pytest.raises(DataError, match="Image 99 is annotated, but training images are 0 to"):
        ppn.from_classifier(model, loader, discoverer=way)
    stream = [(torch.stack(Named().images), torch.tensor(Named().labels))]
    network = ppn.from_classifier(model, stream, discoverer=_annotated())
    assert network.part_names == ["square", "rest"]
    with pytest.raises(DataError, match="read only once"):
        ppn.from_classifier(model, stream, discoverer=NamedParts(teacher=Halves()))


def _annotated():
    way = NamedParts()
    way.annotate([0, 4], torch.tensor([[[28.0, 28, 1]]] * 2), ["square"], (64, 64))
    return way


def test_another_runs_prototypes_are_scored_beside_a_networks_own(fitted, box, tmp_path, capsys):
    out = tmp_path / "test"
    beside = [
        "--model.explainers+=FittedPrototypes",
        f"--model.explainers.folder={fitted}",
        "--model.explainers.title=again",
    ]
    assert main(["test", *common(out), *beside, f"--ckpt_path={checkpoint(fitted)}"]) == 0
    rows = json.loads((out / "metrics.json").read_text())["explainers"]
    (again,) = (row for row in rows.values() if row["title"] == "again")
    own = next(iter(rows.values()))
    for key in ("consistency", "stability", "distinctiveness", "negative_share"):
        assert again[key] == own[key]
    other = tmp_path / "other.pth"
    torch.manual_seed(1)
    torch.save(timm.create_model("test_resnet", num_classes=4).state_dict(), other)
    assert fit(other, tmp_path / "fit") == 0
    given = f"--ckpt_path={checkpoint(tmp_path / 'fit')}"
    assert main(["test", *common(tmp_path / "no"), *beside, given]) == 2
    assert "belong to another classifier" in capsys.readouterr().err


def test_clicks_follow_crop_and_transform(tmp_path):
    clicks = write_clicks(tmp_path / "clicks.csv")
    for crop in ("frame", "box"):
        data = SyntheticBirdsDataModule(**BIRDS, num_workers=0, crop=crop)
        data.input_config = InputConfig(size=(112, 112), crop_pct=0.8)
        view = data.view("train")
        found = AnnotatedTraining(view, torch.device("cpu")).clicked(str(clicks))
        assert found.indices == [0, 1, 7, 13]
        columns = [data.part_names.index(name) for name in found.names]
        own = torch.stack([item["keypoints"][columns] for item in view.at(found.indices)])
        seen = found.keypoints[..., 2] > 0
        assert seen.any()
        assert torch.allclose(found.keypoints[seen], own[seen], atol=0.01)


def test_areas_of_masks_are_where_keypoints_are():
    data = SyntheticBirdsDataModule(**BIRDS, num_workers=0)
    training = AnnotatedTraining(data.view("train"), torch.device("cpu"))
    found = training.annotated("masks", {"belly", "wing"}, 5, 0)
    again = training.annotated("keypoints", {"belly", "wing"}, 5, 0)
    assert found.names == again.names
    both = [i for i in found.indices if i in again.indices]
    assert both
    areas = found.areas[[found.indices.index(i) for i in both]]
    points = evident_points(area_evidence(areas, (7, 7)), (7, 7), (224, 224))[:, :, 0]
    told = again.keypoints[[again.indices.index(i) for i in both]]
    column = found.names.index("belly")
    seen = told[:, column, 2] > 0
    distance = (points[seen, column, :2] - told[seen, column, :2]).norm(dim=1)
    assert distance.median() <= 48
    assert np.all(np.isin(found.indices, data.view("train").indices))
    data.train_source.part_names = []
    with pytest.raises(DataError, match="no keypoints"):
        training.annotated("keypoints", None, 5, 0)


def test_the_walk_of_the_readme(tmp_path, monkeypatch):
    """Its commands, as they are, with given clicks; only the data and the network are small."""
    root = fakes.cub(tmp_path / "CUB_200_2011", classes=4, train=6, test=2)
    data = CUBDataModule(str(root), num_workers=0)
    source = data.train_source
    lines = ["image,part,x,y"]
    for index in (0, 3, 7, 11, 20):
        for part in ("beak", "tail"):
            x, y, visible = source.read(index).keypoints[source.part_names.index(part)]
            lines.append(f"{source.name(index)},{part}," + (f"{x:.1f},{y:.1f}" if visible else ","))
    (tmp_path / "clicks.csv").write_text("\n".join(lines) + "\n")
    source.read(0).image.save(tmp_path / "bird.jpg")
    best = tmp_path / "runs/cub/classifier/checkpoints/best.ckpt"
    best.parent.mkdir(parents=True)
    task = ClassificationTask(4, "test_resnet", image_size=96)
    checkpoint = {"state_dict": task.state_dict(), "hyper_parameters": {}}
    task.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, best)
    text = (ROOT / "README.md").read_text()
    walk = text[text.index("## Parts with names") : text.index("## All explainers")]
    (block,) = re.findall(r"```sh\n(.*?)```", walk, flags=re.DOTALL)
    commands = block.replace("\\\n", " ").splitlines()
    assert [command.split()[1] for command in commands] == ["fit", "test", "explain"]
    monkeypatch.chdir(tmp_path)
    for command in commands:
        words = shlex.split(command.replace("ROOT", str(root)))[1:]
        small = ["--data.init_args.num_workers=0", "--trainer.enable_progress_bar=false"]
        assert main([*words, *(small if words[0] != "explain" else [])]) == 0
    page = (tmp_path / "runs/cub/named-test/report/index.html").read_text()
    assert "Every named part" in page
    for name in ("beak", "tail", "rest"):
        assert f">{name}</span>" in page
    told = json.loads((tmp_path / "explanations/named/bird.json").read_text())
    assert [part["name"] for part in told["prototypes"]] == ["beak", "tail", "rest"]


def test_the_example_of_a_teacher_runs(tmp_path):
    text = (ROOT / "docs/named-parts.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {"__name__": "mymodule"}
    exec(code, names)
    segmenter = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, 8))
    torch.jit.trace(segmenter, torch.rand(1, 3, 32, 32)).save(tmp_path / "parts.pt")
    teacher = names["Segmenter"](str(tmp_path / "parts.pt"))
    areas = areas_of(teacher, torch.rand(2, 3, 64, 64))
    assert areas.shape == (2, 3, 8, 8)
    assert taught_names(teacher, 3) == ["head", "body", "tail"]

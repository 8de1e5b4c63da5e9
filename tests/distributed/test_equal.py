"""The same numbers on one process and on several, where shares, batches and classes are uneven."""

import csv
import json

import pytest
import timm
import torch

from ppn.classifier.weights import read_checkpoint
from tests import ddp, fakes

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def uneven_cub(root, train):
    """A fake CUB of 8 images of each class, of which so many are for training."""
    fakes.cub(root, classes=len(train), train=8, test=0)
    split = [int(i < count) for count in train for i in range(8)]
    lines = [f"{number + 1} {value}" for number, value in enumerate(split)]
    (root / "train_test_split.txt").write_text("\n".join(lines) + "\n")
    return root


def commands(base, run_dir, processes):
    """Both stages: train, find prototypes, and measure."""
    common = [
        "--data=CUBDataModule",
        f"--data.root={base / 'CUB_200_2011'}",
        "--data.num_workers=0",
        "--data.val_fraction=0.3",
        *(["--trainer.strategy=ddp"] if processes > 1 else []),
        f"--trainer.devices={processes}",
        *QUIET,
    ]
    # Without batch normalisation; in each step all processes together see six images. In double
    # precision, since training lets roundings grow.
    black_box = [
        "--trainer.precision=64-true",
        *("--model=ClassificationTask", "--model.architecture=test_vit"),
        *("--model.image_size=64", "--model.optimizer=sgd", "--model.lr=0.1"),
        f"--data.batch_size={6 // processes}",
    ]
    network = ["--model=PrototypeTask", "--model.compare=[Equal]", "--data.batch_size=3"]
    given = [
        "--model.architecture=test_resnet",
        "--model.image_size=128",  # 4 x 4 cells, as distinctiveness pools 2 x 2
        f"--model.classifier_ckpt={base / 'box.pth'}",
        "--trainer.callbacks=PrototypeDiscovery",
        "--trainer.callbacks.classes_per_group=2",
    ]
    named = [*given, "--trainer.callbacks.discoverer=NamedParts"]
    named += ["--trainer.callbacks.discoverer.images=4"]
    saved = run_dir / "found/checkpoints/prototypes.ckpt"
    lines = {
        "trained": ["fit", *black_box, "--trainer.max_epochs=2"],
        "found": ["fit", *network, *given, "--trainer.max_epochs=0"],
        "named": ["fit", *network, *named, "--trainer.max_epochs=0"],
        "validated": ["validate", *network, f"--ckpt_path={saved}"],
        "tested": ["test", *network, f"--ckpt_path={saved}"],
        "predicted": ["predict", *network, f"--ckpt_path={saved}"],
    }
    return [
        [line[0], *common, *line[1:], f"--trainer.default_root_dir={run_dir / name}"]
        for name, line in lines.items()
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    def run(train, processes):
        name = "-".join(map(str, train))
        base = tmp_path_factory.getbasetemp() / f"equal-{name}"
        if not base.exists():
            uneven_cub(base / "CUB_200_2011", train)
            torch.manual_seed(0)
            model = timm.create_model("test_resnet", num_classes=len(train))
            torch.save(model.state_dict(), base / "box.pth")
        run_dir = base / str(processes) / "run"
        if not run_dir.exists():
            given = commands(base, run_dir, processes)
            ended = ddp.commands(given, base / f"out{processes}", processes)
            output = "\n".join(output for _, output in ended)
            assert [code for code, _ in ended] == [0] * processes, output
            assert (f"MEMBER: {processes}/{processes}" in output) == (processes > 1)
        return run_dir

    return run


def flat(value, key=""):
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for name, part in items for k, v in flat(part, f"{key}/{name}").items()}
    return {key: value}


# Classes with different counts; then more processes than classes, of which one finds nothing.
@pytest.mark.parametrize(
    ("train", "processes"),
    [([6, 4, 5], 2), pytest.param([6, 3], 3, marks=pytest.mark.slow)],
)
class TestProcesses:
    @pytest.mark.parametrize("stage", ["found", "named"])
    def test_prototypes_are_equal_to_the_bit(self, world, train, processes, stage):
        ours, theirs = (
            read_checkpoint(world(train, n) / stage / "checkpoints/prototypes.ckpt")
            for n in (1, processes)
        )
        assert set(ours["state_dict"]) == set(theirs["state_dict"])
        for name, value in ours["state_dict"].items():
            assert torch.equal(theirs["state_dict"][name], value), name
        assert theirs["ppn_network"] == ours["ppn_network"]
        assert (ours["state_dict"]["network.dictionary.found"] == 1).all()
        found = [(world(train, n) / stage / "prototypes.json").read_text() for n in (1, processes)]
        assert found[0] == found[1]

    @pytest.mark.parametrize("stage", ["validated", "tested"])
    def test_every_figure_is_equal(self, world, train, processes, stage):
        ours, theirs = (
            flat(json.loads((world(train, n) / stage / "metrics.json").read_text()))
            for n in (1, processes)
        )
        assert set(ours) == set(theirs)
        images = {
            "validated": sum(round(0.3 * n) for n in train),
            "tested": sum(8 - n for n in train),
        }
        assert ours["/images"] == images[stage]
        assert images[stage] % (3 * processes) != 0
        assert len([value for value in ours.values() if isinstance(value, float)]) > 60
        for name, value in ours.items():
            if isinstance(value, float):
                value = pytest.approx(value, abs=1e-6)
            assert theirs[name] == value, name

    def test_predictions_are_one_whole_table(self, world, train, processes):
        ours, theirs = (
            list(csv.reader((world(train, n) / "predicted/predictions.csv").open()))
            for n in (1, processes)
        )
        assert len(ours) == 1 + sum(8 - n for n in train)
        assert [row[:3] for row in theirs] == [row[:3] for row in ours]
        for row, other in zip(ours[1:], theirs[1:], strict=True):
            numbers = [float(cell) for cell in row[3:]]
            assert [float(cell) for cell in other[3:]] == pytest.approx(numbers, abs=1e-6)

    def test_training_is_equal(self, world, train, processes):
        ours, theirs = (world(train, n) / "trained" for n in (1, processes))
        losses = [
            [float(row["val/loss"]) for row in csv.DictReader(path.open()) if row["val/loss"]]
            for path in (ours / "metrics.csv", theirs / "metrics.csv")
        ]
        assert len(losses[0]) == 2
        assert losses[1] == pytest.approx(losses[0], abs=1e-6)  # logged in single precision
        weights = [
            read_checkpoint(next(path.glob("checkpoints/*.ckpt")))["state_dict"]
            for path in (ours, theirs)
        ]
        for name, value in weights[0].items():
            torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-9)
        start = timm.create_model("test_vit", num_classes=len(train))
        assert not torch.equal(weights[0]["classifier.model.head.weight"], start.head.weight)


def test_a_checkpoint_that_was_written_on_the_way_is_found_anew(world, tmp_path):
    """SLURM's requeueing saves whenever the signal comes, also in the middle of discovery."""
    whole = world([6, 4, 5], 1) / "found/checkpoints/prototypes.ckpt"
    content = read_checkpoint(whole)
    content["state_dict"]["network.dictionary.found"][1] = 0
    torch.save(content, tmp_path / "half.ckpt")
    base = whole.parents[4]
    fit = [*commands(base, tmp_path / "run", 2)[1], f"--ckpt_path={tmp_path / 'half.ckpt'}"]
    ended = ddp.commands([fit], tmp_path, 2)
    assert [code for code, _ in ended] == [0, 0], "\n".join(output for _, output in ended)
    found = read_checkpoint(tmp_path / "run/found/checkpoints/prototypes.ckpt")["state_dict"]
    for name, value in read_checkpoint(whole)["state_dict"].items():
        assert torch.equal(found[name], value), name


def test_fewer_images_than_processes_are_refused_by_all_of_them(world, tmp_path):
    base = world([6, 3], 1).parents[1]
    saved = base / "1/run/found/checkpoints/prototypes.ckpt"
    validate = commands(base, tmp_path / "run", 2)[2]
    few = [*validate, f"--ckpt_path={saved}", "--data.val_fraction=0.1"]
    for code, output in ddp.commands([few], tmp_path, 2):
        assert code == 2
        assert "The val split has 1 images, fewer than the 2 processes" in output
        assert "Traceback" not in output

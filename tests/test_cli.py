import csv
import json
import os
import subprocess
import sys

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ppn import cli
from ppn.__main__ import main
from ppn.commands.run_directory import set_aside
from ppn.prototypes.checkpoint import ENTRY
from tests import fakes

TRAINER = [
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
BLACK_BOX = [
    "--model=ClassificationTask",
    "--model.architecture=test_resnet",
    "--model.image_size=64",
    "--trainer.max_epochs=1",
]
NETWORK = ["--model=PrototypeTask", "--model.compare=[Equal]"]
DISCOVERY = ["--trainer.callbacks=PrototypeDiscovery", "--trainer.max_epochs=0"]


MY_MODEL = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1))
        self.classifier = nn.Linear(12, num_classes)

    def forward(self, x):
        return self.classifier(self.body(x).mean((2, 3)))
"""


def data(root, *more):
    return [
        "--data=CUBDataModule",
        f"--data.root={root}",
        "--data.num_workers=0",
        "--data.batch_size=4",
        "--data.val_fraction=0.25",
        *more,
    ]


def ppn(command, run_dir, *args):
    return main([command, *args, *TRAINER, f"--trainer.default_root_dir={run_dir}"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fake CUB, a classifier trained on it, and its prototypes."""
    base = tmp_path_factory.mktemp("world")
    root = fakes.cub(base / "CUB_200_2011")
    checkpoint = "--trainer.callbacks=ModelCheckpoint"
    assert ppn("fit", base / "classifier", *data(root), *BLACK_BOX, checkpoint) == 0
    (black_box,) = (base / "classifier/checkpoints").glob("*.ckpt")
    given = [*NETWORK, f"--model.classifier_ckpt={black_box}"]
    assert ppn("fit", base / "network", *data(root), *given, *DISCOVERY) == 0
    network = base / "network/checkpoints/prototypes.ckpt"
    assert network.is_file()
    return {"root": root, "black_box": black_box, "network": network, "base": base}


def refused(capsys, code, message):
    """One sentence on stderr, exit code 2."""
    assert code == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("ppn:")]
    assert len(lines) == 1
    assert "Traceback" not in err
    assert message in lines[0], lines[0]


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_version_and_help_import_nothing_heavy(flag):
    code = (
        "import sys; from ppn.__main__ import main; main([sys.argv[1]]); "
        "assert not {'torch', 'lightning', 'timm', 'jsonargparse'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, flag], check=True, capture_output=True)


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in ("check", "fit", "validate", "test", "predict"))


def test_an_unknown_command_is_refused(capsys):
    refused(capsys, main(["fly"]), "There is no command 'fly': see ppn --help.")
    refused(capsys, main(["fti"]), "did you mean 'fit'?")


def test_discovery_leaves_a_complete_checkpoint_of_plain_values(world):
    content = torch.load(world["network"], weights_only=True)
    certificate = content[ENTRY]["certificate"]
    assert certificate["agreement"] == 1.0
    assert certificate["max_sum_error"] <= 1e-6
    assert certificate["max_logit_error"] <= 1e-4
    assert certificate["images"] == 9
    assert (content["state_dict"]["network.dictionary.found"] == 1).all()
    patches = json.loads((world["base"] / "network/prototypes.json").read_text())
    assert [c["name"] for c in patches["classes"]] == ["Bird 0", "Bird 1", "Bird 2"]
    first = patches["classes"][1]["prototypes"][0][0]
    assert (world["root"] / "images" / first["image"]).is_file()


@pytest.mark.parametrize("command", ["validate", "test"])
def test_evaluation_needs_only_the_checkpoint(world, tmp_path, command, monkeypatch):
    # The classifier's own checkpoint may be gone, and no callback is given.
    hidden = world["black_box"].with_suffix(".hidden")
    world["black_box"].rename(hidden)
    try:
        code = ppn(
            command, tmp_path, *data(world["root"]), *NETWORK, f"--ckpt_path={world['network']}",
            "--trainer.callbacks=HTMLReport",
        )  # fmt: skip
    finally:
        hidden.rename(world["black_box"])
    assert code == 0
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["split"] == {"validate": "val", "test": "test"}[command]
    assert figures["images"] == {"validate": 3, "test": 6}[command]
    assert figures["agreement"] == 1.0
    assert figures["accuracy"] == figures["blackbox_accuracy"]
    assert figures["max_logit_error"] <= 1e-4
    for key in ("consistency", "stability", "distinctiveness", "distinct_peaks"):
        assert figures[key] == figures["explainers"]["compact_split"][key]
        assert {key in row for row in figures["explainers"].values()} == {True}
    levels = ["ceiling", "random_exact", "other_class_exact", "random", "centre", "uniform"]
    assert list(figures["explainers"]) == ["compact_split", "equal", *levels]
    assert figures["refinement"] == "compact_split"
    metric = figures["metrics"]["consistency"]
    assert metric["protocol"] == "evalprotopnet-2023"
    assert metric["constants"]["threshold"] == 0.8
    page = (tmp_path / "report/index.html").read_text()
    assert "Bird 1" in page
    assert "evalprotopnet-2023" in page


def test_results_do_not_depend_on_the_batch_size(world, tmp_path):
    figures = []
    for size in (1, 5):
        args = [*data(world["root"]), f"--data.batch_size={size}", *NETWORK]
        assert ppn("test", tmp_path, *args, f"--ckpt_path={world['network']}") == 0
        figures.append(json.loads((tmp_path / "metrics.json").read_text()))
    for key in ("accuracy", "consistency", "stability", "distinct_peaks", "agreement", "gini"):
        assert figures[0][key] == pytest.approx(figures[1][key], abs=1e-6)


def test_mixed_precision_is_measured_and_stays_close(world, tmp_path):
    args = [*data(world["root"]), *NETWORK, "--trainer.precision=bf16-mixed"]
    given = f"--model.classifier_ckpt={world['black_box']}"
    assert ppn("fit", tmp_path, *args, given, *DISCOVERY) == 0
    network = tmp_path / "checkpoints/prototypes.ckpt"
    assert ppn("test", tmp_path, *args, f"--ckpt_path={network}") == 0
    figures = json.loads((tmp_path / "metrics.json").read_text())
    # The sum of parts is exact in float32; the black box's own last layer ran in bf16 (8 bits).
    assert figures["certificate"]["max_sum_error"] <= 1e-6
    assert 0 < figures["max_relative_logit_error"] <= 2**-5


@pytest.mark.parametrize(
    ("architecture", "size", "told"),
    [
        ("test_vit", 160, "Maps are indicative"),
        pytest.param("lcnet_035", 224, "Completeness error of maps", marks=pytest.mark.slow),
    ],
)
def test_heads_without_a_mean_are_fitted_tested_and_told(world, tmp_path, architecture, size, told):
    box = [
        "--model=ClassificationTask",
        f"--model.architecture={architecture}",
        f"--model.image_size={size}",
    ]
    saving = ["--trainer.max_epochs=1", "--trainer.callbacks=ModelCheckpoint"]
    assert ppn("fit", tmp_path / "box", *data(world["root"]), *box, *saving) == 0
    (black_box,) = (tmp_path / "box/checkpoints").glob("*.ckpt")
    given = [*data(world["root"]), *NETWORK, f"--model.classifier_ckpt={black_box}"]
    assert ppn("fit", tmp_path / "net", *given, *DISCOVERY) == 0
    network = tmp_path / "net/checkpoints/prototypes.ckpt"
    given = [*data(world["root"]), *NETWORK, f"--ckpt_path={network}"]
    assert ppn("test", tmp_path / "test", *given, "--trainer.callbacks=HTMLReport") == 0
    figures = json.loads((tmp_path / "test/metrics.json").read_text())
    assert figures["agreement"] == 1.0
    assert figures["max_relative_logit_error"] <= 1e-4
    assert figures["certificate"]["level"] == figures["head"]["level"]
    page = (tmp_path / "test/report/index.html").read_text()
    assert told in page
    assert "Contributions exact, maps complete: " in page  # beside every explanation


def test_a_users_own_model_goes_through_both_stages_when_named(
    world, tmp_path, capsys, monkeypatch
):
    (tmp_path / "my_models.py").write_text(MY_MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    named = ["--model.architecture=my_models:Net", "--model.image_size=32"]
    saving = ["--trainer.max_epochs=1", "--trainer.callbacks=ModelCheckpoint"]
    common = data(world["root"])
    assert ppn("fit", tmp_path / "box", *common, BLACK_BOX[0], *named, *saving) == 0
    (black_box,) = (tmp_path / "box/checkpoints").glob("*.ckpt")
    given = [*common, *NETWORK, f"--model.classifier_ckpt={black_box}"]
    unnamed = ppn("fit", tmp_path / "net", *given, *DISCOVERY)
    refused(capsys, unnamed, "wants to run 'my_models:Net'")
    assert ppn("fit", tmp_path / "net", *given, *named, *DISCOVERY) == 0
    given = [*NETWORK, f"--ckpt_path={tmp_path / 'net/checkpoints/prototypes.ckpt'}"]
    unnamed = ppn("test", tmp_path / "test", *common, *given)
    refused(capsys, unnamed, "wants to run 'my_models:Net'")
    assert ppn("test", tmp_path / "test", *common, *given, *named) == 0
    figures = json.loads((tmp_path / "test/metrics.json").read_text())
    assert figures["agreement"] == 1.0
    assert figures["head"]["features"] == "body"
    assert figures["max_completeness_error"] < 1e-4  # a plain mean of what `body` gives


def test_predictions_are_a_table(world, tmp_path, caplog):
    given = [*data(world["root"]), *NETWORK, f"--ckpt_path={world['network']}"]
    with caplog.at_level("INFO"):
        assert ppn("predict", tmp_path, *given) == 0
    path = tmp_path / "predictions.csv"
    assert caplog.messages[-1] == f"predictions of 6 images: {path}"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    terms = ["bias", "contribution_1", "contribution_2", "contribution_3"]
    assert list(rows[0]) == ["image", "true_class", "predicted_class", "logit", *terms]
    assert len({row["image"] for row in rows}) == 6
    birds = {"Bird 0", "Bird 1", "Bird 2"}
    for row in rows:
        assert (world["root"] / "images" / row["image"]).is_file()
        assert row["true_class"].replace(" ", "_") in row["image"]
        assert row["predicted_class"] in birds
        total = sum(float(row[term]) for term in terms)
        assert total == pytest.approx(float(row["logit"]), abs=1e-5)
    assert ppn("test", tmp_path, *given) == 0
    figures = json.loads((tmp_path / "metrics.json").read_text())
    right = sum(row["true_class"] == row["predicted_class"] for row in rows)
    assert figures["accuracy"] == pytest.approx(right / 6)


def test_predictions_of_a_classifier_have_no_parts(world, tmp_path):
    given = [*data(world["root"]), *BLACK_BOX, f"--ckpt_path={world['black_box']}"]
    assert ppn("predict", tmp_path, *given) == 0
    header, *lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header == "image,true_class,predicted_class,logit"
    assert len(lines) == 6


def test_predictions_go_where_the_callback_says(world, tmp_path, capsys, monkeypatch):
    chosen = "--trainer.callbacks=PredictionsFile"
    given = [*data(world["root"]), *NETWORK, f"--ckpt_path={world['network']}", chosen]
    assert ppn("predict", tmp_path, *given, "--trainer.callbacks.filename=mine.csv") == 0
    assert [path.name for path in tmp_path.glob("*.csv")] == ["mine.csv"]
    code = ppn("predict", tmp_path, *given, "--trainer.callbacks.filename=mine.txt")
    refused(capsys, code, "does not end in .csv or .parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code = ppn("predict", tmp_path, *given, "--trainer.callbacks.filename=mine.parquet")
    refused(capsys, code, 'run pip install "ppn[parquet]"')


def test_the_class_comes_before_its_options(tmp_path, capsys):
    code = ppn("fit", tmp_path, "--data.root=here", "--data=ImageFolderDataModule")
    refused(capsys, code, "name the class before its options, as in --data=NAME")


def test_predictions_in_parquet(world, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    chosen = ["--trainer.callbacks=PredictionsFile", "--trainer.callbacks.filename=p.parquet"]
    given = [*data(world["root"]), *NETWORK, f"--ckpt_path={world['network']}", *chosen]
    assert ppn("predict", tmp_path, *given) == 0
    table = parquet.read_table(tmp_path / "p.parquet").to_pydict()
    assert len(table["image"]) == 6
    assert isinstance(table["contribution_3"][0], float)


def test_the_classifier_is_tested_too(world, tmp_path):
    args = [*data(world["root"]), *BLACK_BOX, f"--ckpt_path={world['black_box']}"]
    assert ppn("test", tmp_path, *args) == 0
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= figures["accuracy"] <= 1
    assert figures["model"] == "ClassificationTask"


def test_run_directories_are_named_after_the_experiment(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments/mine"
    folder.mkdir(parents=True)
    (folder / "trial.yaml").write_text("trainer:\n  log_every_n_steps: 1\n")
    args = [*data(world["root"]), *BLACK_BOX, "--trainer.limit_train_batches=1"]
    code = main(["fit", "--config", str(folder / "trial.yaml"), *args, *TRAINER[:1]])
    assert code == 0
    (run,) = (tmp_path / "runs/mine/trial").iterdir()
    assert {"config.yaml", "metrics.csv", "checkpoints"} <= {p.name for p in run.iterdir()}
    assert "PPN_RUN_DIR" not in os.environ
    assert not (tmp_path / "lightning_logs").exists()


USELESS = (
    "exists and is not empty",
    "was not set, defaulting",
    "dirpath has changed",
    "smaller than the logging interval",
    "across ranks is zero",
    "callbacks used to create the checkpoint",
    "will be deleted",
)
LOGGED = [line for line in TRAINER if not line.startswith("--trainer.logger")]


def logged(command, run_dir, *args):
    return main([command, *args, *LOGGED, f"--trainer.default_root_dir={run_dir}"])


def test_nothing_is_said_that_a_user_cannot_act_on(world, tmp_path, caplog, recwarn):
    """Both stages and every evaluation, in directories of their own and of others."""
    saving = ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.filename=best"]
    box = [*data(world["root"]), *BLACK_BOX, *saving]
    best = tmp_path / "box/checkpoints/best.ckpt"
    network = [*data(world["root"], "--data.val_fraction=0"), *NETWORK]
    ckpt = f"--ckpt_path={tmp_path / 'net/checkpoints/prototypes.ckpt'}"
    with caplog.at_level("INFO"):
        for _ in range(2):
            assert logged("fit", tmp_path / "box", *box) == 0
        more = ["--trainer.max_epochs=2", f"--ckpt_path={best}"]
        assert logged("fit", tmp_path / "box", *box, *more) == 0
        assert logged("test", tmp_path / "elsewhere", *box, f"--ckpt_path={best}") == 0
        plain = [*data(world["root"]), *BLACK_BOX, f"--ckpt_path={best}"]
        assert logged("predict", tmp_path / "box", *plain) == 0
        for _ in range(2):
            given = [*network, f"--model.classifier_ckpt={best}", *DISCOVERY]
            assert logged("fit", tmp_path / "net", *given) == 0
        for command in ("test", "predict"):
            assert logged(command, tmp_path / "net", *network, ckpt) == 0
    said = [*caplog.messages, *(str(warning.message) for warning in recwarn)]
    assert [text for text in said if any(part in text for part in USELESS)] == []


def test_a_run_keeps_the_log_and_the_checkpoints_of_another(world, tmp_path):
    saving = ["--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.filename=best"]
    given = [*data(world["root"]), *BLACK_BOX, *saving]
    assert logged("fit", tmp_path, *given) == 0
    log, best = tmp_path / "metrics.csv", tmp_path / "checkpoints/best.ckpt"
    before = log.read_bytes(), best.read_bytes()
    assert logged("fit", tmp_path, *given, "--seed_everything=1") == 0
    assert logged("test", tmp_path, *given, f"--ckpt_path={best}") == 0
    assert (log.read_bytes(), (tmp_path / "checkpoints-1/best.ckpt").read_bytes()) == before
    assert best.read_bytes() != before[1]
    assert len(list(tmp_path.glob("logs/*/metrics.csv"))) == 2
    assert "test/accuracy" in (tmp_path / "logs/version_1/metrics.csv").read_text()


def test_a_run_that_reads_a_checkpoint_of_its_directory_leaves_it_there(world, tmp_path):
    best = tmp_path / "checkpoints/best.ckpt"
    best.parent.mkdir()
    best.write_bytes(world["black_box"].read_bytes())
    given = [*data(world["root"]), *NETWORK, f"--model.classifier_ckpt={best}", *DISCOVERY]
    assert ppn("fit", tmp_path, *given) == 0
    assert {path.name for path in best.parent.iterdir()} == {"best.ckpt", "prototypes.ckpt"}


def test_a_run_that_goes_on_keeps_its_checkpoints_in_place(tmp_path):
    folder = tmp_path / "checkpoints"
    assert set_aside(tmp_path, [])  # there are none
    folder.mkdir()
    (folder / "last.ckpt").touch()
    assert not set_aside(tmp_path, ["last"])
    assert not set_aside(tmp_path, ["resnet50", str(folder / "last.ckpt")])
    (tmp_path / "hpc_ckpt_1.ckpt").touch()  # what SLURM's requeueing leaves
    assert not set_aside(tmp_path, [])
    (tmp_path / "hpc_ckpt_1.ckpt").unlink()
    for number in (1, 2):
        assert set_aside(tmp_path, ["resnet50", "elsewhere/last.ckpt"])
        assert (tmp_path / f"checkpoints-{number}/last.ckpt").is_file()
        folder.mkdir()
        (folder / "last.ckpt").touch()


def test_a_trial_without_validation_images_is_refused(world, tmp_path, capsys):
    given = [*data(world["root"], "--data.val_fraction=0"), *BLACK_BOX]
    refused(capsys, ppn("trial", tmp_path / "run", *given), "A trial is measured on validation")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("monitor", ["val/accuracy", "val/loss"])
def test_training_without_validation_images_saves_its_last_epoch(world, tmp_path, caplog, monitor):
    given = [
        *data(world["root"], "--data.val_fraction=0"),
        *BLACK_BOX,
        "--trainer.max_epochs=2",
        "--trainer.callbacks=ModelCheckpoint",
        "--trainer.callbacks.filename=best",
        f"--trainer.callbacks.monitor={monitor}",
    ]
    with caplog.at_level("INFO"):
        assert ppn("fit", tmp_path, *given) == 0
    assert torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["epoch"] == 1
    assert "There are no validation images, so the last epoch is saved" in caplog.text


def test_early_stopping_without_validation_images_is_refused(world, tmp_path, capsys):
    stopping = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/loss"]
    given = [*data(world["root"], "--data.val_fraction=0"), *BLACK_BOX, *stopping]
    refused(capsys, ppn("fit", tmp_path / "run", *given), "raise --data.val_fraction")
    assert not (tmp_path / "run").exists()


# What a user may get wrong: one sentence, exit code 2, nothing half-written.


def test_wrong_root(capsys, tmp_path):
    code = ppn("fit", tmp_path / "run", *data(tmp_path / "nowhere"), *BLACK_BOX)
    refused(capsys, code, "root must be the folder CUB_200_2011")
    assert not (tmp_path / "run").exists()


def test_checkpoint_of_another_class(capsys, world, tmp_path):
    args = [*data(world["root"]), *NETWORK, f"--ckpt_path={world['black_box']}"]
    refused(capsys, ppn("test", tmp_path, *args), "holds a ClassificationTask, not a Prototype")
    args = [*data(world["root"]), *NETWORK, f"--model.classifier_ckpt={world['network']}"]
    refused(capsys, ppn("fit", tmp_path, *args, *DISCOVERY), "holds a PrototypeTask, not a")
    assert not list(tmp_path.iterdir())


def test_checkpoint_of_something_else(capsys, world, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    args = [*data(world["root"]), *NETWORK, f"--ckpt_path={tmp_path / 'other.ckpt'}"]
    refused(capsys, ppn("test", tmp_path / "run", *args), "was not written by ppn")


def test_checkpoint_with_another_number_of_classes(capsys, world, tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011", classes=4)
    given = f"--model.classifier_ckpt={world['black_box']}"
    code = ppn("fit", tmp_path / "run", *data(root), *NETWORK, given, *DISCOVERY)
    refused(capsys, code, "has 3 classes, the data 4")
    code = ppn("test", tmp_path / "run", *data(root), *NETWORK, f"--ckpt_path={world['network']}")
    refused(capsys, code, "3 classes, the data 4")


@pytest.mark.parametrize("path", ["none.ckpt", "half.ckpt"])
def test_missing_and_truncated_checkpoints(capsys, world, tmp_path, path):
    content = world["network"].read_bytes()
    (tmp_path / "half.ckpt").write_bytes(content[: len(content) // 2])
    args = [*data(world["root"]), *NETWORK, f"--ckpt_path={tmp_path / path}"]
    expected = "does not exist" if path == "none.ckpt" else "cannot be read"
    refused(capsys, ppn("test", tmp_path / "run", *args), expected)


def test_head_that_is_not_supported(capsys, world, tmp_path):
    args = [*data(world["root"]), "--model=ClassificationTask", "--model.architecture=volo_d1_224"]
    refused(capsys, ppn("fit", tmp_path, *args), "does not end in a linear layer")


def test_architecture_that_does_not_exist(capsys, world, tmp_path):
    args = [*data(world["root"]), "--model=ClassificationTask", "--model.architecture=nonet"]
    refused(capsys, ppn("fit", tmp_path, *args), "timm cannot make 'nonet'")


def test_class_without_images(capsys, world, tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011")
    lines = (root / "train_test_split.txt").read_text().splitlines()
    lines[6:10] = [line[:-1] + "0" for line in lines[6:10]]  # class 2 loses its training images
    (root / "train_test_split.txt").write_text("\n".join(lines))
    given = f"--model.classifier_ckpt={world['black_box']}"
    code = ppn("fit", tmp_path / "run", *data(root), *NETWORK, given, *DISCOVERY)
    refused(capsys, code, "Class 1 (Bird 1) has no training image")
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_more_prototypes_than_tokens(capsys, world, tmp_path):
    args = [
        *data(world["root"]), *NETWORK, f"--model.classifier_ckpt={world['black_box']}",
        "--model.k=50", *DISCOVERY,
    ]  # fmt: skip
    refused(capsys, ppn("fit", tmp_path, *args), "patch tokens, fewer than the 50 prototypes")
    assert not list(tmp_path.rglob("*.ckpt"))


def test_nan_in_features(capsys, world, tmp_path):
    content = torch.load(world["black_box"], weights_only=True)
    weights = content["state_dict"]
    weights["classifier.model.layer4.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    torch.save(content, tmp_path / "nan.ckpt")
    args = [*data(world["root"]), *NETWORK, f"--model.classifier_ckpt={tmp_path / 'nan.ckpt'}"]
    refused(capsys, ppn("fit", tmp_path / "run", *args, *DISCOVERY), "NaN or infinity")
    assert not list((tmp_path / "run").rglob("*.ckpt"))


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_image(capsys, world, tmp_path, workers):
    root = fakes.cub(tmp_path / "CUB_200_2011")
    path = root / "images/002.Bird_1/Bird_1_0000.jpg"
    path.write_bytes(path.read_bytes()[:200])
    args = [
        *data(root, f"--data.num_workers={workers}", "--data.val_fraction=0"), *NETWORK,
        f"--model.classifier_ckpt={world['black_box']}", *DISCOVERY,
    ]  # fmt: skip
    refused(capsys, ppn("fit", tmp_path / "run", *args), "Bird_1_0000.jpg cannot be read")
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_no_classifier_and_no_prototypes(capsys, world, tmp_path):
    refused(
        capsys, ppn("fit", tmp_path, *data(world["root"]), *NETWORK, *DISCOVERY), "classifier_ckpt"
    )
    given = f"--model.classifier_ckpt={world['black_box']}"
    code = ppn("test", tmp_path, *data(world["root"]), *NETWORK, given)
    refused(capsys, code, "has no prototypes yet")


def test_epochs_without_anything_to_learn(capsys, world, tmp_path):
    given = f"--model.classifier_ckpt={world['black_box']}"
    args = [*data(world["root"]), *NETWORK, given, *DISCOVERY, "--trainer.max_epochs=3"]
    refused(capsys, ppn("fit", tmp_path, *args), "closed form: set it to 0")


def test_the_checkpoints_structure_wins_and_says_so(world, tmp_path, caplog):
    args = [*data(world["root"]), *NETWORK, "--model.k=7"]
    with caplog.at_level("INFO"):
        code = ppn("test", tmp_path, *args, f"--ckpt_path={world['network']}")
    assert code == 0
    assert "k: 3 of the checkpoint replaces 7" in caplog.text


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "64-true", "64"])
@pytest.mark.parametrize("command", ["fit", "test"])
def test_prototypes_in_other_precisions_are_refused(capsys, world, tmp_path, precision, command):
    given = [*data(world["root"]), *NETWORK, f"--trainer.precision={precision}"]
    given += [f"--model.classifier_ckpt={world['black_box']}", *DISCOVERY]
    refused(capsys, ppn(command, tmp_path / "run", *given), f"trainer.precision is {precision}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_directory_that_cannot_be_made(capsys, world, tmp_path, place):
    (tmp_path / "file").touch()
    saving = "--trainer.callbacks=ModelCheckpoint"
    code = logged("fit", tmp_path / place, *data(world["root"]), *BLACK_BOX, saving)
    refused(capsys, code, "cannot be written")


def test_one_class(capsys, tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011", classes=1)
    refused(capsys, ppn("fit", tmp_path / "run", *data(root), *BLACK_BOX), "only one class")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--data and --model must be given: see ppn fit --help."),
        (["--foo"], "There is no option --foo: see ppn fit --help."),
        (["--trainer.max_epoch=3"], "did you mean '--trainer.max_epochs'?"),
        (["--trainer.max_epochs=three"], "three does not fit: the value must be a whole number or"),
        (["--model=ClasificationTask"], "did you mean 'ClassificationTask'?"),
        (["--data=CubDataModule"], "did you mean 'CUBDataModule'?"),
        (["--data=CUBDataModule", "--model=ClassificationTask"], "CUBDataModule needs root"),
        (["--model=ClassificationTask", "--model.archtecture=x"], "did you mean 'architecture'?"),
        (["--config=ppn:probe", "--data.root=birds"], "images are --data ppn:data/folder"),
        (
            ["--model=ClassificationTask", "--model.lr=fast"],
            "--model.lr fast does not fit: the val",
        ),
        (["--model=ClassificationTask", "--model.optimizer=adm"], "must be one of adamw, sgd."),
        (["--trainer.callbacks=HTMLReprt"], "did you mean 'HTMLReport'?"),
        (["--trainer.callbacks=HTMLReport", "--trainer.callbacks.sample=1"], "'samples'"),
        (["--trainer.logger=WandbLoger"], "did you mean 'WandbLogger'?"),
        (["--model=PrototypeTask", "--model.refinement=CamSplt"], "did you mean 'CamSplit'?"),
        (["--data.help=ImageFolder"], "did you mean 'ImageFolderDataModule'?"),
        (["--config=nowhere.yaml"], "there is no file"),
        (["--data=nowhere.yaml"], "--data: there is no file nowhere.yaml."),
        (["--data=no/where.yaml"], "--data: there is no file no/where.yaml."),
        (["--data=no.where.Data"], "There is no class 'no.where.Data' for --data:"),
        (["--data=ppn.data.cub.Data"], "There is no class 'ppn.data.cub.Data' for --data:"),
        (["--model=torch.nn.Linear"], "There is no class 'torch.nn.Linear' for --model:"),
        (["--config={typo}"], "no option --trainer.max_epoks: did you mean '--trainer.max_epochs'"),
        (
            ["--config={broken}"],
            "broken.yaml cannot be read as YAML (while parsing a flow sequence",
        ),
        (["--config", "{words}"], "words.csv is no configuration: give a YAML file"),
        (["--config={picture}"], "picture.png cannot be read as YAML ('utf-8' codec"),
    ],
)
def test_a_mistyped_option_is_told_in_one_sentence(capsys, tmp_path, words, message):
    typo, broken = tmp_path / "typo.yaml", tmp_path / "broken.yaml"
    typo.write_text("trainer:\n  max_epoks: 3\n")
    broken.write_text("trainer: [1\n")
    files = {"typo": typo, "broken": broken, "words": tmp_path / "words.csv"}
    files["words"].write_text("path,label\n")
    files["picture"] = tmp_path / "picture.png"
    files["picture"].write_bytes(b"\x89PNG\r\n")
    code = main(["fit", *(word.format(**files) for word in words)])
    refused(capsys, code, message)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--trainer.devices=0", "not a valid input"),
        ("--trainer.strategy=foo", "invalid strategy name"),
        ("--trainer.accelerator=foo", "invalid accelerator name"),
        ("--trainer.limit_train_batches=-3", "invalid value -3"),
        ("--trainer.max_epochs=-7", "non-negative integer"),
        ("--data.batch_size=0", "batch_size is 0"),
        ("--data.num_workers=-1", "num_workers is -1"),
        ("--model.lr=-1", "lr is -1.0"),
        ("--model.label_smoothing=1", "label_smoothing is 1.0"),
    ],
)
def test_values_that_nothing_can_be_made_of(capsys, world, tmp_path, option, message):
    given = [*data(world["root"]), *BLACK_BOX, *TRAINER, option]
    code = main(["fit", f"--trainer.default_root_dir={tmp_path / 'run'}", *given])
    refused(capsys, code, message)
    assert not (tmp_path / "run").exists()


def test_workers_that_end_with_their_process_are_no_mistake(monkeypatch):
    def terminated(*_, **__):
        try:
            raise SIGTERMException
        except SIGTERMException:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal.")  # noqa: B904 - as loaders do

    monkeypatch.setattr(cli, "PrototypeCLI", terminated)
    assert cli.run(["fit"]) == 143
    monkeypatch.setattr(cli, "PrototypeCLI", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.run(["fit"])

"""`ppn fit`, `test` and `compare` with one of each seam that the package does not know."""

from __future__ import annotations

import json

import pytest
import timm
import torch

import ppn
from ppn.__main__ import main
from tests import fakes

CHOSEN = """
model:
  class_path: PrototypeTask
  init_args:
    architecture: test_resnet
    image_size: 64
    k: 2
    refinement:
      class_path: tests.toys.FirstTakesAll
      init_args: {part: 1}
    compare: [CamSplit]
    metrics:
      - class_path: tests.toys.CornerMass
        init_args: {weight: 0.5}
      - class_path: Consistency
        init_args: {threshold: 0.1}
    explainers:
      - class_path: tests.toys.OneCell
        init_args: {cell: 0}
      - class_path: tests.toys.LikeTheClass
        init_args: {power: 2.0}
trainer:
  callbacks:
    - class_path: PrototypeDiscovery
      init_args:
        discoverer:
          class_path: tests.toys.SharedChannels
          init_args: {power: 2.0}
    - class_path: HTMLReport
"""
NAME = "first_takes_all(part=1)"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The folder of a run of `fit`, and the arguments of all runs."""
    base = tmp_path_factory.mktemp("chosen")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    torch.save(model.state_dict(), base / "weights.pth")
    (base / "chosen.yaml").write_text(CHOSEN)
    common = [
        "--data=CUBDataModule",
        f"--data.root={fakes.cub(base / 'CUB_200_2011')}",
        "--data.num_workers=0",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]
    fit = [
        *("fit", *common, f"--config={base / 'chosen.yaml'}", "--trainer.max_epochs=0"),
        f"--model.classifier_ckpt={base / 'weights.pth'}",
        f"--trainer.default_root_dir={base / 'fit'}",
    ]
    assert main(fit) == 0
    return base, common


def measured(fitted, folder, *chosen):
    base, common = fitted
    given = [
        *("test", *common, *chosen, f"--trainer.default_root_dir={folder}"),
        f"--ckpt_path={base / 'fit/checkpoints/prototypes.ckpt'}",
    ]
    assert main(given) == 0
    return json.loads((folder / "metrics.json").read_text())


def test_metrics_and_explainers_of_a_file(fitted, tmp_path):
    base, _ = fitted
    figures = measured(fitted, tmp_path, f"--config={base / 'chosen.yaml'}")
    row = figures["explainers"]["one_cell(cell=0)"]
    assert (row["kind"], row["title"], row["k"]) == ("control", "one cell", 1)
    assert row["corner_mass"] == 0.5
    assert 0 <= figures["explainers"]["like_the_class(power=2.0)"]["corner_mass"] <= 0.5
    assert figures["explainers"]["random"]["corner_mass"] < 0.5
    assert figures["explainers"][NAME]["corner_mass"] == figures["corner_mass"]
    assert figures["refinement"] == NAME
    assert figures["agreement"] == 1.0
    assert figures["metrics"]["corner_mass"]["title"] == "Corner mass"
    assert figures["metrics"]["consistency"]["constants"]["threshold"] == 0.1
    assert "distinct_peaks" in figures["metrics"]
    logged = (tmp_path / "metrics.csv").read_text()
    assert f"test/corner_mass/{NAME}" in logged
    assert "test/corner_mass/one_cell(cell=0)" in logged

    page = (tmp_path / "report/index.html").read_text()
    table = tmp_path / "runs.csv"
    assert main(["compare", str(tmp_path), "--out", str(table)]) == 0
    for text in (page, table.read_text()):
        assert "Corner mass" in text
        assert NAME in text
    assert main(["compare", str(tmp_path), "--out", str(tmp_path / "runs.svg")]) == 0
    assert "one cell" in page
    assert "one_cell" in (tmp_path / "metrics.json").read_text()


def test_a_dictionary_shared_by_classes_and_a_refinement_of_a_file(fitted):
    base, _ = fitted
    network = ppn.load(base / "fit/checkpoints/prototypes.ckpt")
    parts = network.dictionary.parts
    assert torch.equal(parts[0], parts[2])
    assert (parts.sum(2) == 1).all()
    assert not network.head.prototypes[:, 0].any()
    weight, _ = network.classifier.effective_head()
    assert torch.allclose(network.head.prototypes[:, 1].double(), weight, atol=1e-6)
    assert [head.name for head in network.each_head()] == [NAME, "cam_split"]
    described = json.loads((base / "fit/prototypes.json").read_text())
    assert described["refinement"] == {"name": NAME, "exact": True}
    assert described["settings"]["discoverer"] == {"name": "shared_channels", "power": 2.0}


def test_metrics_and_explainers_of_the_command_line(fitted, tmp_path):
    figures = measured(
        fitted,
        tmp_path,
        "--model=PrototypeTask",
        "--model.metrics+=tests.toys.CornerMass",
        "--model.metrics.weight=2",
        "--model.explainers+=tests.toys.OneCell",
    )
    assert figures["metrics"]["corner_mass"]["constants"] == {"weight": 2.0}
    assert list(figures["explainers"]) == [
        *(NAME, "cam_split", "one_cell", "ceiling", "random_exact", "other_class_exact"),
        *("random", "centre", "uniform"),
    ]
    assert figures["metrics"]["consistency"]["constants"]["threshold"] == 0.8


def test_metrics_that_run_the_classifier_again_are_chosen_by_name(fitted, tmp_path):
    names = ["SurfMAE", "ConceptDeletion", "PixelInsertion", "PartTermDeletion"]
    names += ["SpatialMisalignment", "RandomisationCheck", "Purity", "EnergyBox"]
    chosen = [f"--model.metrics+={name}" for name in names]
    attack = "--model.metrics+={class_path: SpatialMisalignment, init_args: {change: adversarial}}"
    chosen[names.index("SpatialMisalignment")] = attack
    figures = measured(fitted, tmp_path, "--model=PrototypeTask", *chosen)
    rows = figures["explainers"]
    for key in ("surf_mae", "concept_deletion", "pixel_insertion", "part_term_deletion"):
        assert all(rows[name][key] is not None for name in (NAME, "cam_split", "random_exact"))
    assert rows["random_exact"]["surf_mae"] < 1e-4  # exactness alone reaches it
    assert rows["cam_split"]["spatial_misalignment"] is not None
    assert rows["random"]["randomisation_check"] == pytest.approx(1)  # it sees no classifier
    assert rows["random"]["surf_mae"] is None
    assert figures["metrics"]["pixel_insertion"]["constants"]["evaluations"] == 29
    assert {"purity", "energy_box"} <= set(figures["metrics"])


def test_the_ceiling_is_learned_once_for_each_checkpoint(fitted, tmp_path):
    base, _ = fitted
    chosen = ("--model=PrototypeTask",)
    first = measured(fitted, tmp_path / "a", *chosen)
    (kept,) = (base / "fit/checkpoints/learned").glob("ceiling-*.safetensors")
    written = kept.stat().st_mtime_ns
    assert measured(fitted, tmp_path / "b", *chosen)["explainers"] == first["explainers"]
    assert kept.stat().st_mtime_ns == written
    ceiling = first["explainers"]["ceiling"]
    assert (ceiling["kind"], ceiling["exact"], ceiling["k"]) == ("ceiling", True, 3)
    assert len(ceiling["stability_interval"]) == len(ceiling["stability_image_interval"]) == 2
    kept.write_bytes(b"")
    args = [*("test", *fitted[1], *chosen, f"--trainer.default_root_dir={tmp_path / 'c'}")]
    assert main([*args, f"--ckpt_path={base / 'fit/checkpoints/prototypes.ckpt'}"]) == 2
    kept.unlink()


def test_a_checkpoint_holds_plain_values_whatever_was_chosen(fitted):
    base, _ = fitted
    content = torch.load(base / "fit/checkpoints/prototypes.ckpt", weights_only=True)
    assert not {"metrics", "explainers"} & set(content.get("hyper_parameters", {}))


def test_two_metrics_of_one_name_are_refused(fitted, tmp_path, capsys):
    base, common = fitted
    code = main(
        [
            *("test", *common, "--model=PrototypeTask"),
            "--model.metrics+=Consistency",
            "--model.metrics+=Consistency",
            f"--ckpt_path={base / 'fit/checkpoints/prototypes.ckpt'}",
            f"--trainer.default_root_dir={tmp_path}",
        ]
    )
    assert code == 2
    assert "ppn: Two metrics are called 'consistency'" in capsys.readouterr().err

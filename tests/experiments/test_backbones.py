"""Every backbone on every data set: one command, no file per pair."""

from itertools import product
from pathlib import Path

import pytest
import timm
import yaml
from timm.models import vgg

from experiments.reproduce.plan import backbone_arguments, chains
from ppn.classifier.build import build_classifier
from tests.command_line import built
from tests.data.sets import SETS

ROOT = Path(__file__).parents[2]
BACKBONES = sorted(path.stem for path in (ROOT / "configs/backbone").glob("*.yaml"))
DATA = sorted(path.stem for path in (ROOT / "configs/data").glob("*.yaml"))
CASES = {
    "resnet34": "mean_linear",
    "resnet50": "mean_linear",
    "resnet152": "mean_linear",
    "vgg19": "pre_logits",
    "densenet121": "mean_linear",
    "densenet161": "mean_linear",
    "efficientnet_lite0": "mean_linear",
    "convnext_tiny": "mean_norm_linear",
    "swin_tiny": "mean_linear",
    "vit_base_mean": "mean_linear",
    "vit_base_class_token": "class_token",
    "dinov2_vit_base": "class_token",
    "test_resnet": "mean_linear",
    "vit_small_scratch": "class_token",
    "mobilenetv3_scratch": "pre_logits",
}
WITHOUT_WEIGHTS = {"test_resnet", "vit_small_scratch", "mobilenetv3_scratch"}
# The same family with fewer and narrower layers: its code and its head, but not its time.
SHRUNK = {
    "resnet": {"layers": (1, 1, 1, 1), "channels": (8, 16, 16, 32)},
    "vgg": {"mlp_ratio": 0.01},
    "densenet": {"block_config": (1, 1, 1, 1), "growth_rate": 8},
    "convnext": {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 32)},
    "swin": {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2)},
    "vit": {"depth": 1, "embed_dim": 48, "num_heads": 3},
}
create_model = timm.create_model


def shrunken(architecture, pretrained=False, **options):
    family = next((name for name in SHRUNK if architecture.startswith(name)), None)
    return create_model(architecture, **{**options, **SHRUNK.get(family, {})})


def flags(recipe, backbone, data):
    return [
        *("--config", str(ROOT / f"experiments/{recipe}.yaml")),
        *("--model", str(ROOT / f"configs/backbone/{backbone}.yaml")),
        *("--data", str(ROOT / f"configs/data/{data}.yaml")),
    ]


def test_every_backbone_is_listed_and_part_of_the_full_product():
    assert set(CASES) == set(BACKBONES)
    assert {chain.backbone for chain in chains("full")} == set(BACKBONES) - WITHOUT_WEIGHTS


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_builds_with_data_and_has_its_head(name, monkeypatch):
    monkeypatch.setattr("ppn.classifier.architecture.timm.create_model", shrunken)
    monkeypatch.setitem(vgg.cfgs, "vgg19", [8, "M"] * 5)
    more = ["--model.init_args.weights=null", "--model.init_args.pretrained=false"]
    cli = built([*flags("probe", name, "synthetic_birds"), *more])
    assert cli.model.classifier.inspection.case == CASES[name]
    assert cli.model.hparams["num_classes"] == cli.datamodule.num_classes == 24
    assert cli.model.hparams["freeze_backbone"]
    given = backbone_arguments(name)
    assert cli.model.hparams["architecture"] == given["architecture"]
    assert cli.model.hparams["model_options"] == given.get("model_options")


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_real_backbone_has_its_head(name):
    given = {**backbone_arguments(name), "pretrained": False, "weights": None}
    assert build_classifier(num_classes=10, **given).inspection.case == CASES[name]


def test_published_weights_fit_the_mean_of_vit():
    given = backbone_arguments("vit_base_mean")
    published = shrunken(given["architecture"]).state_dict()
    ours = shrunken(given["architecture"], **given["model_options"]).state_dict()
    assert set(ours) == set(published)
    wrong = shrunken(given["architecture"], global_pool="avg").state_dict()
    assert set(wrong) != set(published)


def test_every_pair_parses():
    parser = built(
        [*flags("probe", "test_resnet", "synthetic_birds"), "--data.init_args.num_classes=2"]
    ).parser
    # What recipe and backbone are merged to does not depend on the data, nor the data on them.
    pairs = [(recipe, name, "pets") for recipe, name in product(("probe", "finetune"), BACKBONES)]
    pairs += [("probe", "swin_tiny", data) for data in DATA]
    for recipe, backbone, data in pairs:
        built_in = data == "synthetic_birds"
        root = [] if built_in else ["--data.init_args.root=ROOT"]
        parsed = parser.parse_args([*flags(recipe, backbone, data), *root])
        module = SETS["synthetic" if built_in else data].module
        assert parsed.data.class_path.rsplit(".", 1)[-1] == module.__name__
        given = yaml.safe_load((ROOT / f"configs/model/{recipe}.yaml").read_text())["init_args"]
        for key, value in {**given, **backbone_arguments(backbone)}.items():
            assert parsed.model.init_args[key] == value

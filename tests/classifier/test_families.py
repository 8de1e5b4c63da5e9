"""One small architecture of each family of timm, with random weights: what is exact is exact."""

import pytest
import timm
import torch
from packaging.version import Version

from ppn.classifier import Classifier
from ppn.classifier.effective import live_cut
from ppn.classifier.layout import Location
from ppn.classifier.placement import LOCATED, Placements
from ppn.types import InputConfig
from tests.zoo import size_of

MEAN, NORM, TOKEN, OTHER = "mean_linear", "mean_norm_linear", "class_token", "pre_logits"
FAST = {
    "test_byobnet": MEAN,
    "test_convnext": NORM,
    "test_efficientnet": MEAN,
    "test_mambaout": OTHER,
    "test_maxvit": MEAN,
    "test_nfnet": MEAN,
    "test_resnet": MEAN,
    "test_vit": TOKEN,
    "test_vit2": NORM,
    "test_vit3": OTHER,
    "test_vit_relpos": NORM,
    "convit_tiny": TOKEN,
    "deit_tiny_distilled_patch16_224": TOKEN,
    "dla46_c": MEAN,
    "edgenext_xx_small": NORM,
    "efficientformerv2_s0": MEAN,
    "efficientvit_b0": OTHER,
    "efficientvit_m0": MEAN,
    "eva02_tiny_patch14_224": NORM,
    "ghostnet_050": OTHER,
    "lcnet_035": OTHER,
    "mobilevit_xxs": MEAN,
    "pvt_v2_b0": MEAN,
    "regnetx_002": MEAN,
    "repghostnet_050": OTHER,
    "repvit_m0_9": MEAN,
    "shvit_s1": MEAN,
    "starnet_s050": MEAN,
    "swiftformer_xs": MEAN,
    "xcit_nano_12_p16_224": TOKEN,
}
SLOW = {
    "pit_ti_224": TOKEN,
    "beit_base_patch16_224": NORM,
    "halonet26t": MEAN,
    "poolformer_s12": NORM,
    "caformer_s18": OTHER,
    "cait_xxs24_224": TOKEN,
    "coat_tiny": TOKEN,
    "convmixer_768_32": MEAN,
    "cpubone_s0": OTHER,
    "crossvit_9_240": TOKEN,
    "cspresnet50": MEAN,
    "csatv2": NORM,
    "cspnext_s": MEAN,
    "davit_tiny": NORM,
    "densenet121": MEAN,
    "dpn48b": MEAN,
    "ese_vovnet19b_slim": MEAN,
    "efficientformer_l1": MEAN,
    "fasternet_t0": OTHER,
    "fastvit_t8": MEAN,
    "focalnet_tiny_srf": MEAN,
    "gcvit_xxtiny": MEAN,
    "mixer_s32_224": MEAN,
    "hardcorenas_a": OTHER,
    "hgnet_tiny": OTHER,
    "hiera_tiny_224": NORM,
    "hrnet_w18_small": MEAN,
    "iformer_t": MEAN,
    "inception_next_atto": OTHER,
    "inception_resnet_v2": MEAN,
    "inception_v3": MEAN,
    "inception_v4": MEAN,
    "lcnetv2_small": OTHER,
    "legacy_seresnet18": MEAN,
    "legacy_xception": MEAN,
    "lowformer_b0": OTHER,
    "mobilenetv3_small_050": OTHER,
    "mvitv2_tiny": MEAN,
    "naflexvit_base_patch16_gap": NORM,
    "nest_tiny": MEAN,
    "nextvit_small": MEAN,
    "nfnet_f0": MEAN,
    "rdnet_tiny": NORM,
    "res2net50_48w_2s": MEAN,
    "resnest14d": MEAN,
    "resnetv2_18": MEAN,
    "rexnet_100": MEAN,
    "selecsls42": MEAN,
    "sequencer2d_s": MEAN,
    "skresnet18": MEAN,
    "swin_tiny_patch4_window7_224": MEAN,
    "swinv2_cr_tiny_224": MEAN,
    "swinv2_tiny_window8_256": MEAN,
    "tnt_s_legacy_patch16_224": TOKEN,
    "tresnet_m": MEAN,
    "twins_pcpvt_small": MEAN,
    "vgg11": OTHER,
    "visformer_tiny": MEAN,
    "vit_tiny_r_s16_p8_224": TOKEN,
    "vitamin_small_224": NORM,
    "xception41": MEAN,
    "efficientvim_m1": OTHER,
    "tiny_vit_5m_224": NORM,
    "levit_128s": MEAN,
}
ALIKE = {"convmixer_768_32", "cpubone_s0", "levit_128s", "tiny_vit_5m_224"}
"""Fresh, these give nearly the same token everywhere: nothing tells of which region it is."""
SINGLE = {"convit_tiny"} if Version(timm.__version__) < Version("1.0.31") else set()
"""Older timm computes their positions in single precision, whatever the model's is."""
UNKNOWN = {name for name in [*FAST, *SLOW] if not timm.is_model(name)}
"""Of a later timm than the one that is installed."""


def family(name, case, *marks):
    missing = pytest.mark.skipif(name in UNKNOWN, reason=f"timm {timm.__version__} lacks {name}")
    return pytest.param(name, case, id=name, marks=[missing, *marks])


FAMILIES = [
    *(family(name, case) for name, case in FAST.items()),
    *(family(name, case, pytest.mark.slow) for name, case in SLOW.items()),
]


def test_there_are_at_least_sixty_families():
    modules = timm.models._registry._model_to_module
    known = {modules[name] for name in {*FAST, *SLOW} - UNKNOWN}
    assert len(known) >= 60 - len(UNKNOWN)


@pytest.mark.parametrize(("name", "case"), FAMILIES)
def test_contributions_and_bias_are_the_logits(name, case):
    model = timm.create_model(name, num_classes=7).eval()
    size = size_of(model)
    classifier = Classifier(model, InputConfig(size))
    assert classifier.inspection.case == case
    assert classifier.inspection.located == (name not in ALIKE)
    assert ("indicative" in classifier.inspection.level) == (case == TOKEN or name in ALIKE)
    for linear in classifier.linears:  # some start from zero, and zeros agree with everything
        torch.nn.init.normal_(linear.weight, std=0.1)
        torch.nn.init.normal_(linear.bias)
    measure(classifier, torch.randn(3, 3, *size), 1e-4)
    if name not in SINGLE:
        measure(classifier.double(), torch.randn(1, 3, *size, dtype=torch.float64), 1e-10)


class Mirrored:
    """A cut of a network that sees every picture turned, so that no patch is where it should be."""

    def __init__(self, split):
        self.split = split

    def run(self, images):
        return self.split.run(images.flip(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), FAMILIES)
@torch.no_grad()
def test_patches_in_wrong_places_are_never_called_exact(name, case):
    """What the test above asks of the grid would not hold of another one."""
    model = timm.create_model(name, num_classes=7).eval()
    size = size_of(model)
    report = Classifier(model, InputConfig(size)).inspection
    split = live_cut(model, report).split
    features, _ = split.run(torch.randn(2, 3, *size))
    wrong = Placements(Mirrored(split), features, next(model.parameters()), thorough=False)
    place = Location(report.layout, report.prefix, report.suffix)
    assert wrong.of(report.leaf, place).share <= LOCATED


@torch.no_grad()
def measure(classifier, images, tolerance):
    """Agreement, relative logit error, and that maps average to contributions where they must."""
    expected = classifier.model(images)
    tokens = classifier(images, patches=False)
    weight, bias = (value.to(images.dtype) for value in classifier.effective_head())
    parts = torch.stack([0.3 * weight, 0.7 * weight], dim=1)  # (C, 2, D)
    contributions = tokens.scale[:, None, None] * torch.einsum("bd,ckd->bck", tokens.pooled, parts)
    logits = contributions.sum(-1) + bias
    assert torch.equal(logits.argmax(1), expected.argmax(1))
    assert (logits - expected).abs().max() <= tolerance * expected.std()
    assert (tokens.scale > 0).all()
    assert tokens.grid == classifier.inspection.grid
    if not classifier.inspection.averages:
        return
    maps = (
        tokens.scale[:, None, None]
        * torch.einsum("bnd,ckd->bckn", tokens.tokens, parts).mean(-1).flatten(1)[:, :, None]
    )
    error = (maps.reshape(contributions.shape) - contributions).abs().max()
    assert error <= 1e-5 * contributions.std()

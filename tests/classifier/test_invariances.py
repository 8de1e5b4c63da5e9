"""The same exactness in half precision, any batch, any memory format, and compiled."""

import shutil

import pytest
import timm
import torch
from torch import nn

from ppn.classifier import Classifier
from ppn.types import InputConfig

CASES = {
    "test_resnet": "mean_linear",
    "test_convnext": "mean_norm_linear",
    "test_vit": "class_token",
    "test_mambaout": "pre_logits",
    "efficientformerv2_s0": "mean_linear",  # two heads, averaged
}


@pytest.fixture(scope="module", params=CASES)
def classifier(request):
    torch.manual_seed(0)
    model = timm.create_model(request.param, num_classes=7).eval()
    size = timm.data.resolve_model_data_config(model)["input_size"][1:]
    made = Classifier(model, InputConfig(tuple(size))).eval()
    assert made.inspection.case == CASES[request.param]
    for linear in made.linears:
        nn.init.normal_(linear.weight, std=0.1)
    return made


def images_for(classifier, count):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, *classifier.config.size, generator=generator)


def from_parts(classifier, tokens):
    weight, bias = (value.float() for value in classifier.effective_head())
    return tokens.scale.float()[:, None] * (tokens.pooled.float() @ weight.T) + bias


@torch.no_grad()
def test_bf16_autocast_keeps_logits_to_its_own_precision(classifier):
    images = images_for(classifier, 4)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = classifier(images)
        expected = classifier.model(images).float()
    assert tokens.pooled.dtype == torch.float32
    # The last layer of the black box itself ran in bf16, which has 8 binary digits.
    error = (from_parts(classifier, tokens) - expected).abs().max() / expected.std()
    assert error <= 2**-5
    if tokens.attribute is not None:
        directions = torch.randn(4, 2, classifier.width)
        with torch.autocast("cpu", torch.bfloat16):
            assert tokens.attribute(directions).dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 7])
def test_every_image_is_explained_alike_whatever_batch_it_is_in(classifier, count):
    images = images_for(classifier, 7)
    together, alone = classifier(images), classifier(images[:count])
    expected = classifier.model(images[:count])
    assert (from_parts(classifier, alone) - expected).abs().max() <= 1e-4 * expected.std()
    for name in ("tokens", "pooled", "scale", "logits"):
        ours, theirs = getattr(alone, name), getattr(together, name)[:count]
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max())), name


@torch.no_grad()
def test_channels_last_changes_nothing(classifier):
    images = images_for(classifier, 3)
    before = classifier(images)
    try:
        classifier.to(memory_format=torch.channels_last)
        after = classifier(images.to(memory_format=torch.channels_last))
        expected = classifier.model(images.to(memory_format=torch.channels_last))
    finally:
        classifier.to(memory_format=torch.contiguous_format)
    assert (from_parts(classifier, after) - expected).abs().max() <= 1e-4 * expected.std()
    assert torch.allclose(
        after.tokens, before.tokens, rtol=1e-3, atol=1e-4 * float(before.tokens.abs().max())
    )


SLOW = pytest.mark.slow


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "classifier",
    ["test_resnet", "test_mambaout", *(pytest.param(n, marks=SLOW) for n in list(CASES)[1:3])],
    indirect=True,
)
@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=SLOW)])
def test_compiled_backbones_explain_themselves(classifier, compiler):
    if compiler == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    images = images_for(classifier, 2)
    compiled = torch.compile(classifier, backend=compiler)
    tokens = compiled(images)
    expected = classifier.model(images)
    assert (from_parts(classifier, tokens) - expected).abs().max() <= 1e-4 * expected.std()
    if tokens.attribute is not None:
        maps = tokens.attribute(torch.randn(2, 1, classifier.width))
        assert maps.shape == (2, 1, tokens.tokens.shape[1])

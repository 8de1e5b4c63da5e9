"""Maps that add up: for one small architecture of each kind of head, at random weights."""

import threading

import pytest
import timm
import torch
from torch import nn
from torchvision.transforms.v2.functional import gaussian_blur

from ppn.classifier import Classifier, at_once, complete
from ppn.classifier.blocks import block_names, default_span
from ppn.classifier.complete import baseline_images, complete_maps
from ppn.classifier.integral import path_integral
from ppn.classifier.placement import Placement, Placements
from ppn.classifier.span import feature_span, module_span, pixel_span, vector
from ppn.errors import HeadError
from ppn.types import InputConfig
from tests.classifier.test_families import FAMILIES, OTHER, TOKEN
from tests.zoo import size_of

SIZE = 64
SMALL = {"test_vit": TOKEN, "test_vit3": OTHER, "test_mambaout": OTHER, "lcnet_035": OTHER}
MEAN = ("test_resnet", "test_convnext", "test_efficientnet")
RESIZED = ("test_vit", "test_vit3")
OPTIONS = {"vgg11": {"mlp_ratio": 0.125}}  # two layers of 4,096 units take minutes
FULL = [p for p in FAMILIES if p.values[1] in (TOKEN, OTHER)]


def made(name, size=SIZE, **options):
    """A classifier with a head that is not zero, and two smooth pictures."""
    torch.manual_seed(0)
    options |= {"img_size": size} if name in RESIZED else OPTIONS.get(name, {})
    model = timm.create_model(name, num_classes=5, **options).eval()
    classifier = Classifier(model, InputConfig((size, size)))
    for linear in classifier.linears:
        nn.init.normal_(linear.weight, std=0.1)
        nn.init.normal_(linear.bias)
    coarse = torch.randn(2, 3, 8, 8)
    images = nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    return classifier, images + 0.1 * torch.randn_like(images)


def parts_of(classifier, images, k=2):
    """Prototypes (C, k, D) that sum to the head, and the spread of their contributions (B,)."""
    weight, _ = classifier.effective_head()
    noise = weight.std() * torch.randn(len(weight), k, weight.shape[1], dtype=weight.dtype)
    parts = (weight[:, None] / k + noise - noise.mean(1, keepdim=True)).float()
    _, y = vector(classifier, images)
    return parts, torch.einsum("bd,ckd->bck", y, parts).flatten(1).std(1)


def expect_complete(classifier, images, span, tolerance, most=256):
    """What maps and their terms miss is what they say; returns them."""
    parts, spread = parts_of(classifier, images)
    labels = torch.tensor([1, 3])
    found = complete_maps(classifier, span, images, parts[labels], spread, tolerance, most=most)
    with torch.no_grad():
        logits = classifier.classify(images)
        _, y = vector(classifier, images)
    told = found.maps.double().mean((2, 3)) + found.elsewhere + found.baseline
    wanted = torch.einsum("bd,bkd->bk", y.double(), parts[labels].double())
    missed = (told - wanted).abs().amax(1) / spread
    assert missed.max() <= tolerance, (missed, found.nodes)
    assert torch.allclose(missed.float(), found.error, atol=1e-5)
    _, bias = classifier.effective_head()
    error = told.sum(1) + bias[labels] - logits[[0, 1], labels]
    assert error.abs().max() <= max(1e-3, 4 * tolerance) * logits.std()
    return found


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("tolerance", [0.01, 1e-4])
def test_maps_and_their_terms_are_the_contributions(name, tolerance):
    classifier, images = made(name)
    assert classifier.inspection.case == SMALL[name]
    span = default_span(classifier, images)
    # Maps of few cells may have no place; then the cut is further up.
    assert (span.kind == "module") == classifier.inspection.indicative
    found = expect_complete(classifier, images, span, tolerance)
    assert found.maps.shape[2] * found.maps.shape[3] > 1


@pytest.mark.parametrize("name", [*MEAN, "test_vit", "test_mambaout"])
def test_pixels_add_up_for_every_head(name):
    classifier, images = made(name)
    found = expect_complete(classifier, images, pixel_span(), 0.01)
    assert found.maps.shape == (2, 2, SIZE, SIZE)
    assert not found.elsewhere.any()


@pytest.mark.parametrize("name", [pytest.param("test_resnet", marks=pytest.mark.slow), *MEAN[1:]])
def test_pixels_add_up_as_far_as_they_are_asked_to(name):
    classifier, images = made(name)
    expect_complete(classifier, images, pixel_span(), 1e-4, most=1024)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), FULL)
def test_each_family_has_maps_that_add_up(name, case):
    size = size_of(timm.create_model(name))[0]
    classifier, images = made(name, size)
    assert classifier.inspection.case == case
    span = default_span(classifier, images)
    expect_complete(classifier, images, span, 0.01)
    # Kinks, as ReLU has, cost nodes: the error halves where a smooth network's vanishes.
    expect_complete(classifier, images, span, 1e-4, most=4096)


def test_what_comes_through_the_class_token_grows_from_nothing_block_by_block():
    classifier, images = made("test_vit")
    names = block_names(classifier, images)
    assert names == ["norm_pre", *(f"blocks.{i}" for i in range(6))]
    shares = []
    for name in (names[0], names[3], names[-1]):
        found = expect_complete(classifier, images, module_span(classifier, name, images), 0.01)
        # The baseline is the same image wherever the classifier is cut.
        moved = (found.maps.mean((2, 3)) + found.elsewhere).abs().sum()
        shares.append(float(found.elsewhere.abs().sum() / moved))
    assert shares[0] <= 1e-5
    assert shares[1] > 0.02
    assert shares[2] == pytest.approx(1, abs=1e-4)  # the head reads nothing else
    late = module_span(classifier, names[-1], images)
    assert {"blocks.0", "blocks.4", "patch_embed"} <= set(late.skipped)


def test_the_class_token_is_never_taken_for_a_patch(monkeypatch):
    """Even where tokens are so mixed that they seem to be one place further on."""
    classifier, images = made("test_vit")
    monkeypatch.setattr(
        Placements, "of", lambda self, leaf, place: Placement(0.92 + 0.05 * place.suffix, 0.9)
    )
    span = module_span(classifier, "blocks.3", images)
    assert (span.location.prefix, span.location.suffix) == (1, 0)


def test_a_cut_that_something_goes_past_is_refused():
    classifier, images = made("test_vit")
    with pytest.raises(HeadError, match="not all that the head"):
        module_span(classifier, "blocks.2.mlp", images)
    with pytest.raises(HeadError, match="no module 'nose'"):
        module_span(classifier, "nose", images)
    with pytest.raises(HeadError, match="no grid of patches"):
        module_span(classifier, "fc_norm", images)


def test_a_run_leaves_the_model_as_it_was_and_other_threads_alone():
    classifier, images = made("test_vit")
    model = classifier.model
    model.blocks[1].train()
    model.blocks[2].requires_grad_(False)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    span = module_span(classifier, "blocks.4", images)
    with torch.no_grad():
        expected = model(images)
        features, _ = span.start(classifier, images)
    seen = []

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            def other():
                with torch.no_grad():
                    seen.append(model(images))

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            return value.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient

    handle = model.blocks[5].register_forward_pre_hook(
        lambda _, given: None if seen else (seen.append(0), (Slow.apply(given[0]),))[1]
    )
    y = span.respond(classifier, features)
    handle.remove()
    assert torch.allclose(seen[1], expected, atol=1e-6)
    assert torch.allclose(y, vector(classifier, images)[1], atol=1e-5)
    parts, spread = parts_of(classifier, images)
    with torch.inference_mode():
        complete_maps(classifier, span, images, parts[:2], spread)
    with torch.autocast("cpu", torch.bfloat16):
        found = complete_maps(classifier, span, images, parts[:2], spread)
    assert found.error.max() <= 0.01
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, module in model.named_modules():
        after = vars(module)
        assert "forward" not in after
        assert module.training == before[name]["training"]
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_a_compiled_models_own_forward_comes_back():
    classifier, images = made("test_mambaout")
    wrapped = torch.compile(classifier.model, backend="eager")
    again = Classifier(wrapped, InputConfig((SIZE, SIZE)))
    expect_complete(again, images, feature_span(again), 0.01)


def test_quadrature_is_the_literal_integral():
    """Against a sum over many points, for a cubic and for one with a kink."""
    torch.manual_seed(0)
    start, end = torch.randn(3, 4).double(), torch.randn(3, 4).double()
    directions = torch.randn(3, 2, 2).double()

    def function(points, rows):
        (x,) = points
        return torch.stack([(x**3).sum(1) + x[:, 0] * x[:, 1], x.relu().sum(1) * x[:, 2]], dim=1)

    with torch.no_grad():
        ends = function([end], None) - function([start], None)
    difference = torch.einsum("bd,bkd->bk", ends, directions)
    tolerance = torch.full((3,), 1e-3)
    found = path_integral(function, [start], [end], directions, difference, tolerance, most=4096)
    assert found.error.max() <= 1e-3
    assert torch.allclose(found.parts[0].sum(2), difference, atol=1e-3)
    steps = (torch.arange(4000) + 0.5) / 4000
    for image in range(3):
        for part in range(2):
            line = start[image] + steps[:, None] * (end[image] - start[image])
            line.requires_grad_()
            (gradient,) = torch.autograd.grad(
                (function([line], None) @ directions[image, part]).sum(), line
            )
            literal = gradient.mean(0) * (end[image] - start[image])
            assert torch.allclose(found.parts[0][image, part], literal, atol=2e-2)


def test_images_that_are_done_cost_no_further_nodes():
    start, end = torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]])
    rows = []

    def function(points, which):
        rows.extend(which.tolist())
        (x,) = points
        return torch.where(which[:, None] == 0, x, (x + 0.3).relu())

    difference = torch.tensor([[1.0], [-0.3]])
    limit = torch.full((2,), 0.02)
    found = path_integral(function, [start], [end], torch.ones(2, 1, 1), difference, limit)
    assert found.nodes[0] == 4
    assert found.nodes[1] > 4
    assert rows.count(0) == 4


def test_baselines_are_pictures_of_the_same_light():
    images = torch.rand(2, 3, 40, 56)
    literal = gaussian_blur(images, [15, 15], [2.5, 2.5])
    assert torch.allclose(baseline_images(images, "blurred"), literal, atol=1e-5)
    assert not baseline_images(images, "grey").any()
    for kind in ("blurred", "colour"):
        other = baseline_images(images, kind)
        assert other.shape == images.shape
        assert torch.allclose(other.mean((2, 3)), images.mean((2, 3)), atol=0.03)
        assert other.std((2, 3)).max() < 0.5 * images.std((2, 3)).min()


class Queried(nn.Module):
    """Attention pooling by a learned query, as many of which are made as there are images."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 16, 16)
        self.query = nn.Parameter(torch.randn(1, 1, 16))
        self.pool = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        tokens = self.stem(images).flatten(2).mT
        pooled, _ = self.pool(self.query.expand(len(images), -1, -1), tokens, tokens)
        return self.head(pooled[:, 0])


def test_images_come_in_turn_where_all_take_too_much(monkeypatch):
    classifier, images = made("test_mambaout")
    torch.manual_seed(1)
    whole = expect_complete(classifier, images, pixel_span(), 0.01)
    monkeypatch.setattr(complete, "_HELD", 1)
    torch.manual_seed(1)
    apart = expect_complete(classifier, images, pixel_span(), 0.01)
    for one, other in zip(whole, apart, strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize(("limit", "batches"), [(2**31, {8}), (1, {1})])
def test_a_batch_keeps_no_more_for_its_backward_passes_than_fits(monkeypatch, limit, batches):
    monkeypatch.setattr(at_once, "_BYTES", limit)
    classifier, images = made("test_vit")
    ran = []

    def note(_, given):
        if torch.is_grad_enabled():
            ran.append(len(given[0]))

    classifier.model.blocks[-1].register_forward_pre_hook(note)
    expect_complete(classifier, images, pixel_span(), 1.0)
    measured = ran.index(1)
    assert set(ran[measured + 1 :]) == batches  # two images of four points


def test_what_autograd_keeps_is_counted_once_and_without_weights():
    layer = nn.Linear(4, 3)
    x = torch.randn(2, 4, requires_grad=True)
    kept = at_once._kept(layer, lambda: layer(x).exp().exp().sin())
    assert kept == 4 * (2 * 4 + 2 * 3 + 2 * 3)  # the input, and what both exponentials gave


def test_what_a_model_makes_for_each_image_does_not_keep_it_from_being_cut():
    torch.manual_seed(0)
    classifier = Classifier(Queried().eval(), InputConfig((SIZE, SIZE)))
    images = nn.functional.interpolate(torch.randn(2, 3, 8, 8), (SIZE, SIZE), mode="bicubic")
    for span in (default_span(classifier, images), module_span(classifier, "stem", images)):
        found = expect_complete(classifier, images, span, 1e-4)
        assert found.maps.shape == (2, 2, 4, 4)
        assert not found.elsewhere.any()


def test_a_model_without_gradients_is_refused_in_a_sentence():
    class Detached(Queried):
        def forward(self, images):
            with torch.no_grad():
                return super().forward(images)

    with pytest.raises(HeadError, match="without gradients, which maps need"):
        Classifier(Detached().eval(), InputConfig((SIZE, SIZE)))

import pytest
import timm
import torch
from timm.layers import LayerNorm2d
from torch import nn

from ppn.classifier import Classifier
from ppn.classifier.cut import gradient_maps, head_input, lift
from ppn.classifier.effective import live_cut
from ppn.classifier.norms import fixed_scales
from ppn.types import InputConfig


class Toy(nn.Module):
    """A stem that gives 8 channels on a grid, and whatever head is wanted."""

    def __init__(self, head, width=8):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.head = head
        self.fc = nn.Linear(width, 5)

    def forward_features(self, x):
        return self.stem(x).relu()

    def forward_head(self, x):
        return self.fc(self.head(x).flatten(1))

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class Softmax(nn.Module):
    """Attention pooling by a query."""

    def __init__(self):
        super().__init__()
        self.query = nn.Parameter(torch.randn(8))

    def forward(self, x):
        x = x.flatten(2)
        weight = torch.einsum("bdn,d->bn", x, self.query).softmax(-1)
        return torch.einsum("bdn,bn->bd", x, weight)


def pool_then(*layers):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), *layers)


def cut_of(model, size=(20, 12)):
    classifier = Classifier(model, InputConfig(size)).eval()
    cut = live_cut(classifier.model, classifier.inspection)
    images = torch.randn(3, 3, *size)
    with torch.no_grad():
        features, _ = cut.split.run(images)
    return classifier, cut, features


def test_behind_an_activation_a_patch_is_lifted_through_it():
    layer = nn.Conv2d(8, 6, 1)
    classifier, cut, features = cut_of(Toy(pool_then(layer, nn.Hardswish()), 6))
    assert classifier.inspection.case == "pre_logits"
    assert classifier.inspection.single
    with torch.no_grad():
        expected = nn.functional.hardswish(layer(features.leaves[0]))
        lifted = lift(cut, features, single=True)
    assert torch.allclose(lifted, expected.flatten(2).mT, atol=1e-6)
    assert classifier.inspection.grid == (5, 3)


@pytest.mark.parametrize(
    ("head", "width"),
    [
        (lambda: nn.Sequential(nn.Conv2d(8, 6, (5, 3)), nn.ReLU()), 6),
        (lambda: nn.AdaptiveMaxPool2d(1), 8),
        (Softmax, 8),
    ],
    ids=["whole map", "max", "attention"],
)
def test_lifting_equals_the_head_on_constant_maps_image_by_image(head, width):
    classifier, cut, features = cut_of(Toy(head(), width))
    raw = features.leaves[0]
    with torch.no_grad():
        lifted = lift(cut, features, classifier.inspection.single)
        for image, row, column in [(0, 0, 0), (2, 4, 1)]:
            vector = raw[image, :, row, column]
            constant = vector[None, :, None, None].expand(1, -1, 5, 3)
            (expected,) = cut.split.model.head(constant).flatten(1)
            assert torch.allclose(lifted[image, row * 3 + column], expected, atol=1e-5)
    # A convolution over the whole map has no value on one cell.
    assert classifier.inspection.single == (not isinstance(cut.split.model.head, nn.Sequential))


def test_a_network_that_amplifies_the_rounding_of_a_batch_size_is_supported():
    class Chaotic(Toy):
        def forward_features(self, x):
            # Deep networks at random initialisation turn 1e-7 into 1e-3; this stands for them.
            return super().forward_features(x) * (1 + 0.01 * len(x))

    classifier, _, _ = cut_of(Chaotic(pool_then()))
    assert classifier.inspection.case == "mean_linear"


def test_lifting_in_chunks_changes_nothing(monkeypatch):
    _, cut, features = cut_of(Toy(Softmax()))
    with torch.no_grad():
        whole = lift(cut, features)
        monkeypatch.setattr("ppn.classifier.cut._CHUNK", 1)
        assert torch.allclose(lift(cut, features), whole, atol=1e-6)


def test_class_tokens_lift_patches_through_their_norm():
    model = timm.create_model("test_vit", num_classes=5, fc_norm=True, global_pool="token")
    nn.init.normal_(model.fc_norm.weight)
    classifier = Classifier(model, InputConfig((160, 160))).eval()
    assert classifier.inspection.case == "class_token"
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        tokens = classifier(images)
        raw = model.forward_features(images)
        assert torch.allclose(tokens.tokens, model.fc_norm(raw[:, 1:]), atol=1e-5)
        assert torch.allclose(tokens.pooled, model.fc_norm(raw[:, 0]), atol=1e-5)
    assert tokens.attribute is None


def test_a_class_token_at_the_end_is_found_by_computing():
    class Last(Toy):
        def forward_features(self, x):
            patches = self.stem(x).flatten(2).mT
            return torch.cat([patches, patches.amax(1, keepdim=True)], 1)

        def forward_head(self, x):
            return self.fc(x[:, -1])

    classifier = Classifier(Last(None), InputConfig((16, 16)))
    report = classifier.inspection
    assert (report.case, report.prefix, report.suffix) == ("class_token", 0, 1)
    assert report.grid == (4, 4)


def test_gradient_maps_of_a_linear_head_are_its_contributions():
    layer = nn.Conv2d(8, 6, 1, bias=False)
    classifier, cut, features = cut_of(Toy(pool_then(layer), 6))
    assert classifier.inspection.completeness_error < 1e-5
    directions = torch.randn(3, 4, 6)
    maps = gradient_maps(cut, features, directions)
    raw = features.leaves[0].flatten(2).mT
    with torch.no_grad():
        expected = directions @ layer.weight[:, :, 0, 0] @ raw.mT
        z = head_input(cut, features)
    assert torch.allclose(maps, expected, atol=1e-5)
    assert torch.allclose(maps.mean(-1), torch.einsum("bkd,bd->bk", directions, z), atol=1e-5)


def test_gradient_maps_cost_the_head_alone_and_work_in_inference_mode():
    classifier, _, _ = cut_of(Toy(Softmax()))
    runs = []
    classifier.model.stem.register_forward_hook(lambda *_: runs.append(1))
    images = torch.randn(2, 3, 20, 12)
    directions = torch.randn(2, 3, 8)
    with torch.inference_mode():
        tokens = classifier(images, patches=False)
        assert tokens.tokens.shape == (2, 0, 8)
        assert len(runs) == 1
        inside = tokens.attribute(directions)
    assert len(runs) == 1
    with torch.no_grad():
        outside = classifier(images).attribute(directions)
    assert torch.allclose(inside, outside)
    assert inside.shape == (2, 3, 15)
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_gradient_maps_have_a_gradient_where_directions_want_one():
    _, cut, features = cut_of(Toy(Softmax()).double().float())
    directions = torch.randn(3, 2, 8, requires_grad=True)
    target = torch.randn(3, 2, 15)
    (gradient,) = torch.autograd.grad(
        (gradient_maps(cut, features, directions) * target).sum(), directions
    )
    # Maps are linear in directions, so the gradient is that of finite differences of any size.
    step = torch.randn_like(directions)
    with torch.no_grad():
        change = gradient_maps(cut, features, directions + step) - gradient_maps(
            cut, features, directions
        )
    assert (gradient * step).sum().item() == pytest.approx((change * target).sum().item(), rel=1e-3)


def test_a_head_that_ends_on_a_sequence_is_read_where_it_goes_on():
    class Sequence(Toy):
        def forward_head(self, x):
            return self.fc(x.flatten(2).mT).mean(1)

    classifier = Classifier(Sequence(None), InputConfig((20, 12)))
    assert (classifier.inspection.case, classifier.inspection.reads) == ("mean_linear", ("mean",))


def test_an_activation_in_place_after_the_last_layer_is_refused():
    model = Toy(pool_then())
    model.fc = nn.Sequential(nn.Linear(8, 5), nn.ReLU(inplace=True))
    with pytest.raises(Exception, match="does not end in a linear layer"):
        Classifier(model, InputConfig((20, 12)))


def test_a_norm_on_the_way_keeps_gradient_maps_complete():
    """Plain gradient times token would be zero in sum: the norm undoes any scale of its input."""
    norm = nn.LayerNorm(8, bias=False)
    nn.init.normal_(norm.weight)
    model = Toy(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm, nn.Linear(8, 6, False)), 6
    )
    classifier, cut, features = cut_of(model)
    assert classifier.inspection.case == "pre_logits"
    assert classifier.inspection.completeness_error < 1e-5
    raw = features.leaves[0].clone().requires_grad_()
    z = model.head(raw)
    (gradient,) = torch.autograd.grad(z[:, 0].sum(), raw)
    plain = (gradient * raw).sum((1, 2, 3))
    assert (plain - z[:, 0]).abs().max() > 0.5 * z.std()
    direction = torch.eye(6)[:1].expand(3, 1, 6)
    assert torch.allclose(
        gradient_maps(cut, features, direction).mean(-1)[:, 0], z[:, 0], atol=1e-5
    )


@pytest.mark.parametrize("affine", [True, False])
def test_fixed_scales_change_gradients_but_no_value(affine):
    for norm, shape in [
        (nn.LayerNorm(6, elementwise_affine=affine), (2, 5, 6)),
        (LayerNorm2d(6, affine=affine), (2, 6, 3, 4)),
    ]:
        for parameter in norm.parameters():
            nn.init.normal_(parameter)
        value = torch.randn(shape, requires_grad=True)
        expected = norm(value)
        with fixed_scales(norm):
            found = norm(value)
        assert torch.allclose(found, expected, atol=1e-5)
        weight = torch.randn_like(found)
        gradients = [torch.autograd.grad((y * weight).sum(), value)[0] for y in (expected, found)]
        assert not torch.allclose(*gradients, atol=1e-3)
        assert torch.equal(norm(value), expected)


@pytest.mark.parametrize("pooled_by", ["mean", "max", "first"])
def test_a_module_that_pools_its_patches_and_gives_them_too_is_looked_into(pooled_by):
    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 12, 4, 4)
            self.norm = nn.LayerNorm(12)

        def forward(self, x):
            patches = self.stem(x)
            tokens = patches.flatten(2).mT
            pooled = {"mean": tokens.mean(1), "max": tokens.amax(1), "first": tokens[:, 0]}
            return patches, self.norm(pooled[pooled_by])

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.fc = Body(), nn.Linear(12, 3)

        def forward(self, x):
            return self.fc(self.body(x)[1])

    torch.manual_seed(0)
    report = Classifier(Pooled(), InputConfig((16, 16))).inspection
    case = "mean_norm_linear" if pooled_by == "mean" else "pre_logits"
    assert (report.case, report.features, report.layout) == (case, "body.stem", "NCHW")

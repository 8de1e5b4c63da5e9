import pytest
import timm
import torch
from torch import nn

from ppn.classifier import Classifier, inspect_head
from ppn.errors import HeadError
from ppn.types import InputConfig
from tests.zoo import scrambled, size_of

SUPPORTED = [
    ("test_resnet", {}, "mean_linear", "NCHW"),
    ("test_efficientnet", {}, "mean_linear", "NCHW"),
    ("test_convnext", {}, "mean_norm_linear", "NCHW"),
    ("test_vit", {"global_pool": "avg"}, "mean_norm_linear", "NLC"),
    ("test_vit", {"global_pool": "avg", "fc_norm": False}, "mean_linear", "NLC"),
    ("swin_s3_tiny_224", {"img_size": 64, "window_size": 2}, "mean_linear", "NHWC"),
]


@pytest.mark.parametrize(("name", "options", "case", "layout"), SUPPORTED)
@pytest.mark.parametrize("scramble", [False, True], ids=["fresh", "scrambled"])
def test_tokens_and_effective_head_give_the_models_own_logits(
    name, options, case, layout, scramble
):
    model = timm.create_model(name, num_classes=7, **options)
    model = (scrambled(model) if scramble else model.eval()).double()
    size = (64, 64) if "img_size" in options else size_of(model)
    classifier = Classifier(model, InputConfig(size))
    assert (classifier.inspection.case, classifier.inspection.layout) == (case, layout)
    images = torch.randn(3, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        tokens = classifier(images)
        expected = model(images)
    weight, bias = classifier.effective_head()
    logits = tokens.scale[:, None] * (tokens.tokens.mean(1) @ weight.T) + bias
    spread = expected.std().clamp(min=1e-12)
    assert (logits - expected).abs().max() / spread < 1e-8
    assert torch.allclose(tokens.logits, expected)
    assert tokens.grid[0] * tokens.grid[1] == tokens.tokens.shape[1]
    assert (tokens.scale > 0).all()


def test_the_norm_is_found_by_where_it_runs_not_by_its_values():
    classifier = Classifier(
        timm.create_model("test_vit", global_pool="avg"), InputConfig((160, 160))
    )
    assert classifier.inspection.norm == "fc_norm"


def test_tokens_run_row_by_row():
    model = timm.create_model("test_resnet").eval()
    classifier = Classifier(model, InputConfig((160, 96)))
    images = torch.randn(1, 3, 160, 96)
    with torch.no_grad():
        tokens = classifier(images)
        features = model.forward_features(images)
    assert tokens.grid == (5, 3)
    assert torch.equal(tokens.tokens[0, 1 * 3 + 2], features[0, :, 1, 2])


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("volo_d1_224", {}, "something after 'aux_head' changes its output or adds to it"),
        ("test_resnet", {"num_classes": 0}, "does not end in a linear layer"),
    ],
)
def test_heads_without_a_last_linear_layer_are_refused_with_the_reason(name, options, reason):
    model = timm.create_model(name, **options)
    with pytest.raises(HeadError, match=reason):
        inspect_head(model, size_of(model))


def test_a_model_that_does_not_run_at_a_size_is_refused_in_one_sentence():
    with pytest.raises(HeadError, match=r"does not classify images of 160 x 160 pixels \(.*\)"):
        inspect_head(timm.create_model("levit_128s"), (160, 160))


def test_inspection_leaves_modes_and_statistics_alone():
    model = timm.create_model("test_resnet").train()
    model.bn1.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    inspect_head(model, (64, 64))
    assert model.training
    assert not model.bn1.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_model_that_calls_its_classifier_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

        def get_classifier(self):
            return self.fc

        def forward_features(self, x):
            return self.conv(x)

        def forward_head(self, x):
            return self.fc(x.mean((2, 3))) + self.fc(x.amax((2, 3)))

    with pytest.raises(HeadError, match="calls its last linear layer 2 times"):
        inspect_head(Twice(), (16, 16))

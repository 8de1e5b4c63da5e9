"""Image classifiers of Hugging Face's transformers, as they are, at random initialisation."""

import pytest
import torch

from ppn.classifier import Classifier
from ppn.types import InputConfig

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CASES = {
    "Beit": ("mean_norm_linear", {**SMALL, "intermediate_size": 96}),
    "ConvNext": ("mean_norm_linear", {"depths": [1] * 4, "hidden_sizes": [8, 16, 24, 32]}),
    "DeiT": ("class_token", {**SMALL, "intermediate_size": 96}),
    "Dinov2": ("pre_logits", SMALL),
    "MobileNetV2": ("mean_linear", {"depth_multiplier": 0.35}),
    "ResNet": (
        "mean_linear",
        {"depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 8, "layer_type": "basic"},
    ),
    "Segformer": ("mean_linear", {"depths": [1] * 4}),
    "Swin": ("mean_linear", {"depths": [1, 1], "embed_dim": 24, "num_heads": [1, 2]}),
    "ViT": ("class_token", {**SMALL, "intermediate_size": 96}),
}


@pytest.mark.parametrize("name", CASES)
def test_logits_and_maps_are_exact_as_the_head_allows(name):
    case, options = CASES[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(image_size=224, num_labels=5, **options)
    model = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    images = torch.randn(3, 3, 224, 224)
    with torch.no_grad():
        classifier = Classifier(model, InputConfig())
        tokens = classifier(images)
        logits = model(images).logits
        assert classifier.inspection.case == case
        assert torch.equal(tokens.logits, logits)
        weight, bias = classifier.effective_head()
        explained = tokens.scale[:, None] * (tokens.pooled @ weight.T.float()) + bias.float()
        error = (explained - logits).abs().max() / logits.std()
        assert error <= 1e-4
        if classifier.inspection.averages:
            means = (tokens.tokens @ weight.T.float()).mean(1)
            expected = tokens.pooled @ weight.T.float()
            assert (means - expected).abs().max() / expected.std() <= 1e-5

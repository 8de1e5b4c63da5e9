"""Classifiers as users have them: wrapped, grey, in double precision, with several outputs."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

import ppn
from ppn.errors import DataError, DiscoveryError, HeadError
from ppn.types import InputConfig

SIZE = 48


class Output(NamedTuple):
    logits: torch.Tensor
    hidden: torch.Tensor


WAYS = {
    "logits": lambda logits, hidden: logits,
    "attribute": Output,
    "key": lambda logits, hidden: {"hidden": hidden[:, :2], "logits": logits},
    "other key": lambda logits, hidden: {"prediction": logits, "map": hidden[:, :, None]},
    "neither": lambda logits, hidden: {"one": logits, "other": hidden},
    "first": lambda logits, hidden: (logits, hidden),
}


class Net(nn.Module):
    def __init__(self, channels=3, way="logits", classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        )
        self.fc = nn.Linear(16, classes)
        self.way = way

    def forward(self, x):
        pooled = self.body(x).mean((2, 3))
        return WAYS[self.way](self.fc(pooled), pooled)


def batches(channels=3, count=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(3, channels, SIZE, SIZE, generator=generator, dtype=dtype), torch.arange(3))
        for _ in range(count)
    ]


def check(network, model, image):
    """The explanation's sum is what the classifier itself says."""
    with torch.no_grad():
        logits = model(image[None])[0]
    sample = network.explain(image)
    assert sample.label == int(logits.argmax())
    total = sum(sample.contributions) + sample.bias
    assert total == pytest.approx(float(logits.max()), abs=1e-5)
    assert "maps exact" in network.exactness
    assert network.certificate["agreement"] == 1


@pytest.mark.parametrize("way", [way for way in WAYS if way != "neither"])
def test_logits_are_found_in_what_the_classifier_gives(way):
    model = Net(way=way)
    network = ppn.from_classifier(model, batches(), k=2)
    check(network, lambda x: model.fc(model.body(x).mean((2, 3))), batches()[0][0][0])


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
    ],
)
def test_wrapped_classifiers_are_taken_out(wrap):
    model = Net().eval()
    network = ppn.from_classifier(wrap(model), batches(), k=2)
    assert network.classifier.model is model
    check(network, model, batches()[0][0][0])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_have_as_many_channels_as_the_classifier_takes(channels):
    model = Net(channels).eval()
    network = ppn.from_classifier(model, batches(channels), k=2)
    assert network.classifier.config.channels == channels
    image = batches(channels)[0][0][0]
    check(network, model, image)
    picture = network.explain(image).image
    assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))


def test_a_grey_classifier_explains_files_and_arrays_in_grey(tmp_path):
    model = timm.create_model("test_resnet", in_chans=1, num_classes=3).eval()
    config = InputConfig((SIZE, SIZE), (0.4,), (0.2,), crop_pct=1.0)
    network = ppn.from_classifier(model, batches(1), k=2, config=config)
    grey = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = network.explain((torch.from_numpy(grey)[None] / 255 - 0.4) / 0.2)
    for given in (grey, np.stack([grey] * 3, 2), tmp_path / "grey.png", Image.fromarray(grey)):
        sample = network.explain(given)
        assert sample.contributions == pytest.approx(expected.contributions, abs=1e-5)
        assert sample.logit == pytest.approx(expected.logit, abs=1e-5)


def test_a_picture_is_no_input_of_five_channels():
    network = ppn.from_classifier(Net(5), batches(5), k=2)
    with pytest.raises(DataError, match="takes 5 channels"):
        network.explain(Image.new("RGB", (SIZE, SIZE)))
    with pytest.raises(DataError, match=r"\(3, 48, 48\), but the classifier takes \(5, 48, 48\)"):
        network.explain(torch.zeros(3, SIZE, SIZE))


@pytest.mark.parametrize("images", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
def test_images_are_brought_to_the_type_of_the_weights(weights, images):
    model = Net().to(weights).eval()
    network = ppn.from_classifier(model, batches(dtype=images), k=2)
    check(network, model, batches()[0][0][0].to(weights))


@pytest.mark.parametrize("weights", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_are_refused(weights):
    with pytest.raises(HeadError, match=r"convert it with model\.float\(\)"):
        ppn.from_classifier(Net().to(weights), batches(dtype=weights))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet18", "is a str"),
        (torch.jit.trace(Net().eval(), torch.zeros(1, 3, SIZE, SIZE)), "TorchScript"),
        (nn.Sequential(nn.AvgPool2d(8), nn.Flatten()), "has no weights"),
        (Net(way="neither"), "without logits"),
    ],
)
def test_what_cannot_be_explained_is_refused(model, message):
    with pytest.raises(HeadError, match=message):
        ppn.from_classifier(model, batches())


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.zeros(3, 3, SIZE, SIZE, dtype=torch.uint8), torch.arange(3)), "images are uint8"),
        ((torch.zeros(3, 3, SIZE, SIZE), torch.eye(3) * 0.9), "without mixing or smoothing"),
        ((torch.zeros(3, 3, SIZE, SIZE), torch.arange(3.0)), "one whole number per image"),
        ((torch.zeros(3, 3, SIZE, SIZE), torch.arange(2)), "for 3 images"),
        ((torch.zeros(3, SIZE, SIZE), torch.arange(3)), "collate them to one tensor"),
    ],
)
def test_what_no_classifier_is_trained_with_is_refused(batch, message):
    with pytest.raises(DataError, match=message):
        ppn.from_classifier(Net(), [batch])


@pytest.mark.parametrize("k", [0, -1])
def test_prototypes_are_counted_from_one(k):
    with pytest.raises(DiscoveryError, match="at least 1"):
        ppn.from_classifier(Net(), batches(), k=k)


def test_batches_that_can_be_had_once_are_all_used():
    once = ppn.from_classifier(Net(), iter(batches()), k=2)
    again = ppn.from_classifier(Net(), batches(), k=2)
    assert once.dictionary.images.tolist() == [4, 4, 4]
    assert torch.equal(once.head.prototypes, again.head.prototypes)


def test_the_module_that_was_named_is_taken_again_from_files(tmp_path):
    model, image = Net(), batches()[0][0][0]
    network = ppn.from_classifier(model, batches(), k=2, features="body.0")
    network.save(tmp_path)
    loaded = ppn.load(tmp_path, model=model)
    assert loaded.classifier.inspection == network.classifier.inspection
    assert loaded.classifier.inspection.features == "body.0"
    ours, theirs = network.explain(image), loaded.explain(image)
    assert ours.contributions == theirs.contributions
    assert all(np.array_equal(a, b) for a, b in zip(ours.maps, theirs.maps, strict=True))


@pytest.mark.parametrize("kind", ["autocast", "bfloat16", "float64", "inference"])
def test_what_is_set_around_it_changes_nothing(kind):
    model, image = Net().eval(), batches()[0][0][1]
    plain = ppn.from_classifier(model, batches(), k=2)
    expected = plain.explain(image)
    around = {
        "autocast": torch.autocast("cpu", torch.bfloat16),
        "inference": torch.inference_mode(),
    }
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(
            {"bfloat16": torch.bfloat16, "float64": torch.float64}.get(kind, before)
        )
        with around.get(kind, nullcontext()):
            found = ppn.from_classifier(model, batches(), k=2)
            explained = found.explain(image)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found.head.prototypes, plain.head.prototypes)
    assert explained.contributions == expected.contributions
    assert explained.logit == expected.logit
    assert found.certificate == plain.certificate


def test_a_few_classes_of_very_many_are_certified():
    model = Net(classes=5000).eval()
    images = batches()[0][0]
    network = ppn.from_classifier(model, [(images, torch.tensor([1, 2, 4999]))], k=2)
    assert network.certificate["images"] == 3
    assert network.certificate["agreement"] == 1

"""Explaining a model leaves it as it was, whatever it is doing and whoever else uses it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from ppn.classifier import Classifier
from ppn.types import InputConfig

SIZE = (16, 16)


class Net(nn.Module):
    """Convolutions and a head of the mean, or of a class token that attends to the patches."""

    def __init__(self, head=None, token=False):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(0.5)
        self.fc = head or nn.Linear(8, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8)) if token else None
        self.mix = nn.MultiheadAttention(8, 1, batch_first=True) if token else None

    def forward(self, x):
        x = self.body(x)
        if self.token is None:
            return self.fc(self.drop(x.mean((2, 3))))
        patches = x.flatten(2).mT
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1)
        return self.fc(self.drop((tokens + self.mix(tokens, tokens, tokens)[0])[:, 0]))


def hidden():
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(inplace=True), nn.Linear(6, 4))


def in_place():
    model = Net()
    model.compile(backend="eager")
    with torch.no_grad():  # compiled before anything of ours has seen it
        model.eval()(torch.randn(2, 3, *SIZE))
    return model


MODELS = {
    "convolution": Net,
    "class token": lambda: Net(token=True),
    "gradient maps": lambda: Net(hidden()),
    "compiled": in_place,
}


def explained(classifier, image):
    """Whatever an explanation is made of."""
    with torch.no_grad():
        tokens = classifier(image[None])
        directions = torch.ones(1, 2, classifier.width)
        maps = (
            tokens.tokens @ directions.mT if not tokens.attribute else tokens.attribute(directions)
        )
    return [tokens.tokens, tokens.pooled, tokens.logits, maps]


@pytest.mark.filterwarnings("ignore")  # torch.compile's own
@pytest.mark.parametrize("name", MODELS)
def test_threads_get_the_explanation_of_their_own_image(name):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    classifier = Classifier(model, InputConfig(SIZE))
    images = torch.randn(25, 3, *SIZE)
    alone = [explained(classifier, image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        jobs = list(range(25)) * 10
        together = list(pool.map(lambda i: explained(classifier, images[i]), jobs))
        # The user's own calls take no lock, and must not be noted either.
        own = [pool.submit(model.forward, images) for _ in range(8)]
        beside = list(pool.map(lambda i: explained(classifier, images[i]), range(25)))
        for call in own:
            call.result()
    for i, found in zip([*jobs, *range(25)], [*together, *beside], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, alone[i], strict=True))


def state_of(model):
    modules = list(model.modules())
    return (
        [module.training for module in modules],
        [(p.requires_grad, p.dtype, p.device, p.grad) for p in model.parameters()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        [module._compiled_call_impl for module in modules],
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_left_as_it_was(name):
    torch.manual_seed(0)
    model = MODELS[name]().train()
    model.body[1].eval()
    model.fc.requires_grad_(False)
    model.body.register_forward_hook(lambda *_: None)
    state, tensors = state_of(model), {k: v.clone() for k, v in model.state_dict().items()}
    generator = torch.get_rng_state()
    classifier = Classifier(model, InputConfig(SIZE))
    image = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0))
    first = explained(classifier, image)
    assert state_of(model) == state
    assert all(torch.equal(v, tensors[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    # In evaluation, as it was asked about: no dropout, no statistics of the batch.
    assert all(torch.equal(a, b) for a, b in zip(first, explained(classifier, image), strict=True))
    evaluated = [module.training for module in model.modules()]
    with torch.no_grad():
        assert torch.allclose(first[2], model.eval()(image[None]), atol=1e-6)
    assert any(evaluated)


def test_a_model_that_fails_is_left_as_it_was():
    class Fails(Net):
        def forward(self, x):
            if len(x) == 3:
                raise RuntimeError("three")
            return super().forward(x)

    model = Fails().train()
    classifier = Classifier(model, InputConfig(SIZE))
    state = state_of(model)
    with pytest.raises(RuntimeError, match="three"):
        classifier(torch.randn(3, 3, *SIZE))
    assert state_of(model) == state
    assert classifier(torch.randn(2, 3, *SIZE)).logits.shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_does_not_matter(dtype):
    torch.manual_seed(0)
    model = Net(hidden())
    image = torch.randn(3, *SIZE)
    expected = explained(Classifier(model, InputConfig(SIZE)), image)
    torch.set_default_dtype(dtype)
    try:
        classifier = Classifier(model, InputConfig(SIZE))
        with torch.no_grad():
            found = explained(classifier, image) if dtype == torch.float64 else None
    finally:
        torch.set_default_dtype(torch.float32)
    found = found or explained(classifier, image)
    assert all(torch.allclose(a, b.to(a), atol=1e-6) for a, b in zip(expected, found, strict=True))


def test_autocast_around_an_explanation_does_not_round_it():
    torch.manual_seed(0)
    classifier = Classifier(Net(hidden()), InputConfig(SIZE))
    image = torch.randn(3, *SIZE)
    expected = explained(classifier, image)
    with torch.autocast("cpu", torch.bfloat16):
        found = explained(classifier, image)
    assert all(torch.equal(a, b) for a, b in zip(expected[:3], found[:3], strict=True))


def test_what_works_in_place_after_the_named_module_changes_no_feature():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.fc = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 4)

        def forward(self, x):
            x = x.sub_(0.5)  # the user's images are not ours to change
            return self.fc(self.stem(x).mul_(2).add_(1).mean((2, 3)))

    model = InPlace()
    classifier = Classifier(model, InputConfig(SIZE), features="stem")
    image = torch.randn(2, 3, *SIZE)
    kept = image.clone()
    with torch.no_grad():
        tokens = classifier(image)
        assert torch.equal(image, kept)
        raw = model.stem(image - 0.5).flatten(2).mT
        assert torch.equal(tokens.logits, model(image.clone()))
    weight, bias = (value.float() for value in classifier.effective_head())
    assert torch.allclose(tokens.pooled @ weight.T + bias, tokens.logits, atol=1e-5)
    if classifier.inspection.averages:
        assert torch.allclose(tokens.tokens, raw, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_compiled_parts_are_seen_into():
    model = Net()
    model.body = torch.compile(model.body, backend="eager")
    image = torch.randn(2, 3, *SIZE)
    model.eval()
    with torch.no_grad():
        expected = model(image)
        forward = model.body.forward
        classifier = Classifier(model, InputConfig(SIZE))
        assert torch.allclose(classifier(image).logits, expected, atol=1e-6)
        assert torch.allclose(classifier(image[:1]).logits, expected[:1], atol=1e-6)
    assert model.body.forward is forward
    assert classifier.inspection.case == "mean_linear"


class Changed(nn.Module):
    """A stem whose output a function changes in place, before or after it is read."""

    def __init__(self, before=None, after=None):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.before, self.after = before, after
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        if self.before is not None:
            self.before(x)
        pooled = x.mean((2, 3))
        if self.after is not None:
            self.after(x)
        return self.fc(pooled)


@pytest.mark.parametrize(
    ("before", "after", "in_place", "case"),
    [
        (torch.relu_, None, True, "mean_linear"),
        (lambda x: x.clamp_(0, 1), None, True, "mean_linear"),
        # Twice is not once, so what was changed cannot take the place of the module's output.
        (torch.neg_, None, False, "pre_logits"),
        (torch.exp_, None, False, "pre_logits"),
        # What nobody reads after the change has no part in the logits.
        (None, torch.zero_, False, "mean_linear"),
        (None, torch.relu_, False, "mean_linear"),
    ],
)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_features_changed_in_place_are_taken_where_they_show_an_exact_sum(
    before, after, in_place, case, mode
):
    model = Changed(before, after).eval()
    with mode():
        classifier = Classifier(model, InputConfig((32, 32)))
        report = classifier.inspection
        assert (report.features, report.in_place, report.case) == ("stem", in_place, case)
        images = torch.randn(3, 3, 32, 32)
        tokens = classifier(images, patches=True)
        weight, bias = classifier.effective_head()
        logits = tokens.pooled @ weight.T.float() + bias.float()
        assert torch.allclose(logits, model(images), atol=1e-5)
        if report.averages:
            assert torch.allclose(tokens.tokens.mean(1), tokens.pooled, atol=1e-6)

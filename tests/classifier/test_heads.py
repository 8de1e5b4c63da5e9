"""Heads as people write them: what is affine after the last layer, parameters, and the rest."""

import pytest
import torch
from torch import nn

from ppn.classifier import Classifier
from ppn.errors import HeadError
from ppn.types import InputConfig

SIZE = (24, 24)


class Net(nn.Module):
    """Convolutions, their mean, and whatever head is wanted."""

    def __init__(self, head):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = head

    def forward(self, x):
        return self.head(self.pool(self.body(x)).flatten(1))


class LogPrior(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)
        self.prior = nn.Parameter(torch.randn(5) - 3)

    def forward(self, x):
        return self.fc(x) + self.prior


class Subset(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(8, 5)
        self.classes = classes

    def forward(self, x):
        return self.fc(x)[:, self.classes]


class Temperature(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.rand(5) + 0.5)

    def forward(self, x):
        return self.fc(x) * self.scale / 1.7


class Matrix(nn.Module):
    def __init__(self, norm=None):
        super().__init__()
        self.norm = norm or nn.Identity()
        self.weight = nn.Parameter(torch.randn(5, 8))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x):
        return self.norm(x) @ self.weight.T + self.bias


class LowRank(nn.Linear):
    """As adapters are: more than its own weight."""

    def __init__(self):
        super().__init__(8, 5)
        self.down, self.up = (nn.Parameter(torch.randn(shape)) for shape in ((2, 8), (5, 2)))

    def forward(self, x):
        return super().forward(x) + x @ self.down.T @ self.up.T


class Cosine(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 8))

    def forward(self, x):
        unit = nn.functional.normalize
        return 16 * nn.functional.linear(unit(x), unit(self.weight))


class CosineLinear(nn.Linear):
    def forward(self, x):
        unit = nn.functional.normalize
        return 16 * nn.functional.linear(unit(x), unit(self.weight))


def normed(norm):
    if isinstance(norm, nn.BatchNorm1d):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


class Bare(nn.Module):
    """No module gives a vector."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.BatchNorm2d(8)
        self.weight = nn.Parameter(torch.randn(5, 8))

    def forward(self, x):
        return self.norm(self.stem(x)).mean((2, 3)) @ self.weight.T + 1


HEADS = {
    "log prior": (LogPrior, "mean_linear", 5),
    "batch norm": (
        lambda: nn.Sequential(nn.Linear(8, 5), normed(nn.BatchNorm1d(5))),
        "mean_linear",
        5,
    ),
    "permutation": (lambda: Subset([3, 1, 0, 4, 2]), "mean_linear", 5),
    "subset": (lambda: Subset([4, 1]), "mean_linear", 2),
    "temperature": (Temperature, "mean_linear", 5),
    "two layers": (lambda: nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 5)), "pre_logits", 5),
    "hidden layer": (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), LogPriorOf6()),
        "pre_logits",
        5,
    ),
    "parameters": (Matrix, "mean_linear", 5),
    "parameters, norm": (lambda: Matrix(normed(nn.LayerNorm(8))), "mean_norm_linear", 5),
    "parameters, batch norm": (lambda: Matrix(normed(nn.BatchNorm1d(8))), "mean_linear", 5),
    "low rank": (LowRank, "mean_linear", 5),
    "one logit": (lambda: nn.Linear(8, 1), "mean_linear", 1),
    "one number": (lambda: nn.Sequential(nn.Linear(8, 1), nn.Flatten(0)), "mean_linear", 1),
}


class LogPriorOf6(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(x) + torch.arange(5)


@pytest.mark.parametrize("name", [*HEADS, "no module gives a vector"])
def test_what_is_affine_is_part_of_the_effective_head(name):
    torch.manual_seed(0)
    if name in HEADS:
        made, case, classes = HEADS[name]
        model = Net(made())
    else:
        model, case, classes = Bare(), "mean_linear", 5
    classifier = Classifier(model.eval(), InputConfig(SIZE))
    assert classifier.inspection.case == case
    assert classifier.inspection.places == 1
    images = torch.randn(4, 3, *SIZE)
    with torch.no_grad():
        tokens, expected = classifier(images), model(images).reshape(4, classes)
        assert torch.equal(classifier.classify(images), expected)
    weight, bias = (value.float() for value in classifier.effective_head())
    assert weight.shape == (classes, classifier.width)
    logits = tokens.scale[:, None] * (tokens.pooled @ weight.T) + bias
    assert (logits - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))
    if case != "pre_logits":
        maps = tokens.scale[:, None, None] * (tokens.tokens @ weight.T)
        assert torch.allclose(maps.mean(1) + bias, logits, atol=1e-4)


class Constant(nn.Module):
    def forward(self, logits):
        return (logits - 9).relu()


class Average(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Net(nn.Linear(8, 5)), Net(nn.Linear(8, 5))

    def forward(self, x):
        return (self.first(x) + self.second(x)) / 2


class Always(Net):
    def forward(self, x):
        return super().forward(x + 0.1 * torch.rand_like(x))


class Named(Net):
    def forward(self, x):
        return super().forward(x).argmax(1)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Net(Cosine()), "has cosines for logits"),
        (lambda: Net(CosineLinear(8, 5)), "has cosines for logits"),
        (Average, "several networks .'first.head' and 'second.head'."),
        (lambda: Net(nn.Sequential(nn.Linear(8, 5), nn.Softmax(1))), "gives probabilities"),
        (lambda: Net(nn.Sequential(nn.Linear(8, 5), nn.LogSoftmax(1))), "without its log-softmax"),
        (lambda: Net(nn.Sequential(nn.Linear(8, 5), nn.Sigmoid())), "without its sigmoid"),
        (lambda: Net(nn.Sequential(nn.Linear(8, 5), nn.Tanh())), "something after 'head.0'"),
        (lambda: Net(nn.Sequential(nn.Linear(8, 5), Constant())), "something after 'head.0'"),
        (lambda: Always(nn.Linear(8, 5)), "other logits each time that it sees the same image"),
        (lambda: Named(nn.Linear(8, 5)), "gives int64, not logits"),
    ],
    ids=[
        "cosine",
        "cosine layer",
        "ensemble",
        "softmax",
        "log-softmax",
        "sigmoid",
        "tanh",
        "constant",
        "random",
        "class",
    ],
)
def test_other_heads_are_refused_with_the_reason(model, reason):
    torch.manual_seed(0)
    with pytest.raises(HeadError, match=reason):
        Classifier(model().eval(), InputConfig(SIZE))


def test_features_behind_the_head_are_refused():
    with pytest.raises(HeadError, match="no linear layer after 'head' that gives its logits"):
        Classifier(Net(nn.Linear(8, 5)).eval(), InputConfig(SIZE), features="head")

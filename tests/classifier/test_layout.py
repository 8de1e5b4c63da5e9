import pytest
import torch

from ppn.classifier.layout import Location, fold_grid, locations

SQUARE = (224, 224)


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [
        (49, SQUARE, (7, 7)),
        (60, (160, 96), (10, 6)),
        (60, (96, 160), (6, 10)),
        (35, (200, 150), (7, 5)),  # odd grids: sides that patches do not divide
        (197, SQUARE, None),  # a prime number, only one long row
        (200, SQUARE, None),
        (2, SQUARE, None),  # a class and a distillation token
        (2, (96, 192), (1, 2)),
        (40, (100, 300), (4, 10)),  # both sides rounded up
    ],
)
def test_tokens_fold_into_the_images_proportions(count, size, grid):
    assert fold_grid(count, size) == grid


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 512, 7, 7), [Location("NCHW")]),
        ((2, 7, 7, 512), [Location("NHWC")]),
        ((2, 49, 512), [Location("NLC")]),
        ((2, 197, 192), [Location("NLC", 1), Location("NLC", 0, 1)]),
        ((2, 201, 192), [Location("NLC", 5), Location("NLC", 0, 5)]),
        ((2, 30, 192), [Location("NLC"), Location("NLC", 5), Location("NLC", 0, 5)]),
        ((2, 320, 16), [Location("NCL")]),
        ((2, 512), []),
        ((2, 512, 1, 1), []),
        ((2, 1, 256), []),
        ((2, 2, 256), []),
    ],
)
def test_where_patches_may_be(shape, expected):
    assert locations(torch.zeros(shape), SQUARE) == expected


def test_what_the_model_says_comes_first():
    assert locations(torch.zeros(2, 198, 192), SQUARE, prefix=2) == [Location("NLC", 2)]
    both = torch.zeros(2, 7, 7, 7)
    assert [place.layout for place in locations(both, SQUARE, last=True)] == ["NHWC", "NCHW"]
    assert [place.layout for place in locations(both, SQUARE, last=False)] == ["NCHW", "NHWC"]


@pytest.mark.parametrize(
    ("place", "shape"),
    [
        (Location("NCHW"), (2, 6, 3, 4)),
        (Location("NHWC"), (2, 3, 4, 6)),
        (Location("NLC", 2, 1), (2, 15, 6)),
        (Location("NCL"), (2, 6, 12)),
    ],
)
def test_reading_replacing_and_filling_agree(place, shape):
    features = torch.randn(shape)
    tokens = place.read(features)
    assert tokens.shape == (2, 12, 6)
    assert torch.equal(place.replaced(features, tokens), features)
    other = torch.randn_like(tokens)
    assert torch.equal(place.read(place.replaced(features, other)), other)
    assert place.grid(features, (30, 40)) == (3, 4)
    filled = place.filled(other[:, 0], (3, 4))
    assert filled.shape == shape
    assert torch.equal(place.read(filled), other[:, :1].expand_as(tokens))
    if place.layout == "NLC":  # class token and registers hold the vector too
        assert torch.equal(filled[:, 0], other[:, 0])

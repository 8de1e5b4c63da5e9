"""What parts look like: features of an earlier layer, weighted by where the part is."""

import torch

from ppn.discovery.base import ClassTokens
from ppn.prototypes.looks import Looks


def item(label, earlier):
    return ClassTokens(label, "", torch.rand(2, 4, 3), torch.arange(2), None, (2, 2), earlier)


def test_parts_of_alike_features_look_alike_in_all_classes():
    looks = Looks(3, 2)
    coefficients = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).repeat(2, 1)
    features = torch.zeros(2, 4, 40)
    features[:, :2, :20] = 1
    features[:, 2:, 20:] = 1
    looks.take(item(0, features), coefficients)
    looks.take(item(1, 5 * features), coefficients)
    assert torch.allclose(looks.looks[0], looks.looks[1], atol=1e-6)
    assert torch.cosine_similarity(*looks.looks[0], dim=0).abs() < 0.2  # nothing in common
    assert not looks.looks[2].any()


def test_without_an_earlier_layer_nothing_is_seen():
    looks = Looks(1, 2)
    looks.take(item(0, None), torch.rand(8, 2))
    assert not looks.looks.any()

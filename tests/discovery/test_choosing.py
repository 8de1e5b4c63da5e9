import math

import torch

from ppn.discovery.choosing import choose_images, image_uncertainty


def literal(labels, uncertainty, annotated):
    """One image after the other: of the class with fewest, the least sure."""
    chosen, taken = [], list(annotated)
    while len(taken) < len(labels):
        counts = [sum(labels[j] == labels[i] for j in taken) for i in range(len(labels))]
        left = [i for i in range(len(labels)) if i not in taken]
        best = min(left, key=lambda i: (counts[i], -uncertainty[i]))
        chosen.append(best)
        taken.append(best)
    return chosen


def test_the_order_is_that_of_choosing_one_after_the_other():
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 4, (15,), generator=generator)
        uncertainty = torch.rand(15, generator=generator)
        annotated = torch.randperm(15, generator=generator)[: seed % 5].tolist()
        expected = literal(labels.tolist(), uncertainty.tolist(), annotated)
        assert choose_images(labels, uncertainty, annotated).tolist() == expected
        assert choose_images(labels, uncertainty, annotated, 3).tolist() == expected[:3]


def test_there_may_be_nothing_left_and_nothing_known():
    assert choose_images(torch.tensor([3, 3]), torch.rand(2), [1, 0]).tolist() == []
    assert choose_images(torch.tensor([], dtype=torch.int64), torch.zeros(0)).tolist() == []
    labels = torch.tensor([1, 1, 0, 0])
    assert choose_images(labels, torch.zeros(4)).tolist() == [0, 2, 1, 3]


def test_uncertainty_is_that_of_the_tokens_taken_for_the_parts():
    sure = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    torn = torch.tensor([[0.5, 0.5, 0], [0, 0, 1], [0, 0, 1]])
    even = torch.full((3, 3), 1 / 3)
    found = image_uncertainty(torch.stack([sure, torn, even]))
    expected = torch.tensor([0.0, math.log(2) / math.log(3), 1.0])
    assert torch.allclose(found, expected, atol=1e-6)

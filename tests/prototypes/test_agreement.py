"""A trained classifier that contradicts its labels is told, an untrained one is not."""

import pytest
import torch
from torch import nn

from ppn.prototypes.agreement import Agreement, agreement_warning


@pytest.mark.parametrize(
    ("right", "total", "classes", "confidence", "told"),
    [
        (0, 18, 3, 0.9, True),
        (0, 18, 10, 0.9, True),
        (0, 18, 1000, 0.6, True),
        (0, 60, 1000, 0.25, True),  # trained with binary cross-entropy: never sure
        (10, 100, 2, 0.9, True),
        (300, 1000, 10, 0.9, True),  # part of the classes in their place
        (17, 18, 3, 0.95, False),
        (60, 100, 3, 0.95, False),
        (0, 2, 3, 0.9, False),  # too few to tell
        (0, 0, 3, 0.9, False),
        (0, 18, 1000, 0.002, False),  # untrained
        (0, 18, 3, 0.4, False),
        (0, 18, 3, None, True),
        (6, 18, 3, None, False),
        (0, 5, 3, None, False),
        (0, 18, 1000, None, False),
        (5, 100, 1, None, True),  # one logit: two answers
    ],
)
def test_what_is_said_follows_what_the_classifier_promises(right, total, classes, confidence, told):
    warning = agreement_warning(right, total, classes, confidence)
    assert (warning is not None) == told
    if told:
        assert warning == (
            f"The classifier predicts the label of {right} of {total} images: is the order of "
            "classes the same?"
        )


def counted(mode, logits, rows, labels):
    agreement = Agreement(mode)
    for start in range(0, len(logits), 5):  # in batches
        chosen = [i for i, row in enumerate(rows) if start <= row < start + 5]
        agreement.add(
            logits[start : start + 5],
            [rows[i] - start for i in chosen],
            [labels[i] for i in chosen],
        )
    return agreement


def test_one_class_an_image():
    labels = [i % 3 for i in range(18)]
    logits = 6 * nn.functional.one_hot(torch.tensor(labels), 3).float()
    right = counted("single", logits, list(range(18)), labels)
    assert (right.right, right.total, right.num_classes, right.warning()) == (18, 18, 3, None)
    wrong = counted("single", logits.roll(1, 1), list(range(18)), labels)
    assert "label of 0 of 18 images" in wrong.warning()


def test_one_logit():
    logits = torch.full((10, 1), 4.0)
    assert counted("binary", logits, list(range(10)), [0] * 10).warning() is None
    assert "0 of 10" in counted("binary", -logits, list(range(10)), [0] * 10).warning()


def test_several_classes_an_image():
    given = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]] * 5)
    logits = 8.0 * given - 4
    rows, labels = (part.tolist() for part in given.nonzero(as_tuple=True))
    right = counted("multilabel", logits, rows, labels)
    assert (right.right, right.total, right.warning()) == (30, 30, None)
    assert counted("multilabel", logits.roll(2, 1), rows, labels).warning() is not None
    nothing = counted("multilabel", logits.clamp(max=-1), rows, labels)
    assert (nothing.total, nothing.warning()) == (0, None)


@pytest.mark.parametrize("classes", [2, 3, 10, 200, 1000])
def test_untrained_classifiers_are_seldom_told(classes):
    """Of 100 drawn at random, each on 60 images of 3 classes or fewer."""
    told = 0
    labels = [i % min(classes, 3) for i in range(60)]
    for seed in range(100):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                              nn.Flatten(), nn.Linear(16, classes))  # fmt: skip
        agreement = Agreement("single")
        with torch.no_grad():
            agreement.add(model(torch.randn(60, 3, 16, 16)), list(range(60)), labels)
        told += agreement.warning() is not None
    assert told <= 1

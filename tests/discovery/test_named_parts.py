from dataclasses import replace

import numpy as np
import pytest
import torch

from ppn.configured import Configured
from ppn.discovery.base import ClassTokens
from ppn.discovery.named_parts import NamedParts
from ppn.discovery.points import grouped_points, point_evidence, point_targets
from ppn.discovery.teacher import areas_of, taught_names
from ppn.discovery.token_classifier import cross_validated, fit_token_classifier
from ppn.errors import DiscoveryError
from ppn.refinement.base import ClassProblem
from ppn.refinement.compact_split import CompactSplit

GRID, SIZE, WIDTH = (6, 8), (60, 80), 24
NAMES = ["beak", "eye", "wing"]
GROUPS = {"head": ["beak", "eye"], "wing": ["wing"]}


def scene(images, seed=0):
    """Tokens of images in which head and wing have their own channels; keypoints in pixels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(images, 3, generator=generator) * 70 + 5
    y = torch.rand(images, 3, generator=generator) * 50 + 5
    x[:, 1], y[:, 1] = x[:, 0] + 2, y[:, 0] + 2  # the eye is beside the beak
    keypoints = torch.stack([x, y, torch.ones(images, 3)], dim=2)
    evidence = point_evidence(grouped_points(keypoints, NAMES, GROUPS), GRID, SIZE, 0.1)
    directions = torch.randn(2, WIDTH, generator=generator)
    noise = torch.randn(images, 48, WIDTH, generator=generator)
    return evidence @ (3 * directions) + 0.3 * noise, keypoints


def group_of(tokens, label=0, first=0):
    indices = torch.arange(first, first + len(tokens))
    return ClassTokens(label, f"class {label}", tokens, indices, None, GRID)


def learned(**options):
    tokens, keypoints = scene(20)
    way = NamedParts(GROUPS, **options)
    way.annotate(range(10), keypoints[:10], NAMES, SIZE)
    way.fit(
        [group_of(tokens[:8]), group_of(tokens[8:], 1, 8)],
        torch.zeros(2, WIDTH),
        len(way.part_names),
    )
    return way, tokens, keypoints


def test_parts_are_where_their_points_are_on_a_class_without_clicks():
    way, tokens, keypoints = learned()
    (found,) = way.discover([group_of(tokens[10:])], torch.zeros(1, WIDTH), 3)
    best = found.coefficients[:, :2].unflatten(0, (10, 48)).argmax(1)
    row, column = best // 8, best % 8
    for part, keypoint in enumerate([0, 2]):
        x, y, _ = keypoints[10:, keypoint].T
        near = (column[:, part] * 10 + 5 - x).abs() + (row[:, part] * 10 + 5 - y).abs()
        assert (near <= 20).double().mean() >= 0.8


def test_discovered_parts_keep_the_contract():
    way, tokens, _ = learned()
    (found,) = way.discover([group_of(tokens)], torch.zeros(1, WIDTH), 3)
    assert found.remainder
    assert way.part_names == ["head", "wing", "rest"]
    assert found.coefficients.shape == (20 * 48, 3)
    assert (found.coefficients >= 0).all()
    assert torch.allclose(found.parts.norm(dim=1), torch.ones(3))


def test_without_a_remainder_names_share_everything():
    way, tokens, _ = learned(rest=0.0)
    (found,) = way.discover([group_of(tokens)], torch.zeros(1, WIDTH), 2)
    assert not found.remainder
    assert way.part_names == ["head", "wing"]
    assert found.coefficients.shape == (20 * 48, 2)


def test_the_rest_weighs_the_background():
    little, tokens, _ = learned(rest=0.1)
    much, _, _ = learned(rest=1.0)
    item = group_of(tokens)
    first, second = (
        way.discover([item], torch.zeros(1, WIDTH), 3)[0].coefficients for way in (little, much)
    )
    assert torch.allclose(first[:, 2] * 10, second[:, 2])
    assert torch.equal(first[:, :2], second[:, :2])
    assert torch.allclose(second.sum(1), torch.ones(len(second)))


@pytest.mark.parametrize("rest", [0.0, 0.1])
def test_prototypes_of_a_class_without_clicks_sum_to_its_row(rest):
    way, tokens, _ = learned(rest=rest)
    k = len(way.part_names)
    weight = torch.randn(2, WIDTH, dtype=torch.float64)
    for item in (group_of(tokens[15:], 1), group_of(torch.zeros(2, 48, WIDTH), 0)):
        (found,) = way.discover([item], weight, k)
        row = weight[item.label]
        flat = item.tokens.flatten(0, 1)
        problem = ClassProblem(flat, found.coefficients, found.parts, row, GRID)
        problem = replace(problem, remainder=found.remainder)
        prototypes = CompactSplit(ridge=1.0, rounds=2).refine(problem).prototypes
        assert (prototypes.double().sum(0) - row).abs().max() <= 1e-6 * row.abs().max()


def test_accuracy_is_of_images_that_were_held_out():
    way, _, _ = learned()
    assert way.accuracy.points.tolist() == [20, 10]
    assert way.accuracy.accuracy >= 0.9
    assert 0 <= way.accuracy.missed <= 0.5
    # Tokens that know nothing of the points are named no better than at random.
    _, keypoints = scene(40)
    points = grouped_points(keypoints, NAMES, GROUPS)
    targets = point_targets(point_evidence(points, GRID, SIZE))
    blind = cross_validated(torch.randn(40, 48, WIDTH), targets, points, GRID, SIZE)
    assert blind.accuracy <= 0.8


def test_one_image_teaches_and_its_accuracy_is_unknown():
    tokens, keypoints = scene(3)
    way = NamedParts(GROUPS)
    way.annotate([1], keypoints[1:2], NAMES, SIZE)
    way.fit([group_of(tokens)], torch.zeros(1, WIDTH), 3)
    assert way.classifier is not None
    assert way.accuracy.accuracy != way.accuracy.accuracy  # NaN


def test_options_are_plain_and_named():
    way = NamedParts(GROUPS)
    assert isinstance(way, Configured)
    assert way.key == "named_parts"
    assert way.options == {
        "groups": GROUPS,
        "source": "keypoints",
        "images": 30,
        "seed": 0,
        "clicks": None,
        "teacher": None,
        "rest": 0.1,
        "decay": None,
        "spread": 24 / 224,
        "background": 0.15,
        "entries": None,
    }


def test_mistakes_are_told_in_a_sentence():
    tokens, keypoints = scene(2)
    with pytest.raises(DiscoveryError, match="no named part"):
        NamedParts({})
    for option in ({"rest": -1.0}, {"decay": -1.0}, {"spread": 0.0}, {"background": 0.0}):
        with pytest.raises(DiscoveryError, match=next(iter(option))):
            NamedParts(GROUPS, **option)
    with pytest.raises(DiscoveryError, match="'tail', which there is not"):
        NamedParts({"tail": ["tail"]}).annotate([0, 1], keypoints, NAMES, SIZE)
    with pytest.raises(DiscoveryError, match="'tail' has no keypoint"):
        NamedParts({"tail": []}).annotate([0, 1], keypoints, NAMES, SIZE)
    way = NamedParts(GROUPS)
    hidden = keypoints.clone()
    hidden[:, 2, 2] = 0
    with pytest.raises(DiscoveryError, match="No image shows part 'wing'"):
        way.annotate([0, 1], hidden, NAMES, SIZE)
    way.annotate([7, 8], keypoints, NAMES, SIZE)
    with pytest.raises(DiscoveryError, match="leave k out, or set it to 3"):
        way.fit([group_of(tokens)], torch.zeros(1, WIDTH), 5)
    with pytest.raises(DiscoveryError, match="None of the training images is annotated"):
        way.fit([group_of(tokens)], torch.zeros(1, WIDTH), 3)
    with pytest.raises(DiscoveryError, match="call fit first"):
        way.discover([group_of(tokens)], torch.zeros(1, WIDTH), 3)
    way, tokens, _ = learned()
    with pytest.raises(DiscoveryError, match="NaN or infinity"):
        way.discover([group_of(tokens * torch.inf)], torch.zeros(1, WIDTH), 3)


@pytest.mark.parametrize(
    ("indices", "names", "size", "spoil", "said"),
    [
        ([0, 1, 2], NAMES, SIZE, lambda p: p, r"\(2, 3, 3\) for 3 images and 3 names"),
        ([0, 1], NAMES[:2], SIZE, lambda p: p, "for 2 images and 2 names"),
        ([0, 1], NAMES, SIZE, lambda p: p[..., :2], "x, y and visibility"),
        ([0, 1], NAMES, (60,), lambda p: p, "height and width"),
        ([1, 1], NAMES, SIZE, lambda p: p, "image 1 is annotated twice"),
        ([0, 1], ["beak", "beak", "eye"], SIZE, lambda p: p, "name 'beak' is annotated twice"),
        ([0, 1], NAMES, SIZE, lambda p: p + 80, "'beak' of image 0 is at .* outside of the input"),
        ([0, 1], NAMES, SIZE, lambda p: p * torch.tensor([torch.nan, 1, 1]), "is at nan"),
    ],
)
def test_points_by_hand_that_cannot_be_are_refused(indices, names, size, spoil, said):
    with pytest.raises(DiscoveryError, match=said):
        NamedParts().annotate(indices, spoil(scene(2)[1]), names, size)


def test_points_by_hand_may_be_numpys_and_must_be_of_training_images():
    tokens, keypoints = scene(3)
    way = NamedParts(GROUPS)
    way.annotate(np.array([0, 7]), keypoints[:2].numpy(), NAMES, SIZE)
    with pytest.raises(DiscoveryError, match="Image 7 is annotated, but no class has it"):
        way.fit([group_of(tokens)], torch.zeros(1, WIDTH), 3)


class Strange:
    """A teacher that answers each batch in its turn, the last answer again and again."""

    def __init__(self, *answers, names=None):
        self.answers = list(answers)
        self.part_names = names

    def __call__(self, images):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if not isinstance(answer, tuple) else torch.full((len(images), *answer), 0.5)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("parts", "The teacher is a str: give a function"),
        (Strange(None), "gives NoneType"),
        (Strange((2, 0, 4)), r"gives \(16, 2, 0, 4\)"),
        (Strange(torch.zeros(16, 2, 4, 4, dtype=torch.cfloat)), "return a tensor"),
        (Strange((2, 4, 4), (3, 4, 4)), "tells of 2 parts on some images, and of 3 on others"),
    ],
)
def test_answers_that_cannot_be_are_told_of_the_teacher(teacher, said):
    with pytest.raises(DiscoveryError, match=said):
        areas_of(teacher, torch.zeros(20, 3, 8, 8))


def test_a_teachers_grid_may_change_and_its_names_be_left_out():
    teacher = Strange((2, 4, 4), (2, 6, 5))
    assert areas_of(teacher, torch.zeros(20, 3, 8, 8)).shape == (20, 2, 4, 4)
    assert taught_names(teacher, 2) == ["0", "1"]
    with pytest.raises(DiscoveryError, match="1 part_names for 2 parts"):
        taught_names(Strange((2, 4, 4), names="ab"), 2)


def test_evidence_follows_its_formula():
    points = torch.zeros(1, 2, 2, 3)
    points[0, 0, 0] = torch.tensor([15.0, 25.0, 1.0])
    points[0, 0, 1] = torch.tensor([75.0, 5.0, 1.0])
    points[0, 1, 0] = torch.tensor([torch.nan, torch.nan, 0.0])
    evidence = point_evidence(points, GRID, SIZE, 0.1)[0]
    sigma = 0.1 * (60 * 80) ** 0.5
    for cell, (row, column) in enumerate((r, c) for r in range(6) for c in range(8)):
        y, x = 10 * row + 5, 10 * column + 5
        squared = min((x - 15) ** 2 + (y - 25) ** 2, (x - 75) ** 2 + (y - 5) ** 2)
        expected = torch.exp(torch.tensor(-squared / (2 * sigma**2)))
        assert torch.allclose(evidence[cell, 0], expected, atol=1e-6)
    assert (evidence[:, 1] == 0).all()


def test_targets_are_probabilities_with_the_background_last():
    evidence = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 0.35]])
    expected = torch.tensor([[1 / 1.15, 0, 0.15 / 1.15], [0, 0, 1], [0.5, 0.35, 0.15]])
    assert torch.allclose(point_targets(evidence, 0.15), expected)


def test_classifier_fits_a_penalised_softmax_regression():
    tokens = torch.randn(200, 5) * 3 + 1
    tokens[:, 4] = 2.0  # a channel that never changes
    targets = torch.rand(200, 3)
    targets = targets / targets.sum(1, keepdim=True)
    found = fit_token_classifier(tokens, targets, 10, decay=0.01)
    std = tokens.std(0)
    weight = (found.weight * torch.where(std > 0, std, 1.0)).requires_grad_()
    bias = (found.bias + found.weight @ tokens.mean(0)).requires_grad_()
    inputs = (tokens - tokens.mean(0)) / torch.where(std > 0, std, 1.0)
    loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, targets)
    (loss + 0.01 * weight.square().sum()).backward()
    assert weight.grad.abs().max() <= 1e-4
    assert bias.grad.abs().max() <= 1e-4
    assert torch.allclose(found(tokens).sum(-1), torch.ones(200))


def test_penalty_is_smaller_for_many_images():
    tokens, targets = torch.randn(100, 5), torch.eye(3)[torch.randint(3, (100,))]
    few, many = (fit_token_classifier(tokens, targets, images) for images in (30, 200))
    assert many.weight.norm() > few.weight.norm()
    assert torch.equal(few.weight, fit_token_classifier(tokens, targets, 30, 1e-2).weight)


def test_accuracy_counts_points_by_the_cell_they_are_in():
    classifier = fit_token_classifier(torch.randn(30, 2), torch.full((30, 3), 1 / 3), 5)
    classifier.weight.copy_(torch.tensor([[9.0, 0.0], [0.0, 9.0], [0.0, 0.0]]))
    classifier.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    tokens = torch.zeros(1, 48, 2)
    tokens[0, 0, 0] = 1  # part 0 at the upper left cell
    tokens[0, 47, 0] = 1  # and at the lower right one
    points = torch.tensor([[[[3.0, 4.0, 1.0]], [[80.0, 60.0, 1.0]]]])  # part 1 at the very corner
    found = classifier.accuracy(tokens, points, GRID, SIZE)
    assert found.hits.tolist() == [1, 0]
    assert found.points.tolist() == [1, 1]
    assert found.lost == 0
    assert found.accuracy == 0.5
    tokens[0, 47] = 0
    assert classifier.accuracy(tokens, points, GRID, SIZE).missed == 0.5
    points[..., 2] = 0
    assert classifier.accuracy(tokens, points, GRID, SIZE).points.sum() == 0


def rank_deficient(tokens):
    return tokens[..., :2] @ torch.randn(2, WIDTH)


def the_same_everywhere(tokens):
    return tokens[:1, :1].expand_as(tokens).clone()


def zero_rows(tokens):
    return torch.where(torch.rand(tokens.shape[:2])[..., None] < 0.5, 0.0, tokens)


def without_the_wing(tokens):
    return tokens.clone()[:, :1].expand_as(tokens).clone()


@pytest.mark.parametrize("names", [1, 3, 49])
@pytest.mark.parametrize("rest", [0.0, 0.1])
@pytest.mark.parametrize(
    "spoil", [rank_deficient, the_same_everywhere, zero_rows, without_the_wing, torch.zeros_like]
)
def test_named_prototypes_sum_to_the_head(names, rest, spoil):
    """Whatever tokens are like, as many parts as there are, of a class without any clicks."""
    tokens = scene(8)[0]
    called = [f"part {number}" for number in range(names)]
    keypoints = torch.rand(6, names, 3) * torch.tensor([80.0, 60.0, 1.0])
    keypoints[..., 2] = torch.rand(6, names) < 0.7
    keypoints[0, :, 2] = 1
    keypoints[:, -1] = keypoints[:, 0]  # a duplicate of the first part
    way = NamedParts(rest=rest)
    way.annotate(range(6), keypoints, called, SIZE)
    k = names + (rest > 0)
    assert len(way.part_names) == k
    way.fit([group_of(spoil(tokens[:6]))], torch.zeros(1, WIDTH), k)
    row = torch.randn(WIDTH, dtype=torch.float64)
    item = group_of(spoil(tokens[6:]), 1, 6)
    (found,) = way.discover([item], row[None], k)
    problem = ClassProblem(
        item.tokens.flatten(0, 1), found.coefficients, found.parts, row, GRID, found.remainder
    )
    for refinement in (CompactSplit(ridge=1.0, rounds=2), CompactSplit()):
        prototypes = refinement.refine(problem).prototypes
        assert (prototypes.double().sum(0) - row).abs().max() <= 1e-6 * row.abs().max()


def test_names_need_no_groups():
    tokens, keypoints = scene(5)
    way = NamedParts()
    assert way.part_names == []
    way.annotate(range(5), keypoints, NAMES, SIZE)
    assert way.part_names == [*NAMES, "rest"]
    way.fit([group_of(tokens)], torch.zeros(1, WIDTH), 4)
    assert way.account["images"] == 5
    assert set(way.account["accuracy_of"]) == set(NAMES)
    with pytest.raises(DiscoveryError, match="give it another name"):
        NamedParts().annotate(range(5), keypoints, ["rest", "eye", "wing"], SIZE)


def test_what_results_depend_on_is_told():
    _, keypoints = scene(5)
    first, second = NamedParts(GROUPS), NamedParts(GROUPS)
    assert first.given == []
    first.annotate(range(5), keypoints, NAMES, SIZE)
    second.annotate(range(5), keypoints + 1, NAMES, SIZE)
    assert not torch.equal(first.given[1], second.given[1])
    assert torch.equal(first.given[0], second.given[0])

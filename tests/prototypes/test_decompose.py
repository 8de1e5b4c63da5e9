import pytest
import torch

from ppn.discovery.factorization import make_sketch, nmf, nndsvda, nonnegative_coefficients
from ppn.discovery.parts import _together, discover_parts
from ppn.errors import DiscoveryError
from ppn.prototypes.certificate import CertificateSample, certify
from ppn.prototypes.decompose import ClassTokens, DiscoverySettings, PatchGrid, decompose
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.head import PrototypeHead
from ppn.types import Tokens

CLASSES, K, WIDTH, IMAGES, PATCHES = 4, 2, 12, 5, 3
GRID = PatchGrid((2, 3), (64, 96))


def group(labels=range(CLASSES), images=IMAGES):
    return [
        ClassTokens(
            label,
            f"bird {label}",
            torch.randn(images + label, 6, WIDTH),
            torch.arange(images + label) + 100 * label,
        )
        for label in labels
    ]


def run(items, settings=None, strategies=("cam_split", "equal"), weight=None):
    heads = {name: PrototypeHead(CLASSES, K, WIDTH) for name in strategies}
    dictionary = PartDictionary(CLASSES, K, WIDTH, PATCHES)
    weight = torch.randn(CLASSES, WIDTH, dtype=torch.float64) if weight is None else weight
    settings = settings or DiscoverySettings()
    decompose(items, weight, heads, strategies[0], dictionary, GRID, settings)
    return heads, dictionary, weight


@pytest.mark.parametrize(
    "settings",
    [
        DiscoverySettings(),
        DiscoverySettings(seeding="kmeans"),
        DiscoverySettings(token_weighting="none"),
        DiscoverySettings(discoverer="kmeans"),
        DiscoverySettings(alpha_solver="nonnegative"),
    ],
    ids=["default", "seeded by k-means", "unweighted", "k-means", "non-negative alpha"],
)
def test_every_class_is_found_and_exact(settings):
    heads, dictionary, weight = run(group(), settings)
    assert dictionary.complete
    assert dictionary.exactness.max() <= 1e-6
    for head in heads.values():
        error = (head.prototypes.double().sum(1) - weight).abs().max()
        assert error <= 1e-6 * weight.abs().max()
    assert torch.allclose(dictionary.parts.norm(dim=2), torch.ones(CLASSES, K), atol=1e-4)
    assert dictionary.images.tolist() == [5, 6, 7, 8]


def planted():
    """Tokens of three directions; the head likes the first two, the third is ten times as long."""
    torch.manual_seed(5)
    directions = torch.eye(3, WIDTH)
    which = torch.arange(30) % 3
    length = torch.tensor([1.0, 1.0, 10.0])[which]
    tokens = length[:, None] * directions[which] + 0.01 * torch.rand(30, WIDTH)
    return tokens, directions, torch.tensor([1.0, 1.0, *[-1.0] * (WIDTH - 2)])


def test_parts_are_what_the_head_looks_for_not_what_is_strongest():
    tokens, directions, row = planted()
    (found,) = discover_parts([tokens], row[None], 2, ["bird"])
    (plain,) = discover_parts([tokens], row[None], 2, ["bird"], token_weighting="none")
    assert (found.parts @ directions[:2].T).amax(0).min() > 0.99
    assert (plain.parts @ directions[2]).max() > 0.99
    # Coefficients are those of the tokens as they are: the third direction keeps its own, small.
    best = nonnegative_coefficients(tokens, found.parts)
    assert torch.allclose(found.coefficients, best)


@pytest.mark.parametrize("liked", [0, 1])
def test_a_class_with_fewer_positive_activations_than_parts_is_not_weighted(liked):
    tokens, _, _ = planted()
    row = -torch.ones(WIDTH)
    tokens[:liked] *= -1  # that many activations are positive
    (found,) = discover_parts([tokens], row[None], 2, ["bird"])
    (plain,) = discover_parts([tokens], row[None], 2, ["bird"], token_weighting="none")
    assert torch.equal(found.parts, plain.parts)
    assert found.coefficients.sum() > 0


def test_classes_do_not_depend_on_the_group_they_are_found_in():
    torch.manual_seed(3)
    items = [*group(range(3)), *group([3], images=-2)]  # the last has a single image
    together, _, weight = run(items)
    for item in items:
        alone, _, _ = run([item], weight=weight)
        found = [heads["cam_split"].prototypes[item.label] for heads in (alone, together)]
        assert torch.equal(*found)


def test_classes_of_unequal_sizes_factorised_in_one_batch_do_not_change_each_other():
    generator = torch.Generator().manual_seed(7)
    tokens = [torch.rand(n, 40, generator=generator).square() for n in (90, 5, 37)]
    sketches = [make_sketch(group, min(16, len(group))) for group in tokens]
    starts = [nndsvda(group, 3, sketch) for group, sketch in zip(tokens, sketches, strict=True)]
    together = _together(tokens, starts, sketches)
    for found, *problem in zip(together, tokens, starts, sketches, strict=True):
        alone = nmf(*problem)
        assert found.coefficients.shape == alone.coefficients.shape
        assert torch.allclose(found.parts, alone.parts, atol=1e-3)
        assert float(found.error) == pytest.approx(float(alone.error), rel=1e-4)


def test_patches_are_the_best_of_different_images():
    items = group()
    heads, dictionary, _ = run(items)
    for item in items:
        for part, prototype in enumerate(heads["cam_split"].prototypes[item.label]):
            scores = item.tokens @ prototype
            best, cell = scores.max(dim=1)
            order = best.argsort(descending=True)[:PATCHES]
            assert dictionary.patch_index[item.label, part].tolist() == (
                item.indices[order].tolist()
            )
            stored = dictionary.patch_score[item.label, part]
            assert torch.allclose(stored, best[order], atol=1e-4)
            row, column = divmod(int(cell[order[0]]), 3)
            expected = [32.0 * column, 32.0 * row, 32.0 * column + 32, 32.0 * row + 32]
            assert dictionary.patch_box[item.label, part, 0].tolist() == expected


def test_missing_patches_are_marked():
    _, dictionary, _ = run(group([0], images=2))
    assert dictionary.patch_score[0, 0].isinf().tolist() == [False, False, True]


def test_nan_and_too_few_tokens_name_the_class():
    items = group()
    items[2].tokens[0, 0, 0] = torch.nan
    with pytest.raises(DiscoveryError, match="features of class bird 2 contain NaN"):
        run(items)
    few = [ClassTokens(0, "rare bird", torch.randn(1, 1, WIDTH), torch.zeros(1))]
    with pytest.raises(DiscoveryError, match="Class rare bird has 1 patch tokens, fewer than"):
        run(few)


def test_certificate_measures_what_is_wrong_too():
    heads, dictionary, weight = run(group())
    sample = CertificateSample(CLASSES, WIDTH, rows=10)
    for item in group():
        pooled = item.tokens.mean(1)
        logits = (pooled.double() @ weight.T).float()
        for half in (slice(0, 1), slice(1, None)):  # arrives in batches
            part = Tokens(
                item.tokens[half], (2, 3), pooled[half], torch.ones(len(pooled[half])), logits[half]
            )
            sample.add(item.label, part)
    logits, blackbox = sample.outputs(heads["cam_split"])
    good = certify(dictionary, logits, blackbox)
    assert good.images == 8  # 10 rows hold 2 images of each of 4 classes
    assert good.agreement == 1.0
    assert good.max_logit_error < 1e-5
    assert good.max_sum_error <= 1e-6
    bad = certify(dictionary, -logits, blackbox)
    assert bad.agreement < 1.0
    assert bad.max_logit_error > 1e-2


def test_certificate_samples_some_classes_where_there_are_too_many():
    sample = CertificateSample(10, WIDTH, rows=4)
    for label in range(10):
        tokens = torch.ones(3, 6, WIDTH) * label
        sample.add(label, Tokens(tokens, (2, 3), tokens.mean(1), torch.ones(3), torch.zeros(3, 10)))
    assert sample.pooled[sample.used == 1, 0].tolist() == [0, 3, 6, 9]

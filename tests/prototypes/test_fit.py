from types import SimpleNamespace

import pytest
import torch

from ppn.discovery import NMF, ClassTokens, KMeans
from ppn.discovery.factorization import make_sketch, nmf, nndsvda, nonnegative_coefficients
from ppn.discovery.nmf import _together
from ppn.errors import DataError, DiscoveryError
from ppn.prototypes.certificate import CertificateSample, certify
from ppn.prototypes.fit import Fit
from ppn.prototypes.network import PrototypeNetwork
from ppn.refinement import CamSplit, Equal
from ppn.types import InputConfig, Tokens

CLASSES, K, WIDTH, IMAGES, PATCHES = 4, 2, 12, 5, 3


class Rows(torch.nn.Module):
    """Stands for a classifier of which only the head is needed."""

    config = InputConfig((64, 96))

    def __init__(self, weight):
        super().__init__()
        self.weight = weight
        self.inspection = SimpleNamespace(level="exact")

    def effective_head(self):
        return self.weight, self.weight[:, 0]


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


def batch(item, weight):
    pooled = item.tokens.mean(1)
    logits = (pooled.double() @ weight.T + weight[:, 0]).float()
    tokens = Tokens(item.tokens, (2, 3), pooled, torch.ones(len(pooled)), logits)
    return tokens, [item.label] * len(pooled), item.indices


def run(items, discoverer=None, refinements=None, weight=None, finish=True):
    weight = torch.randn(CLASSES, WIDTH, dtype=torch.float64) if weight is None else weight
    refinements = refinements or [CamSplit(), Equal()]
    ways = {way.name: way.exact for way in refinements}
    network = PrototypeNetwork(Rows(weight), K, ways, PATCHES)
    fit = Fit(network, refinements, discoverer)
    names = [f"bird {label}" for label in range(CLASSES)]
    fit.run((batch(item, weight) for item in items), names)
    if finish:
        fit.finish(names, str)
    return network, weight


@pytest.mark.parametrize(
    ("discoverer", "refinements"),
    [
        (NMF(), None),
        (NMF(init="kmeans"), None),
        (NMF(token_weighting="none"), None),
        (KMeans(), None),
        (NMF(), [CamSplit(), Equal("nonnegative")]),
    ],
    ids=["default", "k-means centroids", "unweighted", "k-means", "non-negative alpha"],
)
def test_every_class_is_found_and_exact(discoverer, refinements):
    network, weight = run(group(), discoverer, refinements)
    dictionary = network.dictionary
    assert (dictionary.found == 1).all()
    assert dictionary.exactness.max() <= 1e-6
    for head in network.heads:
        error = (head.prototypes.double().sum(1) - weight).abs().max()
        assert error <= 1e-6 * weight.abs().max()
        assert torch.equal(head.bias, weight[:, 0].float())
    assert torch.allclose(dictionary.parts.norm(dim=2), torch.ones(CLASSES, K), atol=1e-4)
    assert dictionary.images.tolist() == [5, 6, 7, 8]
    assert network.certificate["agreement"] == 1
    assert network.certificate["classes"] == CLASSES
    assert network.image_names[3][0][0] == str(int(dictionary.patch_index[3, 0, 0]))


def test_a_class_without_images_keeps_its_logits_exact():
    network, weight = run(group([0, 2]))
    assert network.dictionary.found.tolist() == [1, 0, 1, 0]
    for head in network.heads:
        error = (head.prototypes.double().sum(1) - weight).abs().max()
        assert error <= 1e-6 * weight.abs().max()
    assert network.certificate["classes"] == 2
    assert network.certificate["agreement"] == 1
    assert network.image_names[1] == [[], []]


def test_no_image_at_all_is_refused():
    with pytest.raises(DataError, match="no training image of any class"):
        run([])


def planted():
    """Tokens of three directions; the head likes the first two, the third is ten times as long."""
    torch.manual_seed(5)
    directions = torch.eye(3, WIDTH)
    which = torch.arange(30) % 3
    length = torch.tensor([1.0, 1.0, 10.0])[which]
    tokens = length[:, None] * directions[which] + 0.01 * torch.rand(30, WIDTH)
    return tokens, directions, torch.tensor([1.0, 1.0, *[-1.0] * (WIDTH - 2)])


def parts_of(tokens, row, token_weighting="cam"):
    item = ClassTokens(0, "bird", tokens[None], torch.zeros(1))
    return NMF(token_weighting=token_weighting).discover([item], row[None], 2)[0]


def test_parts_are_what_the_head_looks_for_not_what_is_strongest():
    tokens, directions, row = planted()
    found = parts_of(tokens, row)
    plain = parts_of(tokens, row, "none")
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
    found = parts_of(tokens, row)
    plain = parts_of(tokens, row, "none")
    assert torch.equal(found.parts, plain.parts)
    assert found.coefficients.sum() > 0


def test_classes_do_not_depend_on_the_group_they_are_found_in():
    torch.manual_seed(3)
    items = [*group(range(3)), *group([3], images=-2)]  # the last has a single image
    together, weight = run(items)
    for item in items:
        alone, _ = run([item], weight=weight)
        found = [network.head.prototypes[item.label] for network in (alone, together)]
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
    network, _ = run(items)
    dictionary = network.dictionary
    for item in items:
        for part, prototype in enumerate(network.head.prototypes[item.label]):
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


def test_each_training_image_is_held_against_the_others():
    items = group([0], images=4)
    network, _ = run(items)
    best = (items[0].tokens @ network.head.prototypes[0].T).amax(1).clamp(min=0)
    found = []
    for index in range(4):
        others = torch.cat([best[:index], best[index + 1 :]]).amax(0)
        found.append(float(best[index].sum() / others.sum()))
    assert float(network.dictionary.least_likeness[0]) == pytest.approx(min(found), rel=1e-4)
    assert network.class_images(0).images == 4
    assert network.class_images(1).least_likeness == 0


def test_missing_patches_are_marked():
    network, _ = run(group([0], images=2))
    assert network.dictionary.patch_score[0, 0].isinf().tolist() == [False, False, True]


def test_nan_and_too_few_tokens_name_the_class():
    items = group()
    items[2].tokens[0, 0, 0] = torch.nan
    with pytest.raises(DiscoveryError, match="features of class bird 2 contain NaN"):
        run(items)
    few = ClassTokens(0, "rare bird", torch.randn(1, 1, WIDTH), torch.zeros(1))
    with pytest.raises(DiscoveryError, match="Class rare bird has 1 patch tokens, fewer than"):
        NMF().discover([few], torch.randn(1, WIDTH), K)


def test_certificate_measures_what_is_wrong_too():
    network, weight = run(group())
    sample = CertificateSample(CLASSES, WIDTH, rows=10)
    for item in group():
        pooled = item.tokens.mean(1)
        logits = (pooled.double() @ weight.T + weight[:, 0]).float()
        for half in (slice(0, 1), slice(1, None)):  # arrives in batches
            part = Tokens(
                item.tokens[half], (2, 3), pooled[half], torch.ones(len(pooled[half])), logits[half]
            )
            sample.add(item.label, part)
    (logits, _), blackbox = sample.outputs(network.head)
    good = certify(network.dictionary, logits, blackbox)
    assert good.images == 8  # 10 rows hold 2 images of each of 4 classes
    assert good.agreement == 1.0
    assert good.max_logit_error < 1e-5
    assert good.max_sum_error <= 1e-6
    bad = certify(network.dictionary, -logits, blackbox)
    assert bad.agreement < 1.0
    assert bad.max_logit_error > 1e-2


def test_certificate_samples_some_classes_where_there_are_too_many():
    sample = CertificateSample(10, WIDTH, rows=4)
    for label in range(10):
        tokens = torch.ones(3, 6, WIDTH) * label
        sample.add(label, Tokens(tokens, (2, 3), tokens.mean(1), torch.ones(3), torch.zeros(3, 10)))
    assert sample.pooled[sample.used == 1, 0].tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(("labels", "kept"), [((7, 9), [7, 7, 9, 9]), ((), [7, 9, 8])])
def test_certificate_samples_the_classes_that_have_images(labels, kept):
    sample = CertificateSample(10, WIDTH, rows=4, labels=labels)
    for label in (7, 9) if labels else (7, 9, 8):
        tokens = torch.ones(3, 6, WIDTH) * label
        sample.add(label, Tokens(tokens, (2, 3), tokens.mean(1), torch.ones(3), torch.zeros(3, 10)))
    assert sample.pooled[sample.used == 1, 0].tolist() == kept
    assert sample.labels.tolist() == kept

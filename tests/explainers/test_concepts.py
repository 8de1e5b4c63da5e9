"""Concept explainers: what they find when it was planted, and that they repeat themselves."""

import pytest
import torch
from scipy.optimize import nnls
from torch.nn.functional import normalize

from ppn.errors import DiscoveryError, MissingPackageError, PPNError
from ppn.explainers import (
    CRAFT,
    EPIC,
    ICE,
    MCD,
    DeepFeatureFactorization,
    KMeansDictionary,
    PCADictionary,
    SemiNMFDictionary,
    SparseAutoencoder,
)
from ppn.explainers.concepts.mcd import subspace_split, subspaces
from ppn.explainers.concepts.overcomplete_package import overcomplete
from ppn.explainers.concepts.sampling import sample_tokens
from ppn.explainers.concepts.sobol import design, total_indices
from ppn.explainers.training import fit_explainers, load_state, save_state
from tests.explainers.tiny import (
    convolutions,
    inputs_of,
    network_of,
    open_network,
    stream,
    training,
    transformer,
)

SMALL = {
    "dff": lambda **options: DeepFeatureFactorization(**options),
    "ice": lambda **options: ICE(concepts=4, **options),
    "craft": lambda **options: CRAFT(concepts=4, patch_size=8, points=8, batch_size=5, **options),
    "mcd": lambda **options: MCD(dimensions=2, **options),
    "pca": lambda **options: PCADictionary(4, tokens=50, **options),
    "semi_nmf": lambda **options: SemiNMFDictionary(4, tokens=50, iterations=5, **options),
    "kmeans": lambda **options: KMeansDictionary(4, tokens=50, **options),
    "sparse_autoencoder": lambda **options: SparseAutoencoder(6, 2, tokens=50, epochs=2, **options),
    "epic": lambda **options: EPIC(images=2, rounds=2, **options),
}
TARGET = torch.tensor([0, 1, 2, 2])


def made(key, **options):
    if key in ("semi_nmf", "sparse_autoencoder"):
        expect_overcomplete()
    return SMALL[key](**options)


def expect_overcomplete():
    """Return its module of autoencoders, or skip the test."""
    try:
        return overcomplete("sae")
    except MissingPackageError as error:
        pytest.skip(str(error))


def fitted(explainer, network, images):
    explainer.prepare(network)
    fit_explainers([explainer], images)
    return explainer


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return network_of(convolutions())


@pytest.mark.parametrize("key", SMALL)
def test_shapes_batches_files_and_inference_mode(key, network, tmp_path):
    pictures = torch.randn(4, 3, 16, 16)
    explainer = made(key)
    explainer.prepare(network)
    with torch.inference_mode():
        fit_explainers([explainer], training(network, batch_size=3))
        inputs = inputs_of(network, pictures)
        found = explainer.attribute(inputs, TARGET)
        logits = explainer.surrogate(inputs)
    assert found.maps.shape == (4, explainer.maps_per_class, 4, 4) == (4, 2, 4, 4)
    assert torch.isfinite(found.maps).all()
    assert float(found.maps.abs().sum()) > 0
    if key == "dff":
        assert found.contributions is None
        assert logits is None
    else:
        assert logits.shape == (4, 3)
        bias = network.classifier.effective_head()[1]
        own = logits[torch.arange(4), TARGET] - bias[TARGET]
        assert torch.allclose(found.contributions.double().sum(1), own, atol=1e-5)

    for batch_size, tolerance in ((3, 0.0), (2, 1e-2)):  # other batches, other last digits
        again = fitted(made(key), network, training(network, batch_size=batch_size))
        for one, other in zip(explainer.state().values(), again.state().values(), strict=True):
            assert torch.allclose(one.double(), other.double(), atol=tolerance, rtol=0)
    alone = [
        explainer.attribute(inputs_of(network, image[None]), label[None]).maps
        for image, label in zip(pictures, TARGET, strict=True)
    ]
    assert torch.allclose(found.maps, torch.cat(alone), atol=1e-5)

    save_state(explainer, tmp_path / "state.safetensors")
    kept = made(key)
    kept.prepare(network)
    load_state(kept, tmp_path / "state.safetensors")
    assert torch.allclose(kept.attribute(inputs, TARGET).maps, found.maps, atol=1e-6)


@pytest.mark.parametrize("key", SMALL)
@pytest.mark.parametrize("pool", ["token", "avg"])
def test_transformers(key, pool):
    network = network_of(transformer(pool), 160)
    images = training(network, per_class=2, size=160)
    options = {"patch_size": 100} if key == "craft" else {}
    explainer = CRAFT(concepts=2, points=4, **options) if options else made(key)
    fitted(explainer, network, images)
    inputs = inputs_of(network, torch.randn(2, 3, 160, 160))
    found = explainer.attribute(inputs, torch.tensor([0, 2]))
    assert found.maps.shape == (2, 2, *network.classifier.inspection.grid)
    assert torch.isfinite(found.maps).all()


@pytest.mark.parametrize("key", SMALL)
def test_layers_between_patches_and_the_last_linear_one(key):
    layers = torch.nn.Linear(8, 9), torch.nn.ReLU(), torch.nn.Linear(9, 3)
    network = network_of(torch.nn.Sequential(*convolutions()[:6], *layers))
    assert network.classifier.inspection.case == "pre_logits"
    explainer = fitted(made(key), network, training(network))
    inputs = inputs_of(network, torch.randn(2, 3, 16, 16))
    found = explainer.attribute(inputs, torch.tensor([0, 2]))
    assert found.maps.shape == (2, 2, 4, 4)
    assert torch.isfinite(found.maps).all()
    logits = explainer.surrogate(inputs)
    assert logits is None if key == "dff" else logits.shape == (2, 3)


@pytest.mark.parametrize("key", ["dff", "ice", "craft", "pca", "kmeans", "epic", "mcd"])
def test_a_class_without_training_images(key, network):
    explainer = fitted(made(key), network, training(network, classes=(0, 2)))
    found = explainer.attribute(inputs_of(network, torch.randn(1, 3, 16, 16)), torch.tensor([1]))
    assert torch.isfinite(found.maps).all()


def planted(count=4, size=8):
    """Two classes: channel 0 or 2 in the first quarter, 1 or 3 in the last one, of random size."""
    images = torch.zeros(2 * count, 4, size, size)
    half = size // 2
    labels = torch.arange(2).repeat_interleave(count)
    for row, label in enumerate(labels.tolist()):
        images[row, 2 * label, :half, :half] = 1 + torch.rand(half, half)
        images[row, 2 * label + 1, half:, half:] = 1 + torch.rand(half, half)
    return images, labels


def test_factors_are_the_planted_channels():
    weight = torch.tensor([[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 2.0, -1.0]])
    network = open_network(weight)
    images, labels = planted()
    inputs = inputs_of(network, images)
    factors = fitted(DeepFeatureFactorization(), network, stream(network, images, labels))
    found = factors.attribute(inputs, labels).maps
    for row, label in enumerate(labels.tolist()):
        own = images[row, 2 * label : 2 * label + 2]
        direct = float((found[row] - own).abs().max())
        swapped = float((found[row] - own.flip(0)).abs().max())
        assert min(direct, swapped) < 1e-3

    ice = fitted(ICE(concepts=2), network, stream(network, images, labels))
    assert torch.allclose(ice.importance, torch.tensor([[3.0, 1.0], [2.0, -1.0]]), atol=1e-3)
    seen = ice.attribute(inputs, labels)
    logits = inputs.tokens.logits[torch.arange(8), labels]
    bias = network.head.bias[labels]
    assert torch.allclose(seen.contributions.sum(1) + bias, logits, atol=1e-3)
    assert torch.allclose(seen.maps[0, 0], images[0, 1], atol=1e-3)


def test_craft_finds_that_the_head_reads_one_concept_alone():
    weight = torch.tensor([[0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 1.0]])
    network = open_network(weight)
    images, labels = planted()
    explainer = CRAFT(concepts=2, patch_size=4, points=256)
    fitted(explainer, network, stream(network, images, labels))
    assert torch.allclose(explainer.importance[0], torch.tensor([1.0, 0.0]), atol=0.02)
    assert explainer.parts[0, explainer.chosen[0, 0]].argmax() == 1
    # Both parts are as strong, and one is read twice as much: 4 to 1 in variance.
    assert torch.allclose(explainer.importance[1], torch.tensor([0.8, 0.2]), atol=0.1)


def test_sobol_indices_of_a_sum_are_shares_of_variance():
    terms = torch.tensor([1.0, -2.0, 3.0, 0.0], dtype=torch.float64)
    points = design(4, 1024)
    first, mixed = points.first.double() @ terms, points.mixed.double() @ terms
    expected = terms.square() / terms.square().sum()
    assert torch.allclose(total_indices(first, mixed), expected, atol=0.02)
    assert total_indices(torch.ones(8), torch.ones(2, 8)).tolist() == [0.0, 0.0]
    assert torch.equal(points.mixed[1, :, 0], points.first[:, 0])
    assert torch.equal(points.mixed[1, :, 1], points.second[:, 1])


def test_all_principal_components_and_the_mean_are_the_logit():
    weight = torch.randn(2, 4)
    network = open_network(weight, k=4)
    images, labels = torch.randn(6, 4, 8, 8) + 1, torch.arange(2).repeat_interleave(3)
    explainer = PCADictionary(4, tokens=10_000)
    fitted(explainer, network, stream(network, images, labels))
    inputs = inputs_of(network, images)
    tokens = inputs.tokens.tokens.flatten(0, 1)
    assert torch.allclose(explainer.mean, tokens.mean(0), atol=1e-5)
    variance = explainer.encode(tokens).var(0)
    assert torch.allclose(variance, torch.linalg.eigvalsh(tokens.T.cov()).flip(0), atol=1e-4)
    lacking = weight @ explainer.mean
    assert torch.allclose(explainer.surrogate(inputs) + lacking, inputs.tokens.logits, atol=1e-4)


def test_principal_components_are_those_of_scikit_learn():
    package = pytest.importorskip("sklearn.decomposition")
    explainer, sample = PCADictionary(3), torch.randn(60, 6) * torch.arange(1, 7)
    explainer.learn(sample)
    theirs = package.PCA(3).fit(sample.numpy())
    codes = torch.from_numpy(theirs.transform(sample.numpy()))
    assert torch.allclose(explainer.encode(sample).abs(), codes.abs(), atol=1e-3)


def test_codes_of_semi_nmf_are_non_negative_least_squares(network):
    explainer = fitted(made("semi_nmf"), network, training(network))
    assert torch.allclose(explainer.dictionary.norm(dim=1), torch.ones(4), atol=1e-5)
    tokens = torch.randn(5, 8)
    for token, codes in zip(tokens, explainer.encode(tokens), strict=True):
        expected, _ = nnls(explainer.dictionary.T.double().numpy(), token.double().numpy())
        assert torch.allclose(codes.double(), torch.from_numpy(expected), atol=1e-2)


def test_a_token_has_the_code_of_its_nearest_centroid(network):
    explainer = fitted(made("kmeans"), network, training(network))
    token = explainer.dictionary[2] * 3
    assert torch.allclose(explainer.encode(token), torch.tensor([0.0, 0, 3, 0]), atol=1e-5)


def test_the_sparse_autoencoder_is_overcompletes():
    sae = expect_overcomplete()
    torch.manual_seed(0)
    true = normalize(torch.randn(10, 8), dim=1)
    codes = torch.rand(400, 10) * (torch.rand(400, 10) < 0.2)
    explainer = SparseAutoencoder(16, 3, epochs=60, batch_size=64, lr=1e-2)
    explainer.prepare(network_of(convolutions()))
    with torch.no_grad():
        tokens = codes @ true
        explainer.learn(tokens)
    found, again = explainer.encode(tokens), explainer.reconstruct(tokens)
    assert found.shape == (400, 16)
    assert again.shape == tokens.shape
    assert int((found > 0).sum(1).max()) <= 3
    assert (tokens - again).square().mean() < 0.3 * tokens.var(0).mean()
    assert torch.allclose(explainer.dictionary.norm(dim=1), torch.ones(16), atol=1e-4)

    model = explainer._trained((tokens - explainer.mean) / explainer.size)
    assert isinstance(model, sae.TopKSAE)
    _, expected = model.encode((tokens - explainer.mean) / explainer.size)
    assert torch.allclose(found, expected * explainer.size, atol=1e-4)


def test_epic_turns_mixed_channels_back_and_stays_exact():
    torch.manual_seed(3)  # others end where two channels share a direction
    mix, _ = torch.linalg.qr(torch.randn(6, 6))
    tokens = torch.zeros(40, 6, 8, 8)
    for row in range(40):  # each cell has one pure channel
        channel = torch.randint(6, (8, 8))
        tokens[row].scatter_(0, channel[None], 1 + torch.rand(1, 8, 8))
    images = torch.einsum("de,behw->bdhw", mix, tokens)
    labels = torch.arange(2).repeat_interleave(20)
    network = open_network(torch.randn(2, 6))
    explainer = EPIC(remainder=True)
    fitted(explainer, network, stream(network, images, labels, batch_size=7))
    before, after = explainer.purity.tolist()
    assert after > before + 0.05
    assert after > 0.95
    rotation = explainer.rotation.double()
    assert torch.allclose(rotation @ rotation.T, torch.eye(6).double(), atol=1e-5)
    # Rows are the planted directions, in any order.
    assert torch.allclose(
        (rotation @ mix.double()).abs().amax(1), torch.ones(6).double(), atol=0.05
    )
    assert explainer.exact
    assert explainer.maps_per_class == 3
    assert explainer.places == 2
    assert explainer.class_directions().shape == (2, 2, 6)
    inputs = inputs_of(network, images)
    found = explainer.attribute(inputs, labels)
    logits = inputs.tokens.logits[torch.arange(40), labels]
    exact = found.contributions.sum(1) + network.head.bias[labels]
    assert torch.allclose(exact, logits, atol=1e-5)
    assert torch.allclose(found.maps.mean((2, 3)), found.contributions, atol=1e-5)
    assert torch.allclose(explainer.surrogate(inputs), inputs.tokens.logits, atol=1e-5)
    assert not EPIC().exact


def test_mcd_projects_on_subspaces_and_the_complement_completes():
    torch.manual_seed(0)
    tokens, row = torch.randn(60, 10), torch.randn(10).double()
    bases = [basis.double() for basis in subspaces(tokens, 3, 2)]
    split = subspace_split(row, bases)
    feature = torch.randn(10).double()
    every = torch.cat(bases)
    coordinates = torch.linalg.lstsq(every.T, feature[:, None]).solution[:, 0]
    rest = feature
    for index, basis in enumerate(bases):
        own = basis.T @ coordinates[2 * index : 2 * index + 2]
        assert float(split[index] @ feature) == pytest.approx(float(row @ own), abs=1e-8)
        rest = rest - own
    assert float(split[3] @ feature) == pytest.approx(float(row @ rest), abs=1e-8)
    assert torch.allclose(every @ rest, torch.zeros(6).double(), atol=1e-8)

    network = open_network(torch.randn(2, 4))
    images, labels = planted()
    explainer = fitted(MCD(1, complement=True), network, stream(network, images, labels))
    assert explainer.maps_per_class == 3
    assert explainer.places == 2
    assert explainer.class_directions().shape == (2, 2, 4)
    inputs = inputs_of(network, images)
    assert torch.allclose(explainer.surrogate(inputs), inputs.tokens.logits, atol=1e-5)


def test_samples_depend_on_seed_and_images_alone(network):
    every = [sample_tokens(training(network, batch_size=size), 20) for size in (1, 4)]
    assert every[0].shape == (20, 8)
    assert torch.allclose(every[0], every[1], atol=1e-6)
    assert not torch.allclose(every[0], sample_tokens(training(network), 20, seed=1))
    assert len(sample_tokens(training(network), 10_000)) == 12 * 16


def test_options_that_cannot_be(network):
    with pytest.raises(PPNError, match="concepts of ice is 1, but 2 are shown"):
        ICE(concepts=1).prepare(network)
    with pytest.raises(PPNError, match="k of dff is 0"):
        DeepFeatureFactorization(k=0).prepare(network)
    with pytest.raises(PPNError, match="patch_size of craft is 64, but images have 16 pixels"):
        CRAFT().prepare(network)
    with pytest.raises(PPNError, match="active of sparse_autoencoder is 9"):
        SparseAutoencoder(concepts=8, active=9)
    with pytest.raises(DiscoveryError, match="kmeans has 192 patch tokens for 500 concepts"):
        fitted(KMeansDictionary(500), network, training(network))
    with pytest.raises(DiscoveryError, match="pca has 9 concepts for 8 channels"):
        fitted(PCADictionary(9), network, training(network))

"""`ppn.evaluate`: plain loaders, DataModules, and what it refuses."""

import numpy as np
import pytest
import timm
import torch
from torch.utils.data import DataLoader, TensorDataset

import ppn
from ppn.data.cub import CUBDataModule
from ppn.errors import DataError, PPNError
from ppn.explainers import CentreMaps, RandomMaps, control
from ppn.explainers.concepts.mcd import MCD
from ppn.explainers.control import RandomExact
from ppn.explainers.part_prototypes import PartPrototypes
from ppn.metrics import (
    Accuracy,
    Completeness,
    Consistency,
    DictionaryAgreement,
    DistinctPeaks,
    Fidelity,
    Stability,
    dictionary_agreement,
)
from tests import fakes
from tests.toys import CornerMass, LikeTheClass, OneCell


class Labelled(TensorDataset):
    """Images with labels that are listed, as torchvision's data sets have them."""

    def __init__(self, images, labels):
        super().__init__(images, labels)
        self.targets = labels.tolist()


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """A fitted network, and the data that it was fitted on."""
    data = CUBDataModule(str(fakes.cub(tmp_path_factory.mktemp("birds"))), num_workers=0)
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    return ppn.from_classifier(model, data, k=2), data


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.rand(9, 3, 160, 160), torch.arange(9) % 3


def batches(data, network, size):
    data.input_config = network.input_config
    view = data.view("test")
    return DataLoader(view, batch_size=size)


def test_a_loader_of_images_and_labels_is_enough(birds, images):
    network, _ = birds
    found = ppn.evaluate(network, DataLoader(TensorDataset(*images), batch_size=4))
    assert found.images == 9
    assert {"accuracy", "agreement", "distinct_peaks"} <= set(found.scores)
    assert "consistency" not in found.scores
    assert found.scores["agreement"] == 1.0
    low, high = found.intervals["distinct_peaks"]
    assert low <= found.scores["distinct_peaks"] <= high
    assert "Distinct peaks" in str(found)


@pytest.mark.parametrize("size", [1, 4])
def test_annotations_in_batches_are_used_whatever_the_batch_size(birds, size):
    network, data = birds
    whole = ppn.evaluate(network, data)
    parts = ppn.evaluate(network, batches(data, network, size), part_names=data.part_names)
    assert set(parts.scores) == set(whole.scores) >= {"consistency", "stability"}
    for key, score in whole.scores.items():
        assert parts.scores[key] == pytest.approx(score, abs=1e-5), key
    assert parts.prototypes() == [pytest.approx(row, abs=1e-5) for row in whole.prototypes()]
    assert len(whole.prototypes()) == 6
    assert {"class", "prototype", "consistency", "stability"} <= set(whole.prototypes()[0])


def test_floors_are_scored_beside_it(birds):
    network, data = birds
    chosen = [CornerMass(), Stability()]
    found = ppn.evaluate(network, data, chosen)
    alone = ppn.evaluate(CentreMaps(), data, chosen, network=network)
    assert found.floors["centre"] == alone.scores
    assert set(found.floors) == {"random", "centre", "uniform"}
    assert found.floor("stability") == 100
    assert "floor 100" in str(found)
    assert not alone.floors
    assert alone.floor("stability") is None
    without = ppn.evaluate(network, data, chosen, floors=False)
    assert not without.floors
    assert without.figures == found.figures


def test_only_what_is_asked_for_is_measured(birds):
    network, data = birds
    found = ppn.evaluate(OneCell(cell=0), data, [CornerMass(weight=0.5)], network=network)
    assert found.scores == {"corner_mass": 0.5}
    assert found.metrics["corner_mass"]["constants"] == {"weight": 0.5}
    assert found.about["kind"] == "control"


def test_maps_alone_have_no_accuracy_of_their_own(birds):
    network, data = birds
    chosen = [Accuracy(), Fidelity(), DistinctPeaks()]
    maps = ppn.evaluate(RandomMaps(), data, chosen, network=network)
    assert set(maps.scores) == {"distinct_peaks"}
    exact = ppn.evaluate(RandomExact(), data, chosen, network=network)
    assert exact.scores["agreement"] == 1.0


def test_what_learns_is_given_training_images(birds, images):
    network, data = birds
    with pytest.raises(PPNError, match="learns from training images: give them with training="):
        ppn.evaluate(LikeTheClass(), data, network=network)
    plain = DataLoader(Labelled(*images), batch_size=4, shuffle=True)
    explainer = LikeTheClass()
    ppn.evaluate(explainer, data, [CornerMass()], network=network, training=plain)
    pooled = network.tokens(images[0]).pooled
    means = torch.stack([pooled[images[1] == label].mean(0) for label in range(3)])
    assert torch.allclose(explainer.means, means, atol=1e-5)
    assert "attribute" not in vars(explainer)


def test_mistakes_are_told_in_one_sentence(birds, images):
    network, data = birds
    pixels, labels = images
    rows = torch.nn.functional.one_hot(labels, 3)
    for message, explainer, loader, options in (
        ("must know the classifier that it explains", OneCell(), data, {}),
        ("give an Explainer, or a fitted network", "cam", data, {}),
        ("batches hold 0 keypoints", network, [(pixels, labels)], {"part_names": ["beak"]}),
        ("gives no image", network, [], {}),
        ("gives label 5", network, [(pixels, labels + 5)], {}),
        ("give its number", network, [(pixels, rows)], {}),
        ("The loader is a data set", network, Labelled(*images), {}),
    ):
        with pytest.raises((PPNError, DataError), match=message):
            ppn.evaluate(explainer, loader, **options)
    unlisted = [(pixels, labels)]
    with pytest.raises(DataError, match="cannot be read class by class"):
        ppn.evaluate(LikeTheClass(), data, network=network, training=unlisted)


class Broken(OneCell):
    """Maps with a NaN for the last image of a batch."""

    def attribute(self, inputs, target):
        found = super().attribute(inputs, target)
        found.maps[-1, 0, 0, 0] = float("nan")
        return found


def test_a_remainder_has_values_but_for_metrics_of_places(birds, images):
    network, data = birds
    plain = DataLoader(Labelled(*images), batch_size=4)
    chosen = [Consistency(), Completeness()]
    found = ppn.evaluate(
        MCD(complement=True), data, chosen, network=network, training=plain, floors=False
    )
    rows = found.prototypes()
    assert len(rows) == 3 * (network.k + 1)
    for row in rows:
        assert np.isfinite(row["completeness_error"])
        assert np.isfinite(row["consistency"]) == (row["prototype"] < network.k)


def test_maps_that_are_no_numbers_have_no_score(birds):
    network, data = birds
    with pytest.raises(DataError, match=r"broken gives maps with NaN or infinity"):
        ppn.evaluate(Broken(), data, [CornerMass()], network=network)


def test_dictionaries_of_halves_are_compared_where_there_are_training_images(birds, images):
    network, data = birds
    plain = DataLoader(Labelled(*images), batch_size=4)
    chosen = [DictionaryAgreement(), DictionaryAgreement(halves=False), CornerMass()]
    found = ppn.evaluate(RandomExact(), data, chosen, network=network, training=plain)
    drawn = [
        control.random_exact(network.classifier.effective_head()[0], 2, seed) for seed in (0, 1)
    ]
    expected = float(dictionary_agreement(*drawn).mean())
    assert found.scores["dictionary_agreement"] == pytest.approx(expected)
    assert found.scores["dictionary_agreement_halves_false"] == pytest.approx(expected)
    fitted = ppn.evaluate(PartPrototypes(), data, chosen[:2], network=network, training=plain)
    assert -1 <= fitted.scores["dictionary_agreement"] <= 1
    assert fitted.scores["dictionary_agreement_halves_false"] == pytest.approx(1, abs=1e-4)
    assert len(fitted.prototypes()) == 6
    assert not ppn.evaluate(network, data, chosen, network=network).scores.keys() & {
        "dictionary_agreement"
    }


def test_it_measures_what_the_metric_measures_alone(birds):
    network, data = birds
    metric = Consistency().setup(_shape(network, data))
    for batch in batches(data, network, 2):
        maps = network.head.maps(network.tokens(batch["image"]), batch["label"])
        metric.update(maps, batch["keypoints"], batch["label"])
    expected = metric.compute()
    found = ppn.evaluate(network, data, [Consistency()])
    assert found.scores["consistency"] == pytest.approx(float(expected.score))
    assert np.allclose(found.values["consistency"].prototypes, 100.0 * expected.consistent)


def _shape(network, data):
    from ppn.metrics import EvaluationShape

    return EvaluationShape(3, network.k, data.part_names, network.input_config.size[0])

"""Explanations as FiftyOne's samples, with a stand-in that has its documented classes."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from ppn.errors import DataError, MissingPackageError
from ppn.explanation.fiftyone import FiftyOneSamples
from tests.explanation.test_record import explanation


class Label(SimpleNamespace):
    pass


class Sample(dict):
    def __init__(self, filepath):
        super().__init__(filepath=filepath)


class Dataset(list):
    made: ClassVar[dict] = {}

    def __init__(self, name, persistent):
        self.made[name] = self
        self.persistent = persistent

    def add_samples(self, samples):
        self.extend(samples)


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setattr(Dataset, "made", {})
    kinds = dict.fromkeys(("Classification", "Detection", "Detections", "Heatmap"), Label)
    found = SimpleNamespace(
        Sample=Sample, Dataset=Dataset, dataset_exists=lambda name: name in Dataset.made, **kinds
    )
    monkeypatch.setitem(sys.modules, "fiftyone", found)
    return found


def test_a_sample_has_what_the_explanation_says(library, tmp_path):
    given = explanation(true_class="auk")
    samples = FiftyOneSamples("birds", tmp_path)
    samples.add(given)
    samples.add(given)
    dataset = samples.finish()
    assert dataset.persistent
    assert len(dataset) == 2
    sample = dataset[1]
    assert np.array_equal(np.asarray(Image.open(sample["filepath"])), np.asarray(given.image))
    assert (sample["explained"].label, sample["true"].label) == ("gull", "auk")
    assert sample["predicted"].confidence == 0.8
    assert sum(sample["contributions"]) + sample["bias"] == sample["logit"]
    first, _ = sample["parts"].detections
    assert (first.label, first.contribution) == ("Part 1", 2.0)
    assert first.bounding_box == pytest.approx([1 / 4, 2 / 3, 1 / 4, 1 / 3])
    heat = np.asarray(Image.open(sample["part_1"].map_path))
    assert heat.shape == (60, 90)
    assert heat.max() == 255
    assert np.asarray(Image.open(sample["part_2"].map_path)).max() == 0  # nothing speaks for it
    with pytest.raises(DataError, match="There is a FiftyOne dataset 'birds' already"):
        FiftyOneSamples("birds", tmp_path)


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'ppn\[fiftyone\]'"):
        FiftyOneSamples("birds", tmp_path)

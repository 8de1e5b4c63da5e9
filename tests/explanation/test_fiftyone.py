"""Explanations as FiftyOne's samples, with a stand-in that has its documented classes.

And with FiftyOne itself, where it is installed and has a database: its own, that of
FIFTYONE_DATABASE_URI, or secantusdb, a server that a wheel carries
(`pip install fiftyone secantusdb 'graphql-core<3.3'`).
"""

import importlib.util
import os
import sys
import uuid
from contextlib import nullcontext
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


@pytest.fixture
def fiftyone(tmp_path, monkeypatch):
    if importlib.util.find_spec("fiftyone") is None:
        pytest.skip("fiftyone is not installed")
    database = nullcontext()
    if "FIFTYONE_DATABASE_URI" not in os.environ and importlib.util.find_spec("secantus"):
        database = importlib.import_module("secantus").SecantusDBServer(
            storage_path=str(tmp_path / "database")
        )
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    with database as server:
        if server is not None:
            monkeypatch.setenv("FIFTYONE_DATABASE_URI", server.uri)
        try:
            library = importlib.import_module("fiftyone")
            library.list_datasets()
        except Exception as error:  # whatever becomes of a database that is not there
            pytest.skip(f"fiftyone has no database ({error})")
        yield library


def test_the_package_itself_keeps_and_filters_them(fiftyone, tmp_path):
    given, name = explanation(true_class="auk"), f"ppn-test-{uuid.uuid4().hex}"
    samples = FiftyOneSamples(name, tmp_path)
    samples.add(given)
    try:
        samples.finish()
        dataset = fiftyone.load_dataset(name)
        assert dataset.persistent
        sample = dataset.first()
        assert np.array_equal(np.asarray(Image.open(sample.filepath)), np.asarray(given.image))
        assert sample.predicted.confidence == 0.8
        assert sum(sample.contributions) + sample.bias == sample.logit
        first, second = sample.parts.detections
        assert (first.contribution, second.contribution) == given.contributions
        assert first.bounding_box == pytest.approx([1 / 4, 2 / 3, 1 / 4, 1 / 3])
        assert np.asarray(Image.open(sample.part_1.map_path)).max() == 255
        strong = fiftyone.ViewField("contribution") > 1.75
        (left,) = dataset.filter_labels("parts", strong).first().parts.detections
        assert left.label == "Part 1"
        with pytest.raises(DataError, match="There is a FiftyOne dataset"):
            FiftyOneSamples(name, tmp_path)
    finally:
        if fiftyone.dataset_exists(name):
            fiftyone.delete_dataset(name)

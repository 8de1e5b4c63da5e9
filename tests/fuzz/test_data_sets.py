"""Lists and annotations of every data set."""

import json
import math
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.sets import SETS
from tests.fuzz.damage import damaged, outcome, rewritten

LISTS = (".txt", ".json", ".csv", ".mat", ".xml")
TEXT = ["cub", "nabirds", "cars_folders", "aircraft", "pets", "funnybirds", "food", "imagenet"]
TEXT += ["folder_table"]
MATLAB = ["cars", "dogs", "flowers"]


def lists_of(root):
    return sorted(p for p in root.parent.rglob("*") if p.suffix in LISTS)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    base = tmp_path_factory.mktemp("sets")
    return {
        name: SETS[name].write(base / name / SETS[name].folder, train=2, test=1)
        for name in [*TEXT, *MATLAB]
    }


def check(source):
    """What holds for every data set that was accepted."""
    assert all(isinstance(name, str) and name for name in source.class_names)
    assert ((source.labels >= 0) & (source.labels < len(source.class_names))).all()
    for index in range(len(source)):
        name = source.name(index)
        path = PurePosixPath(name.replace("\\", "/"))
        assert not path.is_absolute()
        assert ".." not in path.parts
        name.encode()


def read_all(fake, root):
    data = fake.build(root)
    for source in (data.train_source, data.test_source):
        check(source)
    for source in (data.train_source, data.test_source):
        for index in range(len(source)):
            sample = source.read(index)
            source.mask(index)
            if sample.box is not None:
                assert sample.box.shape == (4,)
                assert all(map(math.isfinite, sample.box))
    return data


def damage_one_list(root, fake, data):
    files = lists_of(root)
    file = files[data.draw(st.integers(0, len(files) - 1))]
    whole = file.read_bytes()
    try:
        contents = damaged(whole)
        if file.suffix == ".json":
            contents |= rewritten(json.loads(whole)).map(lambda c: json.dumps(c).encode())
        file.write_bytes(data.draw(contents))
        outcome(lambda: read_all(fake, root), root, root.resolve(), "Test image", "Image")
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("name", TEXT)
@given(st.data())
def test_damaged_lists(roots, name, data):
    damage_one_list(roots[name], SETS[name], data)


@pytest.mark.parametrize("name", MATLAB)
@settings(max_examples=max(4, settings.default.max_examples // 10))  # a process for each file
@given(st.data())
def test_damaged_matlab_files(roots, name, data):
    damage_one_list(roots[name], SETS[name], data)


def test_every_fake_is_whole(roots):
    for name, root in roots.items():
        assert lists_of(root)
        read_all(SETS[name], root)

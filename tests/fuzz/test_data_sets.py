"""Lists and annotations of every data set."""

import math
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.sets import SETS
from tests.fuzz.damage import damaged, outcome

LISTS = (".txt", ".json", ".csv", ".mat", ".xml")
NAMES = [name for name, fake in SETS.items() if fake.write is not None]


def lists_of(root):
    return sorted(p for p in root.parent.rglob("*") if p.suffix in LISTS)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    base = tmp_path_factory.mktemp("sets")
    made = {
        name: SETS[name].write(base / name / SETS[name].folder, train=2, test=1) for name in NAMES
    }
    return {name: root for name, root in made.items() if lists_of(root)}


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


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_damaged_lists(roots, name, data):
    if name not in roots:
        return
    root, fake = roots[name], SETS[name]
    files = lists_of(root)
    file = files[data.draw(st.integers(0, len(files) - 1))]
    whole = file.read_bytes()
    try:
        file.write_bytes(data.draw(damaged(whole)))
        outcome(lambda: read_all(fake, root), root, root.resolve())
    finally:
        file.write_bytes(whole)


def test_every_fake_is_whole(roots):
    for name, root in roots.items():
        assert isinstance(root, Path)
        read_all(SETS[name], root)

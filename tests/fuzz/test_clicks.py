"""Clicked points: CSV and COCO files."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppn.data.clicks import read_clicks
from ppn.data.coco_keypoints import read_coco_keypoints
from tests.data.test_coco_keypoints import COCO
from tests.fuzz.damage import damaged, outcome, rewritten

CSV = b'image,part,x,y\na/1.png,head,12.5,30.0\na/1.png,tail,,\n"b, 2.png",head,1.0,2.0\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clicks")


def check(clicks):
    """What holds for every file that was accepted."""
    if clicks is None:
        return
    assert len(set(clicks.names)) == len(clicks.names)
    assert clicks.points.shape == (len(clicks.names), len(clicks.part_names), 3)
    assert np.isfinite(clicks.points).all()
    assert (clicks.points >= 0).all()
    assert clicks.answered.any(1).all()
    assert clicks.answered[clicks.points[..., 2] > 0].all()


@pytest.mark.filterwarnings("ignore:The last line of")
@given(damaged(CSV) | st.integers(0, len(CSV)).map(lambda end: CSV[:end]))
def test_damaged_clicks(folder, content):
    path = folder / "clicks.csv"
    path.write_bytes(content)
    check(outcome(lambda: read_clicks(path), path))


@given(damaged(json.dumps(COCO).encode()) | rewritten(COCO).map(lambda c: json.dumps(c).encode()))
def test_damaged_coco_keypoints(folder, content):
    path = folder / "coco.json"
    path.write_bytes(content)
    check(outcome(lambda: read_coco_keypoints(path), path))

"""The record of one explained image."""

import json
import os
import pickle
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ppn.classifier.head_case import WORDS, HeadInspection
from ppn.errors import DataError
from ppn.explanation.record import ClassImages, Explanation, Patch, Ranked


def inspection(case="mean_linear", **found):
    return HeadInspection(case, "NCHW", 0, 0, None, 0, ("fc",), ("all",), (1.0,), **found)


def explanation(**changes):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8))
    first = np.zeros((3, 4), np.float32)
    first[2, 1] = 2.0
    given = Explanation(
        image=photo,
        name="photos/gull.jpg",
        label=1,
        class_name="gull",
        logit=3.0,
        bias=-0.5,
        contributions=(2.0, 1.5),
        maps=(first, np.full((3, 4), -1.0, np.float32)),
        patches=(Patch(photo, (0.0, 0.0, 30.0, 30.0), 4.5, "train/7.jpg"), None),
        ranking=(Ranked(1, "gull", 3.0, 0.8), Ranked(0, "auk", 1.0, 0.2)),
        probability=0.8,
        inspection=inspection(),
    )
    return replace(given, **changes)


def test_the_residual_is_what_parts_and_bias_miss_of_the_logit():
    assert explanation().residual == 0
    assert explanation(logit=2.0).residual == 1.0


@pytest.mark.parametrize(("gap", "adds_up"), [(0.0, True), (1e-5, True), (1e-2, False)])
def test_rounding_adds_up_and_more_does_not(gap, adds_up):
    # The size of the terms counts, not that of a logit in which they cancel out.
    found = explanation(contributions=(100.0, -99.0), bias=-1.0, logit=gap * 100)
    assert found.adds_up == adds_up
    assert ("do not add up" in found.check) != adds_up


def test_the_verdict_names_the_prediction_where_another_class_is_explained():
    assert explanation().verdict.startswith("predicted with 80")
    other = explanation(label=0, class_name="auk", probability=0.2)
    assert other.verdict.startswith("20")
    assert other.verdict.endswith("predicted: gull")


@pytest.mark.parametrize("case", WORDS)
def test_notes_say_what_is_exact_in_the_words_of_the_head_case(case):
    found = explanation(inspection=inspection(case), scale=0.25)
    assert found.notes[0] == found.inspection.exactness
    assert found.notes[1] == found.check
    assert ("1/s = 0.25" in " ".join(found.notes)) == (case == "mean_norm_linear")
    assert len(set(found.notes)) == len(found.notes) == 2 + (case == "mean_norm_linear")


def test_everything_but_pictures_survives_json():
    content = explanation(true_class="auk").to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    first, second = content["prototypes"]
    assert sum(p["contribution"] for p in content["prototypes"]) + content["bias"] == 3.0
    assert (first["prototype"], first["contribution"]) == (1, 2.0)
    # Row 2 of 3 and column 1 of 4, in a picture of 90 x 60 pixels.
    assert first["peak"] == [33.75, 50.0]
    assert np.array_equal(first["map"], explanation().maps[0])
    assert first["nearest_patch"] == {"image": "train/7.jpg", "box": [0, 0, 30, 30], "score": 4.5}
    assert second["nearest_patch"] is None
    assert content["explained_class"] == {"label": 1, "name": "gull"}
    assert content["true_class"] == "auk"
    assert content["ranking"][1] == {"label": 0, "name": "auk", "logit": 1.0, "probability": 0.2}


def test_a_part_without_a_patch_leaves_its_place_empty():
    def height(patches):
        return explanation(patches=patches).picture().height

    patch = replace(explanation().patches[0], score=1.0)  # which the image is like
    assert height((patch, None)) == height((patch, patch)) > height((None, None))


@pytest.mark.parametrize(
    ("suffix", "begins"),
    [
        (".png", b"\x89PNG"),
        (".JPG", b"\xff\xd8"),
        (".webp", b"RIFF"),
        (".tiff", b"II*"),
        (".pdf", b"%PDF"),
        (".svg", b"<?xml"),
    ],
)
def test_the_suffix_chooses_the_format(tmp_path, suffix, begins):
    path = explanation().save(tmp_path / "new" / f"gull{suffix}")
    assert path.read_bytes().startswith(begins)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["gull.gif", "gull", "gull.ckpt"])
def test_other_suffixes_are_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name} is not the path of a picture: .*\.svg"):
        explanation().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_links_are_followed_and_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("old.png")
    assert explanation().save("~/link.png") == tmp_path / "link.png"
    assert (tmp_path / "link.png").is_symlink()
    with Image.open(tmp_path / "old.png") as picture:
        assert picture.width > 800


def test_what_is_no_regular_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        with pytest.raises(DataError, match=f"{name} is not a regular file"):
            explanation().save(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe.png").stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_explanation_can_be_sent_to_another_process():
    again = pickle.loads(pickle.dumps(explanation()))
    assert again.to_dict() == explanation().to_dict()
    assert np.array_equal(np.asarray(again.image), np.asarray(explanation().image))


def test_records_and_pages_need_no_torch():
    code = (
        "import sys, ppn.explanation.record, ppn.report.render\n"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ValueError, match="2 contributions, 1 maps and 2 patches"):
        explanation(maps=(np.zeros((3, 3)),))


def test_parts_are_sorted_and_those_that_carry_nothing_look_like_nothing():
    found = explanation(contributions=(0.04, 3.46))
    assert found.order == (1, 0)
    assert found.carries == (False, True)
    assert explanation(contributions=(-2.0, 5.5)).carries == (False, True)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.8, 0.2), ""),
        ((0.55, 0.45), "uncertain: gull 55"),
        ((0.3, 0.1), "uncertain: 30"),
        ((0.99, 0.97), ""),  # two labels at once, each with a sigmoid
    ],
)
def test_an_uncertain_prediction_comes_with_a_caution(shares, said):
    ranking = (Ranked(1, "gull", 3.0, shares[0]), Ranked(0, "auk", 1.0, shares[1]))
    found = explanation(ranking=ranking, probability=shares[0], patches=(None, None))
    assert said in found.caution
    assert bool(found.caution) == bool(said)
    assert (found.to_dict()["caution"] or "") == found.caution


@pytest.mark.parametrize(("least", "like"), [(0.4, True), (0.6, False), (0.0, True)])
def test_an_image_less_like_the_training_images_than_each_of_them_gets_a_caution(least, like):
    patch = replace(explanation().patches[0], score=2.0)
    found = explanation(patches=(patch, patch), training=ClassImages(12, least))
    assert found.likeness == pytest.approx(0.5)
    assert ("unlike the training images" in found.caution) != like
    assert ("each of the 12 training images" in found.caution) != like
    assert not explanation(patches=(patch, patch)).unlike
    edited = replace(found, edits=("part 1 of gull scaled by 2",))
    assert edited.likeness is None
    assert not edited.unlike
    # Where a map is not what the score of a patch is, nothing is claimed.
    assert explanation(patches=(patch, patch), inspection=inspection("pre_logits")).likeness is None
    assert explanation(patches=(patch, None)).likeness is None

"""The words for head cases."""

from dataclasses import asdict
from typing import get_args

import pytest

from ppn.classifier.head_case import WORDS, HeadCase, HeadInspection


def inspection(case, **changes):
    return HeadInspection(case, "NCHW", 0, 0, None, 0, ("fc",), ("all",), (1.0,), **changes)


def test_every_head_case_has_its_words():
    assert set(WORDS) == set(get_args(HeadCase))
    assert len({words.short for words in WORDS.values()}) == len(WORDS)
    for words in WORDS.values():
        assert all(text for name, text in asdict(words).items() if name != "factor")


@pytest.mark.parametrize("case", ["mean_linear", "mean_norm_linear", "pre_logits"])
def test_only_gradient_maps_tell_their_completeness_error(case):
    sentence = inspection(case, completeness_error=0.25).exactness
    assert sentence.startswith(WORDS[case].level.capitalize())
    assert ("completeness error 2.5e-01" in sentence) == (case == "pre_logits")
    assert "e-01" not in inspection(case).exactness


def test_only_a_normalised_head_has_a_factor():
    assert [case for case, words in WORDS.items() if words.factor] == ["mean_norm_linear"]
    assert "1/s = 0.125." in WORDS["mean_norm_linear"].factor.format(scale=0.125)


def test_patches_out_of_place_are_told_apart_from_a_class_token():
    found = HeadInspection(
        "mean_linear", "NCHW", 0, 0, None, 0, ("fc",), ("all",), (1.0,), places=0.25
    )
    assert found.indicative
    assert found.level == "contributions exact, maps indicative"
    assert "only 25% of the patches follow their region" in found.exactness
    assert "class token" not in found.exactness + found.words.limit + found.words.case

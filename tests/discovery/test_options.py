"""Options of discoverers and refinements, as a caller without types gives them."""

import numpy as np
import pytest

from ppn.discovery import NMF, KMeans, NamedParts
from ppn.errors import DiscoveryError
from ppn.refinement import Alpha, CamSplit, Unrefined


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NMF(seed=None), "seed of nmf is None, but must be a whole number"),
        (lambda: KMeans(seed=1.5), "seed of k_means is 1.5"),
        (lambda: NamedParts(images=2.5), "images of named_parts is 2.5, but must be a wh"),
        (lambda: NamedParts(entries=np.nan), "entries of named_parts is nan"),
        (lambda: NMF(init="random"), "init of nmf is 'random': choose one of 'kmeans', 'nndsvda'"),
        (lambda: NMF(token_weighting=None), "token_weighting of nmf is None"),
        (lambda: Alpha("ridge"), "alpha_solver of alpha is 'ridge'"),
        (lambda: Unrefined("ridge"), "alpha_solver of unrefined is 'ridge'"),
        (lambda: CamSplit(0.0), "ridge of cam_split is 0.0, but must be positive"),
    ],
)
def test_options_that_cannot_be_are_told_before_any_image_is_read(make, message):
    with pytest.raises(DiscoveryError, match=message):
        make()


def test_whole_numbers_of_numpy_are_seeds_and_names_tell_what_was_changed():
    assert type(NamedParts(images=np.int64(3)).images) is int
    assert NMF(seed=np.int64(3)).name == "nmf(seed=3)"
    assert CamSplit().name == "cam_split"
    assert CamSplit(ridge=1.0).name == "cam_split(ridge=1.0)"

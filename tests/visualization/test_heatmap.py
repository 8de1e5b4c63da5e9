import itertools

import numpy as np
import pytest
from PIL import Image

from ppn.visualization.heatmap import crop_patch, overlay
from ppn.visualization.palette import IDENTITY, identity_colour, ink_on, scale

GREY = Image.new("RGB", (64, 64), (128, 128, 128))


def saturation(image):
    pixels = np.asarray(image, np.int64)
    return pixels.max(axis=-1) - pixels.min(axis=-1)


def peak(value, side=7):
    grid = np.zeros((side, side), np.float32)
    grid[side // 2, side // 2] = value
    return grid


@pytest.mark.parametrize("hue", [None, IDENTITY[1]])
def test_the_map_is_coloured_at_its_peak_and_nowhere_else(hue):
    drawn = saturation(overlay(GREY, peak(1.0), (64, 64), hue=hue))
    assert drawn[32, 32] > 30
    assert drawn[0, 0] == 0


def test_negative_values_darken_and_have_no_colour():
    drawn = overlay(GREY, -peak(1.0), (64, 64), hue=IDENTITY[0])
    pixels = np.asarray(drawn)
    assert pixels[32, 32].max() < pixels[0, 0].min() - 30
    # Bicubic upsampling overshoots to faintly positive values beside the peak.
    assert saturation(drawn)[28:36, 28:36].max() == 0


def test_a_shared_scale_makes_a_weak_map_faint():
    strong = saturation(overlay(GREY, peak(0.2), (64, 64), hue=IDENTITY[1]))
    faint = saturation(overlay(GREY, peak(0.2), (64, 64), shared_max=1.0, hue=IDENTITY[1]))
    assert faint.max() < strong.max() / 2


@pytest.mark.parametrize("grid", [np.zeros((7, 7)), np.full((7, 7), np.nan), np.ones((1, 1))])
def test_odd_maps_are_drawn(grid):
    assert overlay(GREY, grid, (50, 40)).size == (50, 40)


def test_a_patch_at_the_edge_keeps_its_size():
    image = Image.new("RGB", (100, 80))
    assert crop_patch(image, (-20, -20, 20, 20)).size == (40, 40)
    assert crop_patch(image, (90, 70, 110, 90), context=0.5).size == (40, 40)
    assert crop_patch(image, (0, 0, 500, 500)).size == (100, 80)
    assert crop_patch(image, (5, 5, 5, 5)).size == (1, 1)


def test_ten_identity_colours_differ_and_carry_readable_text():
    assert len(set(IDENTITY)) == 10
    assert identity_colour(10) == IDENTITY[0]
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in IDENTITY])
    assert min(np.abs(a - b).sum() for a, b in itertools.combinations(colours, 2)) > 60
    assert ink_on("#ffffff") != ink_on("#000000") == "#ffffff"


@pytest.mark.parametrize("hue", [None, *IDENTITY])
def test_scales_grow_lighter_all_the_way(hue):
    luma = scale(hue) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma) > -1e-3).all()
    assert luma[-1] - luma[0] > 0.15

"""The pictures of the documentation, as far as they need no trained network."""

import numpy as np
import torch

from experiments.gallery import BODY, OUTLINE, PAPER, SIDE, drawn
from experiments.method import strongest


def test_a_bird_is_drawn_from_its_visible_points_alone():
    turn = np.linspace(0, 2 * np.pi, len(OUTLINE), endpoint=False)
    points = np.stack([32 + 12 * np.cos(turn), 32 + 12 * np.sin(turn), np.ones(len(turn))], 1)
    hidden = np.array([[60, 4, 0]])
    bird = drawn(np.concatenate([points, hidden]), [*OUTLINE, "left eye"], 64)
    assert bird.size == (SIDE, SIDE)

    def colour(x, y):
        return "#{:02x}{:02x}{:02x}".format(*bird.getpixel((x, y)))

    assert colour(SIDE // 2, SIDE // 2) == BODY
    assert colour(560, 38) == PAPER  # the hidden eye
    assert colour(10, 590) == PAPER


def test_every_row_has_its_largest_columns():
    values = torch.tensor([[9.0, 8, 0, 0, -7, 1], [9, 0, 0, 6, 0, -5]])
    assert strongest(values, 4).tolist() == [0, 1, 3, 5]

import numpy as np
import pytest
import torch
from PIL import Image

from ppn.data.dataset import Annotated
from ppn.data.transforms import Transform
from ppn.types import InputConfig

RECIPES = ["none", "flip", "standard"]
CONFIG = InputConfig((96, 96), (0.5,) * 3, (0.5,) * 3, "bilinear", 0.875)


def marked(width=200, height=150, at=(120, 60)):
    """A dark image with a bright square around one keypoint."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x, y = at
    pixels[y - 4 : y + 5, x - 4 : x + 5] = 255
    points = np.array([[x + 0.5, y + 0.5, 1.0], [2.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    return Annotated(Image.fromarray(pixels), np.array([80.0, 30.0, 180.0, 130.0]), points)


def centre_of_light(image):
    light = (image.mean(0) + 1).clamp(min=0)
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    return (light * x).sum() / light.sum(), (light * y).sum() / light.sum()


@pytest.mark.parametrize("crop", ["frame", "box"])
@pytest.mark.parametrize("augmentation", ["none", "flip", "standard"])
def test_keypoints_follow_the_pixels(crop, augmentation):
    transform = Transform(CONFIG, crop, augmentation)
    found = 0
    for seed in range(12):
        torch.manual_seed(seed)
        image, keypoints, _, _ = transform(marked())
        if keypoints[0, 2] and keypoints[0, :2].min() > 8 and keypoints[0, :2].max() < 88:
            x, y = centre_of_light(image)
            assert abs(x - keypoints[0, 0]) < 1.0
            assert abs(y - keypoints[0, 1]) < 1.0
            found += 1
    assert found >= 4


def test_frame_crop_hides_what_it_cuts_off_and_box_crop_does_not():
    _, frame, _, _ = Transform(CONFIG, "frame")(marked())
    _, box, _, _ = Transform(CONFIG, "box")(marked())
    assert frame[:, 2].tolist() == [1, 0, 0]
    assert box[:, 2].tolist() == [1, 1, 0]  # protocol evalprotopnet-2023 counts every part
    assert box[1, 0] < 0


def test_box_crop_is_the_protocols_arithmetic():
    config = InputConfig((224, 224))
    rng = np.random.default_rng(0)
    for _ in range(50):
        x0, y0 = rng.integers(0, 100, 2)
        width, height = rng.integers(20, 100, 2)
        points = np.column_stack(
            [x0 + rng.integers(0, width, 40), y0 + rng.integers(0, height, 40), np.ones(40)]
        ).astype(float)
        box = np.array([x0, y0, x0 + width, y0 + height], float)
        sample = Annotated(Image.new("RGB", (220, 210)), box, points)
        _, keypoints, _, _ = Transform(config, "box")(sample)
        for moved, (x, y, _) in zip(keypoints.tolist(), points, strict=True):
            # In integers, as Python's int() truncates the exact quotient.
            assert int(moved[0]) == 224 * int(x - x0) // int(width)
            assert int(moved[1]) == 224 * int(y - y0) // int(height)


def test_the_box_moves_along_and_stays_inside():
    _, _, whole, _ = Transform(CONFIG, "box")(marked())
    assert torch.allclose(whole, torch.tensor([0.0, 0.0, 96.0, 96.0]))
    for seed in range(10):
        torch.manual_seed(seed)
        _, _, box, _ = Transform(CONFIG, "frame", "standard")(marked())
        assert (box[2:] >= box[:2]).all()
        assert box.min() >= 0
        assert box.max() <= 96


def test_evaluation_follows_the_backbones_config():
    image = Image.new("RGB", (300, 200), (255, 128, 0))
    config = InputConfig((64, 64), (0.2, 0.3, 0.4), (0.1, 0.2, 0.5), "bicubic", 0.8)
    pixels, keypoints, box, _ = Transform(config)(Annotated(image))
    assert pixels.shape == (3, 64, 64)
    expected = [(1 - 0.2) / 0.1, (128 / 255 - 0.3) / 0.2, (0 - 0.4) / 0.5]
    assert torch.allclose(pixels[:, 30, 30], torch.tensor(expected), atol=1e-4)
    assert keypoints.shape == (0, 3)
    assert box.tolist() == [0, 0, 64, 64]


def test_rectangular_inputs():
    pixels, _, _, _ = Transform(InputConfig((64, 96)))(marked())
    assert pixels.shape == (3, 64, 96)


def pair(at, side=17):
    """An image with a grey square, the same without, and the mask of the square."""
    rng = np.random.default_rng(0)
    bare = rng.integers(30, 60, (150, 200, 3), dtype=np.uint8)
    mask = np.zeros((150, 200), np.uint8)
    x, y = at
    mask[y - side // 2 : y + side // 2 + 1, x - side // 2 : x + side // 2 + 1] = 3
    shown = np.where(mask[..., None] > 0, 165, bare).astype(np.uint8)
    points = np.array([[x + 0.5, y + 0.5, 1.0]])
    box = np.array([x - 30.0, y - 25.0, x + 35.0, y + 30.0])
    return [Annotated(Image.fromarray(pixels), box, points, mask) for pixels in (shown, bare)]


def where_they_differ(first, second):
    """The pixels that the square changes, whatever was done to both images' colours."""
    difference = (first - second).abs().mean(0)
    return difference > 0.5 * difference.max()


@pytest.mark.parametrize("crop", ["frame", "box"])
@pytest.mark.parametrize("augmentation", RECIPES)
def test_mask_keypoint_and_box_stay_on_the_object(crop, augmentation):
    transform = Transform(CONFIG, crop, augmentation)
    found = 0
    for seed in range(40):
        both = []
        for sample in pair(at=(105, 70)):
            torch.manual_seed(seed)
            both.append(transform(sample))
        (image, points, box, mask), (other, *_) = both
        assert mask.shape == (96, 96)
        assert mask.dtype == torch.uint8
        assert set(mask.unique().tolist()) <= {0, 3, 255}
        x, y, visible = points[0].tolist()
        if not visible or min(x, y) < 20 or max(x, y) > 76:
            continue  # the square is cut
        square = where_they_differ(image, other)
        rows, columns = torch.nonzero(square, as_tuple=True)
        assert abs(columns.float().mean() + 0.5 - x) < 1.2
        assert abs(rows.float().mean() + 0.5 - y) < 1.2
        overlap = (square & (mask == 3)).sum() / (square | (mask == 3)).sum()
        assert overlap > 0.68  # a row and a column of 11: torchvision's nearest rounds down
        assert mask[int(y), int(x)] == 3
        assert box[0] <= columns.min() + 1
        assert box[1] <= rows.min() + 1
        assert box[2] >= columns.max()
        assert box[3] >= rows.max()
        found += 1
    assert found >= 15

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from ppn.data import augmentation as augmentations
from ppn.data.augmentation import RandAugment
from ppn.data.dataset import Annotated
from ppn.data.transforms import Transform
from ppn.types import InputConfig
from tests.data.markers import GEOMETRIC

RECIPES = ["none", "flip", "standard", "randaugment", "part_prototype"]
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
def test_mask_keypoint_and_box_stay_on_the_object(crop, augmentation, monkeypatch):
    # These two depend on the whole image, so that the square could not be found by comparing.
    left = {"equalize", "autocontrast"}
    kept = tuple(name for name in augmentations._OPERATIONS if name not in left)
    monkeypatch.setattr(augmentations, "_OPERATIONS", kept)
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


def test_the_skew_is_the_one_of_the_recipe():
    """Corners move by up to 0.2 sides: further than without the factor two, never beyond."""
    geometry = augmentations.random_geometry("part_prototype", (96, 96), "bilinear")
    (skew,) = [t for t in geometry.transforms if type(t).__name__ == "RandomPerspective"]
    corners = torch.tensor([[0.0, 0.0], [95.0, 0.0], [95.0, 95.0], [0.0, 95.0]])
    moves = []
    for seed in range(60):
        torch.manual_seed(seed)
        moved = skew(tv_tensors.KeyPoints(corners.clone(), canvas_size=(96, 96)))
        moves.append((moved - corners).abs().max().item() / 96)
    assert 0.15 < max(moves) < 0.22


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", augmentations._OPERATIONS)
def test_randaugment_refuses_nothing_and_colours_move_nothing(name, seed, monkeypatch):
    monkeypatch.setattr(augmentations, "_OPERATIONS", (name,))
    sample = pair(at=(105, 70))[0]
    mask = tv_tensors.Mask(torch.from_numpy(sample.mask))
    points = tv_tensors.KeyPoints(
        torch.tensor([[105.5, 70.5], [-3.0, 400.0]]).double(), canvas_size=(150, 200)
    )
    before = [sample.image, points.clone(), mask.clone()]
    torch.manual_seed(seed)
    for level in (0, 9, 30):
        image, moved, moved_mask = RandAugment(2, level)(sample.image, points, mask)
        assert image.mode == "RGB"
        assert image.size == (200, 150)
        assert isinstance(moved, tv_tensors.KeyPoints)
        assert moved.dtype == torch.float64
        assert moved_mask.shape == (150, 200)
        if name not in GEOMETRIC or level == 0:
            assert torch.allclose(moved, before[1])
            assert torch.equal(moved_mask, before[2])


@pytest.mark.parametrize("name", GEOMETRIC)
def test_randaugment_moves_points_and_masks_with_the_pixels(name, monkeypatch):
    monkeypatch.setattr(augmentations, "_OPERATIONS", (name,))
    sample = pair(at=(104, 77), side=9)[0]  # inside also at full strength
    directions = set()
    for seed in range(8):
        torch.manual_seed(seed)
        image, moved, mask = RandAugment(1, 30)(
            sample.image,
            tv_tensors.KeyPoints(torch.tensor([[104.5, 77.5]]).double(), canvas_size=(150, 200)),
            tv_tensors.Mask(torch.from_numpy(sample.mask)),
        )
        rows, columns = np.nonzero(np.array(image).mean(-1) > 110)
        found = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
        assert np.abs(moved[0].numpy() - found).max() < 1.0
        shown = np.array(image).mean(-1) > 110
        covered = mask.numpy() == 3
        assert (shown & covered).sum() / (shown | covered).sum() > 0.85
        # The middle of the image is (100, 75): rotations and shears move the square little.
        directions.add(tuple(np.sign(np.round(moved[0].numpy() - [104.5, 77.5], 3)).tolist()))
    assert len(directions) == 2  # both signs occur, and each moves


def test_what_comes_in_from_outside_is_unknown_in_masks():
    transform = Transform(CONFIG, "frame", "part_prototype")
    unknown = 0
    for seed in range(10):
        torch.manual_seed(seed)
        image, _, _, mask = transform(pair(at=(105, 70))[0])
        black = (image == -1).all(0)  # pixels of the fake are brighter than 0
        if black.sum() > 50:
            assert (mask[black] == 255).float().mean() > 0.9
            unknown += 1
    assert unknown >= 5
    _, _, _, mask = Transform(CONFIG, "frame", "standard")(pair(at=(105, 70))[0])
    assert 255 not in mask

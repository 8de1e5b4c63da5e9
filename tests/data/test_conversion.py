"""Every kind of image becomes the input that the loader's own preprocessing would give."""

import io
import random
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from ppn.data.conversion import Preprocessing, picture_of
from ppn.data.repeating import find_preprocessing
from ppn.data.source import Source
from ppn.data.transforms import Transform
from ppn.errors import DataError, PPNWarning
from ppn.types import InputConfig

SIZE = 32
CONFIG = InputConfig((SIZE, SIZE))
UNIT = InputConfig((SIZE, SIZE), (0.0,) * 3, (1.0,) * 3, "bilinear", 1.0)
HALF = T.Normalize([0.5] * 3, [0.5] * 3)
ORIENTATION = 0x0112


def photo(seed=0, size=(40, 48)):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(60, 120, (*size, 3), np.uint8)
    pixels[5:20, 10:30, seed % 3] = 230
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for label, name in enumerate("abc"):
        (folder / name).mkdir()
        for i in range(3):
            photo(3 * i + label).save(folder / name / f"{i}.png")
    return folder


def found(dataset, config=CONFIG, **options):
    source = Source(DataLoader(dataset, batch_size=4), config)
    return find_preprocessing(source, config, **options)


RESIZED = T.Resize((SIZE, SIZE))
TRANSFORMS = {
    "to tensor": T.Compose([RESIZED, T.ToTensor()]),
    "half": T.Compose([RESIZED, T.ToTensor(), HALF]),
    "crop": T.Compose([T.Resize(36), T.CenterCrop(SIZE), T.ToTensor(), HALF]),
    "v2": v2.Compose(
        [v2.ToImage(), v2.Resize((SIZE, SIZE)), v2.ToDtype(torch.float32, scale=True)]
    ),
    "function": lambda image: torch.from_numpy(
        np.array(image.resize((SIZE, SIZE)), np.float32).transpose(2, 0, 1) / 127.5 - 1
    ),
    "array": lambda image: np.array(image.resize((SIZE, SIZE)), np.float32) / 255,
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: data,
        lambda data: Subset(data, [4, 8, 2, 0, 1]),
        lambda data: ConcatDataset([Subset(data, [1, 5]), data]),
    ],
)
def test_files_go_through_the_transform_of_the_data_set(root, name, wrap):
    transform = TRANSFORMS[name]
    if name == "array":  # channels last, as the data set's collation expects them
        folder = ImageFolder(root, lambda image: transform(image).transpose(2, 0, 1))
    else:
        folder = ImageFolder(root, transform)
    preprocessing = found(wrap(folder))
    path = root / "b/1.png"
    own = folder[folder.samples.index((str(path), 1))][0]
    for image in (path, str(path), Image.open(path), np.asarray(Image.open(path))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels, _ = preprocessing(image)
        assert torch.allclose(pixels, torch.as_tensor(own), atol=1e-6)
    centre = 0.5 if name in ("half", "crop", "function") else 0.0
    assert preprocessing.config.mean == pytest.approx([centre] * 3, abs=1e-4)
    assert preprocessing.config.std == pytest.approx([centre or 1.0] * 3, abs=1e-4)


def test_a_wrapper_with_its_own_transform_is_followed(root):
    class Transformed(Dataset):
        def __init__(self, subset, transform):
            self.subset, self.transform = subset, transform

        def __len__(self):
            return len(self.subset)

        def __getitem__(self, index):
            image, label = self.subset[index]
            return self.transform(image), label

    inner = ImageFolder(root, RESIZED)
    data = Transformed(Subset(inner, [0, 4, 8]), T.Compose([T.ToTensor(), HALF]))
    pixels, _ = found(data)(root / "b/1.png")
    assert torch.equal(pixels, data[1][0])


def test_what_a_user_sets_on_a_subset_is_not_applied_and_not_taken(root):
    subset = Subset(ImageFolder(root, TRANSFORMS["half"]), [0, 4])
    subset.transform = TRANSFORMS["to tensor"]
    pixels, _ = found(subset)(root / "b/1.png")
    assert torch.equal(pixels, subset[1][0])


def test_a_transform_of_images_may_have_the_name_of_joint_ones(root):
    class Own(Hidden):
        transforms = TRANSFORMS["half"]

    data = Own(root, TRANSFORMS["half"], True)
    pixels, _ = found(data)(root / "a/0.png")
    assert torch.equal(pixels, data[0][0])


def test_a_reader_of_ones_own_opens_files(root):
    def read(path):
        return Image.open(path).convert("L")

    folder = ImageFolder(root, T.Compose([RESIZED, T.ToTensor()]), loader=read)
    config = InputConfig((SIZE, SIZE), (0.5,), (0.5,))
    pixels, _ = found(folder, config)(root / "c/2.png")
    assert torch.equal(pixels, folder[8][0])
    with pytest.raises(DataError, match="cannot be read by the data set's own loader"):
        found(folder, config)(root / "c/7.png")


def test_grey_classifiers_get_grey_pictures(root):
    digits = ListedDigits()
    config = InputConfig((28, 28), (0.5,), (0.5,))
    preprocessing = found(digits, config)
    assert preprocessing.config.mean == pytest.approx([0.1307], abs=1e-4)
    array = np.arange(28 * 28, dtype=np.int64).reshape(28, 28).astype(np.uint8)
    pixels, _ = preprocessing(np.stack([array] * 3, 2))
    assert torch.allclose(pixels, digits.transform(Image.fromarray(array)))


class ListedDigits(Dataset):
    transform = T.Compose([T.ToTensor(), T.Normalize((0.1307,), (0.3081,))])

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.transform(Image.new("L", (28, 28), 60 * index)), index % 2


@pytest.mark.parametrize(
    "step", [T.RandomHorizontalFlip(), T.ColorJitter(0.5), T.RandomCrop(SIZE, padding=4)]
)
def test_augmentation_cannot_be_repeated_and_that_is_said(root, step):
    folder = ImageFolder(root, T.Compose([RESIZED, step, T.ToTensor(), HALF]))
    source = Source(DataLoader(folder), CONFIG)
    assert source.shape() == (3, SIZE, SIZE)
    before = torch.get_rng_state(), random.getstate()
    preprocessing = find_preprocessing(source, CONFIG)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    with pytest.warns(PPNWarning, match="changed at random"):
        one, _ = preprocessing(root / "a/0.png")
    with pytest.warns(PPNWarning, match="transform="):
        again, _ = preprocessing(root / "a/0.png")
    assert torch.equal(one, again)


class Hidden(Dataset):
    """Whatever it does to images, it does not say."""

    def __init__(self, root, hide, listed):
        self.folder, self.hide = ImageFolder(root), hide
        if listed:
            self.samples = self.folder.samples

    def __len__(self):
        return len(self.folder)

    def __getitem__(self, index):
        image, label = self.folder[index]
        return self.hide(image), label


def test_what_a_data_set_hides_is_found_out_by_its_files(root):
    hidden = Hidden(root, T.Compose([T.Resize(64), T.CenterCrop(SIZE), T.ToTensor(), HALF]), True)
    preprocessing = found(hidden)
    with pytest.warns(PPNWarning, match="cannot be preprocessed as the loader"):
        preprocessing(root / "a/0.png")
    chosen = found(hidden, transform=hidden.hide)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, _ = chosen(root / "a/0.png")
    assert torch.equal(pixels, hidden[0][0])


def test_a_second_step_outside_of_the_transform_is_found_out(root):
    class Normalising(ImageFolder):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return HALF(image), label

    with pytest.warns(PPNWarning, match="cannot be preprocessed as the loader"):
        found(Normalising(root, TRANSFORMS["to tensor"]))(root / "a/0.png")


def test_a_wrapper_that_hides_its_step_is_found_out_by_the_files_that_it_wraps(root):
    imagenet = T.Compose([T.ToTensor(), T.Normalize(CONFIG.mean, CONFIG.std)])
    usual = found(Hidden(root, Transform(CONFIG).picture, False))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        usual(root / "a/0.png")
    cut = found(Hidden(root, T.Compose([T.CenterCrop(SIZE), imagenet]), False))
    with pytest.warns(PPNWarning, match="cannot be preprocessed as the loader"):
        cut(root / "a/0.png")


@pytest.mark.parametrize(
    ("mean", "std", "told"), [(0.5, 0.5, True), (0.48, 0.226, True), (0.45, 0.225, False)]
)
def test_steps_of_bytes_tell_another_normalisation_in_any_range(mean, std, told):
    images = T.ToTensor()(photo(size=(SIZE, SIZE)))[None]
    loader = [((images - mean) / std, torch.zeros(1, dtype=torch.long))]
    config = InputConfig((SIZE, SIZE), (0.45,) * 3, (0.225,) * 3)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        find_preprocessing(Source(loader, config), config)
    assert ["steps of another size" in str(warning.message) for warning in seen] == [True] * told


def bright(low, high):
    """A loader whose pixels fill a range."""
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 0, 1
    return [(images * (high - low) + low, torch.arange(4))]


NORMALISED = (-2.1, 2.6)


@pytest.mark.parametrize(
    ("pixels", "config", "words"),
    [
        ((0, 1), CONFIG, "0 to 1"),
        ((0.2, 0.9), CONFIG, "0 to 1"),
        ((0, 255), CONFIG, "0 to 255"),
        ((0, 255), UNIT, "0 to 255"),
        ((-1, 1), CONFIG, "-1 to 1"),
        (NORMALISED, UNIT, "-2.1 to 2.6"),
        (NORMALISED, InputConfig((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3), "-2.1 to 2.6"),
        (NORMALISED, CONFIG, None),
        ((-0.9, 0.9), CONFIG, None),  # dim, but nothing that only another range would give
        ((0, 1), UNIT, None),
        ((-1, 1), InputConfig((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3), None),
    ],
)
def test_pixels_that_contradict_the_config_are_told(pixels, config, words):
    source = Source(bright(*pixels), config)
    if words is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            find_preprocessing(source, config)(photo())
        return
    with pytest.warns(PPNWarning, match=f"pixels lie in {words}, but config") as told:
        preprocessing = find_preprocessing(source, config)
    assert told[0].filename == __file__  # the user's own line
    with pytest.warns(PPNWarning, match="transform="):
        preprocessing(photo())
    with warnings.catch_warnings():  # what is preprocessed already is not converted
        warnings.simplefilter("error")
        preprocessing(torch.zeros(3, SIZE, SIZE))


class Processor:
    """As Hugging Face's image processors: a batch, though of one."""

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, images, return_tensors=None):
        pixels = TRANSFORMS["half"](images)
        values = {"list": [pixels.numpy()], "tensors": [pixels], "batch": pixels[None]}
        return {"pixel_values": values[self.kind]}


class Album:
    """As albumentations: arrays by name."""

    def __call__(self, *, image):
        return {"image": TRANSFORMS["half"](Image.fromarray(image))}


GIVEN = {
    "transform": TRANSFORMS["half"],
    "processor of lists": Processor("list"),
    "processor of tensors": Processor("tensors"),
    "processor of batches": Processor("batch"),
    "named arrays": Album(),
    "arrays": T.Compose([T.ToPILImage(), TRANSFORMS["half"]]),
    "tensors": T.Compose([T.Resize((SIZE, SIZE)), T.ConvertImageDtype(torch.float32), HALF]),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_transform_may_be_given(name):
    preprocessing = find_preprocessing(Source(bright(-1, 1), CONFIG), CONFIG, transform=GIVEN[name])
    pixels, _ = preprocessing(photo())
    assert torch.allclose(pixels, TRANSFORMS["half"](photo()), atol=0.03)
    assert preprocessing.config.mean == pytest.approx([0.5] * 3, abs=1e-4)


def test_a_real_image_processor_is_taken():
    transformers = pytest.importorskip("transformers")
    size = {"height": SIZE, "width": SIZE}
    processor = transformers.ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    pixels, _ = Preprocessing(CONFIG, processor)(photo())
    expected = np.asarray(processor(photo(), return_tensors="np")["pixel_values"])[0]
    assert np.allclose(pixels, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image: image, "it gives Image"),
        (lambda image: 1 / 0, "division by zero"),
        (T.PILToTensor(), "it gives uint8"),
        (T.ToTensor(), r"shape \(3, 40, 48\), but the classifier takes \(3, 32, 32\)"),
    ],
)
def test_a_transform_that_does_not_fit_is_refused(transform, message):
    with pytest.raises(DataError, match=message) as error:
        Preprocessing(CONFIG, transform)(photo())
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="transform is a str"):
        Preprocessing(CONFIG, "resize")


GRADIENT = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))


def stored(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def turned():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return stored(photo(), exif=exif)


def transparent(mode):
    image = photo().convert("RGBA" if mode != "LA" else "LA")
    alpha = np.zeros((40, 48), np.uint8)
    alpha[:, 24:] = 255
    image.putalpha(Image.fromarray(alpha))
    return image.convert(mode)


def test_pictures_are_shown_upright():
    assert np.array_equal(
        np.array(picture_of(turned())), np.array(photo().rotate(-90, expand=True))
    )
    assert picture_of(turned().convert("L")).size == (40, 48)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa"])
def test_transparent_parts_are_white(mode):
    if mode == "PA":
        image = transparent("RGBA").quantize().convert("PA")
        image.putalpha(transparent("RGBA").getchannel("A"))
    else:
        image = transparent(mode)
    pixels = np.array(picture_of(image))
    assert (pixels[:, :24] == 255).all()
    assert (pixels[:, 24:] < 240).all()


def test_transparency_of_palettes_and_single_colours_is_white():
    palette = stored(transparent("RGBA").quantize())
    assert (np.array(picture_of(palette))[:, :20] == 255).all()
    one = Image.new("RGB", (4, 4), (10, 20, 30))
    assert (np.array(picture_of(stored(one, transparency=(10, 20, 30)))) == 255).all()


def test_every_mode_comes_out_as_the_same_colours():
    modes = [photo().convert(mode) for mode in ("CMYK", "YCbCr", "RGBX", "HSV")]
    for image in (photo().quantize(), *modes):
        shown = np.array(picture_of(image)).astype(int)
        assert np.abs(shown - np.array(photo())).mean() < 5


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_deep_pictures_and_arrays_neither_clip_nor_vanish(kind):
    deep = (GRADIENT.astype(np.int64) * 257).astype(kind)
    images = [Image.fromarray(deep)]
    if kind is np.uint16:
        images += [deep, stored(Image.fromarray(deep)), deep[..., None]]
    for image in images:
        shown = np.array(picture_of(image)).astype(int)
        assert np.abs(shown - GRADIENT[..., None]).max() <= 1


@pytest.mark.parametrize("value", [70000, -1])
def test_samples_of_unknown_range_are_refused(value):
    for image in (
        Image.fromarray(np.full((4, 4), value, np.int32)),
        Image.fromarray(np.full((4, 4), 0.5, np.float32)),
    ):
        with pytest.raises(DataError, match=r"cannot be converted to RGB \(its samples"):
            picture_of(image)


def test_arrays_of_every_shape_that_is_clear():
    whole = np.array(photo())
    alpha = np.dstack([whole, np.full((40, 48), 255, np.uint8)])
    for array in (whole, alpha, np.asfortranarray(whole), whole[::-1][::-1]):
        assert np.array_equal(np.array(picture_of(array)), whole)
    for array in (GRADIENT, GRADIENT[..., None]):
        assert np.array_equal(np.array(picture_of(array))[..., 1], GRADIENT)
    assert set(np.unique(np.array(picture_of(GRADIENT > 127)))) == {0, 255}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3)), "type float64"),
        (np.zeros((8, 8, 3), np.float32), "type float32"),
        (np.zeros((8, 8, 3), np.int64), "type int64"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"shape \(1, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (None, "is a NoneType"),
        (7, "is a int"),
        (b"bytes", "is a bytes|array of shape"),
        ({"image": 1}, "is a dict"),
        ("nowhere.png", "nowhere.png is missing"),
        ("~/nowhere.png", "/nowhere.png is missing"),
        (torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), "tensor of uint8"),
        (torch.zeros(3, SIZE, SIZE, dtype=torch.bool), "tensor of bool"),
        (torch.full((3, SIZE, SIZE), torch.nan), "holds NaN or infinity"),
        (torch.full((3, SIZE, SIZE), torch.inf), "holds NaN or infinity"),
        (torch.zeros(3, 10, 10), "tensor of shape"),
        (torch.zeros(2, 3, SIZE, SIZE), "tensor of shape"),
        (Image.new("RGB", (0, 5)), "cannot be"),
    ],
)
def test_what_is_not_an_image_is_refused_in_a_sentence(image, message):
    with pytest.raises(DataError, match=message) as error:
        Preprocessing(CONFIG)(image)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("empty", [torch.Tensor.to_sparse, lambda image: image.to("meta")])
def test_tensors_without_pixels_of_their_own_are_refused(empty):
    with pytest.raises(DataError, match="give a dense one"):
        Preprocessing(CONFIG)(empty(torch.zeros(3, SIZE, SIZE)))


def test_tensors_are_taken_as_they_are():
    tensor = torch.randn(3, SIZE, SIZE)
    for given in (tensor, tensor[None], tensor.double(), tensor.clone().requires_grad_()):
        pixels, name = Preprocessing(CONFIG)(given)
        assert torch.equal(pixels, tensor)
        assert (pixels.dtype, pixels.requires_grad, name) == (torch.float32, False, "image")


def test_a_truncated_picture_is_refused():
    file = io.BytesIO()
    photo(size=(200, 200)).save(file, "JPEG")
    with pytest.raises(DataError, match="cannot be converted"):
        picture_of(Image.open(io.BytesIO(file.getvalue()[:1000])))

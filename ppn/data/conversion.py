"""Whatever a user gives as an image, as the tensor that the classifier takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ppn.data.images import as_rgb, read_image
from ppn.data.transforms import Transform
from ppn.errors import DataError, PPNError, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.types import InputConfig

UserImage = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
"""What `explain` takes: a file, a picture, pixels, or what the classifier itself takes."""


class Preprocessing:
    """Turns an image into the classifier's input, the same way whatever kind of image it is.

    Args:
        config: Size, mean and standard deviation of the input.
        transform: What is done to a picture: torchvision's or albumentations' transform, a Hugging
            Face image processor, or any function from an RGB picture to a float tensor (C, H, W);
            None resizes and normalises as `config` says.
        read: Opens a file for `transform`; None opens it as upright RGB, transparent parts white.
        doubt: A sentence on why files may be preprocessed otherwise than the loader's images; it is
            a warning whenever a file, picture or array is converted.
    """

    def __init__(
        self,
        config: InputConfig,
        transform: Callable[..., Any] | None = None,
        read: Callable[[str], Any] | None = None,
        doubt: str | None = None,
    ) -> None:
        expect_transform(transform)
        self.config = config
        self.transform = transform
        self.read = read
        self.doubt = doubt

    def __call__(self, image: UserImage) -> tuple[Tensor, str]:
        """Return the input (C, H, W) in float32 and a name of the image.

        Args:
            image: A file; a PIL picture of any mode; an array (H, W), (H, W, 3) or (H, W, 4) of
                uint8; or a tensor (C, H, W) that is already what the classifier takes.

        Raises:
            DataError: If it is none of these, or cannot be read.
        """
        if isinstance(image, Tensor):
            return expected_input(image, self.config), "image"
        if self.doubt is not None:
            warn(self.doubt)
        if not isinstance(image, str | os.PathLike):
            return self.convert(picture_of(image)), "image"
        name = os.fspath(image)
        if self.read is not None and self.transform is not None:
            return self._transformed(self._opened(name)), name
        return self.convert(picture_of(name)), name

    def convert(self, picture: Image.Image) -> Tensor:
        """Return the input (C, H, W) for an RGB picture."""
        if self.transform is None:
            try:
                return self._plain.picture(picture)
            except (ValueError, RuntimeError, ZeroDivisionError) as error:
                raise DataError(
                    f"The image of {picture.width} x {picture.height} pixels cannot be resized "
                    f"({_reason(error)}): give a larger one."
                ) from None
        if self.config.channels != 1:
            return self._transformed(picture)
        try:  # a transform that makes it grey, or one for grey pictures
            return self._transformed(picture)
        except DataError:
            return self._transformed(picture.convert("L"))

    @cached_property
    def _plain(self) -> Transform:
        return Transform(self.config)

    def _opened(self, path: str) -> Any:  # noqa: ANN401 - whatever the data set's loader gives
        assert self.read is not None
        path = os.path.expanduser(path)
        try:
            return self.read(path)
        except PPNError:
            raise
        except Exception as error:
            raise DataError(
                f"Image {path} cannot be read by the data set's own loader ({_reason(error)}): "
                "check the path and the file."
            ) from None

    def _transformed(self, picture: Any) -> Tensor:  # noqa: ANN401 - or what `read` gives
        assert self.transform is not None
        given_instead, refused = [], []
        for attempt in _ways(self.transform, picture):
            try:
                given = _as_tensor(attempt())
            except Exception as error:  # a user's function raises whatever it stumbles over
                refused.append(_reason(error))
                continue
            if isinstance(given, Tensor) and given.is_floating_point():
                return expected_input(_channels_first(given, self.config), self.config, "transform")
            kind = given.dtype if isinstance(given, Tensor) else type(given).__name__
            given_instead.append(f"it gives {kind}".replace("torch.", ""))
        why = (given_instead or refused)[0]
        raise DataError(
            f"The transform does not make the classifier's input of a picture ({why}): give one "
            "that ends in a float tensor (C, H, W)."
        )


def expect_transform(transform: object) -> None:
    """Refuse what is neither a function nor None.

    Raises:
        DataError: If it is something else.
    """
    if transform is not None and not callable(transform):
        raise DataError(
            f"transform is a {type(transform).__name__}: give a function from a picture to the "
            "classifier's input."
        )


def picture_of(image: UserImage) -> Image.Image:
    """Return a file, a picture or an array as an upright RGB picture, transparent parts white.

    Raises:
        DataError: If it is none of these, or cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        path = os.path.expanduser(os.fspath(image))
        if os.path.isdir(path):
            raise DataError(f"Image {path} is a folder: give one of its files.")
        if not os.path.exists(path):
            raise DataError(f"Image {path} is missing: check the path.")
        return read_image(Path(path), upright=True)
    if not isinstance(image, Image.Image):
        image = _from_array(image)
    try:
        return as_rgb(image)
    except Exception as error:  # decoders raise whatever they stumble over
        raise DataError(
            f"The picture of mode {image.mode} cannot be converted to RGB ({_reason(error)}): "
            "convert it first."
        ) from None


def expected_input(tensor: Tensor, config: InputConfig, origin: str = "image") -> Tensor:
    """Return a tensor (C, H, W) or (1, C, H, W) as float32 (C, H, W).

    Args:
        tensor: What should be the classifier's input.
        config: What the classifier expects.
        origin: "image" for what the user gives, "transform" for what a transform gives.

    Raises:
        DataError: If it is of another type or shape, or not finite.
    """
    subject = "The image is a tensor" if origin == "image" else "The transform gives a tensor"
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.is_meta or tensor.layout != torch.strided:
        raise DataError(f"{subject} without pixels of its own (meta or sparse): give a dense one.")
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise DataError(
            f"{subject} of {kind}, but a tensor must be what the classifier takes: give a PIL "
            "picture or a uint8 array (H, W, 3) to have it resized and normalised."
        )
    expected = (config.channels, *config.size)
    if tensor.shape != expected:
        raise DataError(
            f"{subject} of shape {tuple(tensor.shape)}, but the classifier takes {expected}: give "
            "a PIL image to have it resized and normalised."
            if origin == "image"
            else f"{subject} of shape {tuple(tensor.shape)}, but the classifier takes {expected}: "
            "give the transform that the loader's images went through."
        )
    if not bool(tensor.isfinite().all()):
        raise DataError(f"{subject} that holds NaN or infinity: check how it was made.")
    return tensor.detach().float()


def _from_array(image: Any) -> Image.Image:  # noqa: ANN401 - whatever a user gives
    try:
        array = np.asarray(image)
    except Exception:
        array = np.empty((), dtype=object)
    if array.dtype == object or array.ndim == 0:
        raise DataError(
            f"The image is a {type(image).__name__}: give a file's path, a PIL picture, a uint8 "
            "array (H, W, 3), or a tensor."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    clear = array.dtype == np.uint8 or (array.ndim == 2 and array.dtype in (np.uint16, np.bool_))
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not (clear and shaped and array.size):
        raise DataError(
            f"The image is an array of shape {array.shape} and type {array.dtype}, but must be "
            "(H, W, 3) or (H, W) of uint8."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _ways(transform: Callable[..., Any], picture: Any) -> list[Callable[[], Any]]:  # noqa: ANN401
    """How a transform may want its picture: PIL's, by name as an array, an array, or a tensor."""
    ways = [lambda: transform(picture)]
    if isinstance(picture, Image.Image):
        array = np.array(picture)
        pixels = torch.from_numpy(np.atleast_3d(array)).permute(2, 0, 1)
        ways += [
            lambda: transform(image=array),
            lambda: transform(array),
            lambda: transform(pixels),
        ]
    elif isinstance(picture, np.ndarray):
        ways.append(lambda: transform(image=picture))
    return ways


def _as_tensor(given: Any) -> Any:  # noqa: ANN401 - what a transform gives
    if isinstance(given, Mapping):  # of albumentations, or of a Hugging Face image processor
        given = given["pixel_values"] if "pixel_values" in given else given["image"]
    if isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if isinstance(given, np.ndarray):
        given = torch.from_numpy(given)
    return given


def _channels_first(given: Tensor, config: InputConfig) -> Tensor:
    last = given.ndim == 3 and given.shape == (*config.size, config.channels)
    first = given.shape == (config.channels, *config.size)
    return given.permute(2, 0, 1) if last and not first else given


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

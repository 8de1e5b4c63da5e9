"""How a loader preprocesses its images, found in its data set and tried out."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ppn.data.conversion import Preprocessing
from ppn.data.wrapped import file_of, transform_of
from ppn.errors import DataError, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from ppn.data.source import Source
    from ppn.types import InputConfig

_REPEATS = 6
"""How often a transform must give the same: all but 3 % of those that flip by chance do not."""
_CLOSE = 0.05
"""Largest mean difference, in normalised units, of an image that was preprocessed alike."""
_NEAR = 0.25
"""The same where resizing may be another one."""
_FEW = 32
"""Values of pixels that are too few to tell their steps."""
_SHOWN = 16
"""Images whose pixels are looked at for their steps."""
_RESOLUTION = 1e-5
"""Differences of pixels below it are rounding."""


def find_preprocessing(
    source: Source, config: InputConfig, transform: Callable[..., Any] | None = None
) -> Preprocessing:
    """Return what makes of a file what the loader made of its own files.

    That is `transform` if it is given, else the transform of the loader's data set, which is tried
    on images whose files are known; else what `config` says. Mean and standard deviation of the
    config that comes with it are those of the transform, found by giving it black, grey and white.

    Args:
        source: The training images.
        config: What the classifier expects, at the size of the loader's images.
        transform: What the user says that files go through.

    Warns:
        PPNWarning: If the loader's pixels are not normalised as the config says.
    """
    if source.data is not None:
        return Preprocessing(config, transform)
    if transform is not None:
        chosen = Preprocessing(config, transform)
        with _same_chance():
            return Preprocessing(_normalised(chosen, config), transform)
    doubt = None
    found = transform_of(source.dataset, next(iter(source.sample()), 0))
    if found is not None:
        candidate = Preprocessing(config, _Steps(found.steps), found.read)
        with _same_chance():
            doubt = _trial(source, candidate)
            if doubt != _ELSEWISE:
                config = _normalised(candidate, config)
        if doubt is None:
            return Preprocessing(config, candidate.transform, candidate.read)
    strange = _strange_range(source.first, config)
    if doubt is None and strange is None:
        agrees = _agrees(source, Preprocessing(config), _NEAR, guess=True)
        doubt = _ELSEWISE if agrees is False else None
        strange = _strange_steps(source.first, config) if doubt is None else None
    if strange is not None:
        warn(strange)
    return Preprocessing(config, doubt=strange or doubt)


_ELSEWISE = (
    "Image files cannot be preprocessed as the loader preprocesses its own: give the loader's "
    "transform as transform=."
)
_RANDOM = (
    "The loader's images are changed at random, so image files cannot be preprocessed alike: give "
    "a loader without augmentation, or its transform without chance as transform=."
)


class _Steps:
    """Several transforms, one after the other."""

    def __init__(self, steps: list[Callable[[Any], Any]]) -> None:
        self.steps = steps

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the first one wants
        value = self.steps[0](*args, **kwargs)
        for step in self.steps[1:]:
            value = step(value)
        return value


def _trial(source: Source, candidate: Preprocessing) -> str | None:
    """Why a transform does not do to files what the loader does, or None."""
    height, width = 2 * np.array(candidate.config.size)
    noise = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )
    try:
        outcomes = [_converted(candidate, noise) for _ in range(_REPEATS)]
    except DataError:
        # It may be made for what the data set's own reader gives.
        return None if _agrees(source, candidate) else _ELSEWISE
    if any(not torch.equal(outcome, outcomes[0]) for outcome in outcomes[1:]):
        return _RANDOM
    return _ELSEWISE if _agrees(source, candidate) is False else None


def _agrees(
    source: Source, candidate: Preprocessing, most: float = _CLOSE, guess: bool = False
) -> bool | None:
    """Whether a file comes out as in the loader; None where no file is known, see `levels`."""
    found = None
    for index in source.sample():
        path = file_of(source.dataset, index, guess)
        shown = source.image(index)
        if path is None or shown is None:
            continue
        try:
            ours, _ = candidate(path)
        except DataError:
            found = False
            continue
        if float((ours - shown[0].float()).abs().mean()) <= most:
            return True
        found = False
    return found


def _normalised(preprocessing: Preprocessing, config: InputConfig) -> InputConfig:
    """The config with the mean and standard deviation that a transform applies."""
    height, width = config.size
    levels: list[Tensor] = []
    for grey in (0, 128, 255):
        picture = Image.new("RGB", (2 * width, 2 * height), (grey, grey, grey))
        try:
            pixels = _converted(preprocessing, picture).double().flatten(1)
        except DataError:
            return config
        if float(pixels.amax() - pixels.amin()) > 1e-3 and float(pixels.std(1).max()) > 1e-3:
            return config  # not a plain colour any more
        levels.append(pixels.mean(1))
    black, middle, white = levels
    span = white - black
    straight = (middle - black - span * 128 / 255).abs() <= 0.01 * span.abs()
    if bool((span <= 0).any()) or not bool(straight.all()):
        return config
    mean, std = (-black / span).tolist(), (1 / span).tolist()
    return replace(
        config,
        mean=tuple(round(value, 6) + 0.0 for value in mean),
        std=tuple(round(value, 6) for value in std),
    )


def _converted(preprocessing: Preprocessing, picture: Image.Image) -> Tensor:
    """A picture converted; at the input's own size where a transform neither resizes nor crops."""
    try:
        return preprocessing.convert(picture)
    except DataError:
        height, width = preprocessing.config.size
        return preprocessing.convert(picture.crop((0, 0, width, height)))


def _strange_range(images: Tensor, config: InputConfig) -> str | None:
    """Say so if pixels have the range of another normalisation than the config's, or None."""
    low, high = float(images.min()), float(images.max())
    black = min(-m / s for m, s in zip(config.mean, config.std, strict=True))
    white = max((1 - m) / s for m, s in zip(config.mean, config.std, strict=True))
    if low >= 0 and high <= 255 and high > max(1.5, 2 * white):
        found = "0 to 255"
    elif 0 <= low < high <= 1 and black < -0.5:
        found = "0 to 1"
    elif black < -1.2 and low >= -1 and high <= 1 and low < -0.99 and high > 0.99:
        found = "-1 to 1"
    elif black >= -1.2 and white <= 1.2 and -2.7 < low < 1.5 * black - 0.1 and high < 2.8:
        found = f"{low:.1f} to {high:.1f}"
    else:
        return None
    return _contradiction(f"lie in {found}", config)


def _strange_steps(images: Tensor, config: InputConfig) -> str | None:
    """Say so if pixels are bytes, but another normalisation than the config's made them so."""
    strange = False
    pixels = images[:_SHOWN].double().cpu().numpy()
    if not np.isfinite(pixels).all():
        return None  # told where they are read
    for channel, (mean, std) in enumerate(zip(config.mean, config.std, strict=True)):
        values = np.unique(np.round(pixels[:, channel] / _RESOLUTION)) * _RESOLUTION
        if not _FEW < len(values) <= 256:
            return None  # resized as real numbers, or drawn
        steps = np.diff(values) / np.diff(values).min()
        if np.abs(steps - steps.round()).max() > 0.1:
            return None
        grey = 255 * (values * std + mean)
        strange |= bool(np.abs(grey - grey.round()).max() > 0.25)
    if not strange:
        return None
    step = ", ".join(f"{value:.3g}" for value in config.std[:3])
    return _contradiction("have steps of another size", config, f" and std {step}")


def _contradiction(found: str, config: InputConfig, more: str = "") -> str:
    mean = ", ".join(f"{value:.3g}" for value in config.mean[:3])
    return (
        f"The loader's pixels {found}, but config normalises with mean {mean}{more}: give config, "
        "or the loader's transform as transform=."
    )


@contextmanager
def _same_chance() -> Iterator[None]:
    """Leave the random state of torch, numpy and Python as it is."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002

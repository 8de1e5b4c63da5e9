"""A user's function that says where parts are: a segmentation model, another network, anything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BATCH = 16
_FINEST = 64
"""Cells along a side of what is kept of its answer: tokens have fewer."""


class Teacher(ABC):
    """A function that has options, for YAML: a subclass is given by its class path.

    A plain function does as well; see `NamedParts`.

    Attributes:
        part_names: Name of each of the P parts.
    """

    part_names: Sequence[str]

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """Return where parts are.

        Args:
            images: (B, C, H, W) as the classifier sees them, normalised, where it is.

        Returns:
            (B, P, h, w) in [0, 1], probabilities at the places of any grid.
        """


def areas_of(teacher: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Ask a teacher where parts are.

    Args:
        teacher: From images (B, C, H, W) to probabilities (B, P, h, w).
        pixels: (m, C, H, W).

    Returns:
        (m, P, h, w) float32 in [0, 1], at most 64 x 64 cells.

    Raises:
        DiscoveryError: If it answers with something else.
    """
    name = name_of_teacher(teacher)
    if not callable(teacher):
        raise DiscoveryError(
            f"The teacher is a {type(teacher).__name__}: give a function from images to "
            "probabilities of parts."
        )
    found: list[Tensor] = []
    with torch.no_grad():
        for images in torch.split(pixels, _BATCH):
            answer: Any = teacher(images)
            right = isinstance(answer, Tensor) and answer.ndim == 4 and not answer.is_complex()
            if not right or len(answer) != len(images) or 0 in answer.shape:
                kind = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
                raise DiscoveryError(
                    f"Teacher {name} gives {kind} for images {tuple(images.shape)}: return a tensor"
                    " (images, parts, rows, columns) of probabilities."
                )
            if found and answer.shape[1] != found[0].shape[1]:
                raise DiscoveryError(
                    f"Teacher {name} tells of {found[0].shape[1]} parts on some images, and of "
                    f"{answer.shape[1]} on others: return the same ones for all."
                )
            answer = answer.detach().float()
            if not bool(((answer >= -1e-3) & (answer <= 1 + 1e-3)).all()):  # NaN neither
                raise DiscoveryError(
                    f"Teacher {name} gives values outside of 0 to 1: return probabilities, such as "
                    "a softmax or sigmoid of its scores."
                )
            height, width = (min(_FINEST, n) for n in (found[0] if found else answer).shape[2:])
            if answer.shape[2:] != (height, width):
                answer = torch.nn.functional.adaptive_avg_pool2d(answer, (height, width))
            found.append(answer.clamp(0, 1).cpu())
    return torch.cat(found)


def taught_names(teacher: object, count: int) -> list[str]:
    """Return the name of each part that a teacher tells of.

    Raises:
        DiscoveryError: If it names another number of them.
    """
    given = getattr(teacher, "part_names", None)
    given = range(count) if given is None else [given] if isinstance(given, str) else given
    names = [str(name) for name in given]
    if len(names) != count or len(set(names)) != count:
        raise DiscoveryError(
            f"Teacher {name_of_teacher(teacher)} has {len(names)} part_names for {count} parts: "
            "give each a name of its own."
        )
    return names


def name_of_teacher(teacher: object) -> str:
    """Return what a teacher is called in files: where its function or class is found."""
    made = teacher if hasattr(teacher, "__qualname__") else type(teacher)
    return f"{made.__module__}.{made.__qualname__}"

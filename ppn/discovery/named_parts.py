"""Parts that have names, from points on a few images of any classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ppn.discovery.base import Discoverer, Parts
from ppn.discovery.points import (
    BACKGROUND,
    SPREAD,
    area_evidence,
    evident_points,
    expect_points,
    expect_shown,
    grouped_areas,
    grouped_points,
    point_evidence,
    point_targets,
)
from ppn.discovery.teacher import Teacher, areas_of, name_of_teacher, taught_names
from ppn.discovery.token_classifier import (
    ClickAccuracy,
    cross_validated,
    fit_token_classifier,
)
from ppn.discovery.training import AnnotationKind, Annotations
from ppn.discovery.vocabulary import divided
from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ppn.discovery.base import ClassTokens
    from ppn.discovery.training import TrainingImages

REST = "rest"
"""Name of what no name covers."""


class NamedParts(Discoverer):
    """Parts that a classifier of tokens tells apart, the same ones for every class (ours).

    Points on some images, of whichever classes, train one linear classifier of tokens. Its
    probabilities on a class's images are the parts' coefficients. The last part, "rest", is a
    remainder with the background's coefficient, so that nothing is pushed into a name where it does
    not belong. The number of parts follows from the names. Refine with
    `CompactSplit(ridge=1, rounds=2)`.

    Where parts are is told by one of: a file of `clicks`; a `teacher`; `annotate`, called before;
    or else the data set's own annotations.

    Args:
        groups: For each name what belongs to it: `{"head": ["beak", "crown"]}`, keypoints, masks or
            whatever `source` has. None: each has its own name.
        source: Which of the data set's own annotations are taken.
        images: How many training images' annotations are taken, or are shown to the teacher.
        seed: Seed of the draw of these images.
        clicks: A CSV file of clicks (`image,part,x,y`), or a JSON file of COCO keypoints, whose
            images are all taken.
        teacher: Whatever says where parts are: a callable from images (B, C, H, W), as the
            classifier sees them, to probabilities (B, P, h, w) of P parts at the places of any
            grid. Its attribute `part_names` names them; without it they are "0", "1", ...
        rest: Weight of the background's probability against that of a name, at least 0; with 0
            there is no remainder, and the names share everything.
        decay: Weight of the classifier's L2 penalty; None: chosen by the number of images.
        spread: Standard deviation of the Gaussian round a point, in units of the image's side.
        background: Evidence for the background at every cell, where a part's is 1 at its point.
        entries: How many entries of a vocabulary the named parts of all classes are divided into,
            by what they look like, at least one for each name; None: they are not.

    Attributes:
        classifier: What `fit` has learned.
        accuracy: How it names the points of images that it did not see (cross-validated).

    Raises:
        DiscoveryError: If there is no name, or an option is out of range.
    """

    shared: ClassVar[bool] = True

    def __init__(
        self,
        groups: dict[str, list[str]] | None = None,
        source: AnnotationKind = "keypoints",
        images: int = 30,
        seed: int = 0,
        clicks: str | None = None,
        teacher: Teacher | Callable[..., Any] | None = None,
        rest: float = 0.1,
        decay: float | None = None,
        spread: float = SPREAD,
        background: float = BACKGROUND,
        entries: int | None = None,
    ) -> None:
        if clicks is not None and teacher is not None:
            raise DiscoveryError("Parts are told by clicks or by a teacher: give one of the two.")
        self.groups = groups
        self.source: AnnotationKind = source
        self._expect_word("source", AnnotationKind)
        self.images = images
        self.seed = seed
        self.clicks = clicks
        self.teacher = teacher
        self.rest = rest
        self.decay = decay
        self.spread = spread
        self.background = background
        self.entries = entries
        self._expect_positive("spread", "background")
        self._expect_least(0, "rest", "decay", "seed")
        self._expect_least(1, "images", "entries")
        self.remainder = rest > 0
        self.accuracy: ClickAccuracy | None = None
        self._teacher_name = None if teacher is None else name_of_teacher(teacher)
        self._named = dict(groups or {})
        self._seen: Annotations | None = None
        self._by_hand = False
        if groups is not None:
            self._expect_names(list(groups))

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments as plain values; a teacher by its name."""
        return {**super().options, "teacher": self._teacher_name}

    @property
    def part_names(self) -> list[str]:
        """Name of each part that `discover` returns; none before they are known."""
        return [*self._named, *([REST] if self.remainder else [])] if self._named else []

    @property
    def given(self) -> list[Tensor]:
        """Which images are annotated, and where their parts are."""
        if self._seen is None:
            return []
        found = [torch.tensor(self._seen.indices), self._seen.keypoints, self._seen.areas]
        return [tensor for tensor in found if tensor is not None]

    @property
    def account(self) -> dict[str, Any]:
        """How points on images that were held out are named; None where none is known."""
        if self._seen is None or self.accuracy is None:
            return {}
        return {"images": len(self._seen.indices), **self.accuracy.account(list(self._named))}

    def choose(self, training: TrainingImages) -> list[int]:
        """Find out where parts are on some images.

        Raises:
            PPNError: If the file is wrong, or the data set has no such annotations.
        """
        members = None if self.groups is None else {m for g in self.groups.values() for m in g}
        if self.clicks is not None:
            self._take(training.clicked(self.clicks))
        elif self.teacher is not None:
            indices = training.drawn(self.images, self.seed)
            pixels = training.pixels(indices)
            areas = areas_of(self.teacher, pixels)
            names = taught_names(self.teacher, areas.shape[1])
            self._take(Annotations(indices, names, (pixels.shape[2], pixels.shape[3]), None, areas))
        elif not self._by_hand:  # what was seen before was another data set's, or another size's
            self._take(training.annotated(self.source, members, self.images, self.seed))
        assert self._seen is not None
        training.expect(self._seen.indices)
        return list(self._seen.indices)

    def annotate(
        self,
        indices: Sequence[int],
        keypoints: Tensor,
        keypoint_names: Sequence[str],
        size: tuple[int, int],
    ) -> None:
        """Take the points that `fit` learns from, of whatever else there may be.

        Args:
            indices: Which training images are annotated, m of them, as in `ClassTokens.indices`.
            keypoints: (m, P, 3) x and y in pixels of the classifier's input, and visibility:
                positive where it is visible.
            keypoint_names: Name of each of the P.
            size: Height and width of the input in pixels.

        Raises:
            DiscoveryError: If a name's keypoint is unknown, a name has no visible point, shapes do
                not fit, or a point lies outside of the input.
        """
        found = expect_points(indices, keypoints, keypoint_names, size)
        self._take(Annotations(*found))
        self._by_hand = True

    def _take(self, found: Annotations) -> None:
        """Keep annotations, sorted by name."""
        named = self.groups or {name: [name] for name in found.names}
        self._expect_names(list(named))
        points = areas = None
        if found.areas is not None:
            areas = grouped_areas(found.areas, found.names, named)
        elif found.keypoints is not None:
            points = grouped_points(found.keypoints, found.names, named)
        expect_shown(list(named), points, areas)
        self._named = dict(named)
        self._seen = found._replace(keypoints=points, areas=areas)

    def fit(self, classes: Iterable[ClassTokens], weight: Tensor, k: int) -> None:
        """Train the classifier of tokens on the annotated images.

        Raises:
            DiscoveryError: If k does not fit the names, or an annotated image is in no class.
        """
        self._expect(k)
        seen = self._seen
        row_of = {index: row for row, index in enumerate(seen.indices)} if seen else {}
        found: dict[int, Tensor] = {}
        grid = (0, 0)
        for item in classes:
            grid = item.grid
            for row, index in enumerate(item.indices.tolist()):
                if index in row_of:  # an image of several classes comes more than once
                    found[row_of[index]] = item.tokens[row].float()
        if not found or seen is None:
            raise DiscoveryError(
                "None of the training images is annotated: name images of this data set."
            )
        missing = [index for index, row in row_of.items() if row not in found]
        if missing:
            raise DiscoveryError(
                f"Image {missing[0]} is annotated, but no class has it as a training image: "
                "correct its index."
            )
        rows = sorted(found)
        tokens = torch.stack([found[row] for row in rows])
        points = evidence = None
        if seen.areas is not None:
            evidence = area_evidence(seen.areas[rows].to(tokens.device), grid)
            points = evident_points(evidence, grid, seen.size)
        elif seen.keypoints is not None:
            points = seen.keypoints[rows].to(tokens.device)
        assert points is not None
        if not bool(torch.isfinite(tokens).all()):
            raise DiscoveryError(_not_finite("the annotated images"))
        targets = self._targets(points, grid, seen.size, evidence)
        self.accuracy = cross_validated(tokens, targets, points, grid, seen.size, self.decay)
        self._train(tokens, targets)

    def learn(
        self, tokens: Tensor, points: Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> None:
        """Train the classifier of tokens on points that are at hand, instead of `fit`.

        Args:
            tokens: (m, N, D) of annotated images.
            points: (m, K, p, 3) as `grouped_points` sorts them.
            grid: (H, W) of the tokens.
            size: Height and width of the images in pixels.
        """
        self._train(tokens, self._targets(points, grid, size))

    def held_out_accuracy(
        self, tokens: Tensor, points: Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> ClickAccuracy:
        """Return how points are named whose image the classifier has not seen; see `learn`."""
        targets = self._targets(points, grid, size)
        return cross_validated(tokens, targets, points, grid, size, self.decay)

    def _train(self, tokens: Tensor, targets: Tensor) -> None:
        self.classifier = fit_token_classifier(
            tokens.flatten(0, 1), targets.flatten(0, 1), len(tokens), self.decay
        )

    def _targets(
        self,
        points: Tensor,
        grid: tuple[int, int],
        size: tuple[int, int],
        evidence: Tensor | None = None,
    ) -> Tensor:
        if evidence is None:
            evidence = point_evidence(points, grid, size, self.spread)
        return point_targets(evidence, self.background)

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Take the probabilities of the parts as their coefficients.

        Raises:
            DiscoveryError: If nothing is learned, k does not fit the names, or tokens are not
                finite.
        """
        self._expect(k)
        if self.classifier is None:
            raise DiscoveryError("The named parts are not learned yet: call fit first.")
        found = []
        for item in group:
            tokens = item.tokens.float().flatten(0, 1)
            coefficients = self.classifier.to(tokens.device)(tokens)
            coefficients[:, -1] *= self.rest
            coefficients = coefficients[:, :k]
            if not bool(torch.isfinite(coefficients).all()):
                raise DiscoveryError(_not_finite(f"class {item.name}"))
            parts = torch.nn.functional.normalize(coefficients.T @ tokens, dim=1)
            found.append(Parts(parts, coefficients, self.remainder))
        return found

    def looks_earlier(self) -> bool:
        """Say whether there are entries: an earlier layer sees better what parts look like."""
        return self.entries is not None

    def joined(self, looks: Tensor, labels: Sequence[int]) -> dict[str, Any]:
        """Divide the parts of each name into entries, each of classes whose part looks alike."""
        if self.entries is None:
            return {}
        return divided(looks, labels, list(self._named), self.entries)

    def _expect_names(self, names: list[str]) -> None:
        if not names:
            raise DiscoveryError("There is no named part: give at least one name and its points.")
        if self.entries is not None and self.entries < len(names):
            raise DiscoveryError(
                f"entries is {self.entries}, too few for {len(names)} names: raise it, or leave it "
                "out."
            )
        if self.remainder and REST in names:
            raise DiscoveryError(
                f"A part is called '{REST}', the name of what no other covers: give it another "
                "name, or set rest to 0."
            )

    def _expect(self, k: int) -> None:
        expected = len(self.part_names)
        if k != expected and expected:
            raise DiscoveryError(
                f"k is {k}, but the parts are {', '.join(self.part_names)}: leave k out, or set it "
                f"to {expected}."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Without the teacher, which other processes do not ask again."""
        return {**self.__dict__, "teacher": None}


def _not_finite(where: str) -> str:
    return (
        f"The features of {where} contain NaN or infinity: check the classifier's weights and the "
        "precision (bf16-mixed instead of 16-mixed, or 32-true)."
    )

"""The part of a classifier between some layer and the vector that its last layer acts on."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ppn.classifier.cut import head_input, run
from ppn.classifier.cut_point import ModuleCutPoint, flattened, noise_like, on_noise
from ppn.classifier.effective import head_vector, live_cut
from ppn.classifier.layout import Location, locations
from ppn.classifier.placement import Placements
from ppn.classifier.running import copied, guarded, hooked, out_of_memory
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ppn.classifier import Classifier
    from ppn.classifier.cut_point import Features

Kind = Literal["pixels", "features", "module"]
_SAME = 0.01
"""Error of a vector, over the difference between two images, up to which it is the same."""
_FAILURES = (
    HeadError,
    RuntimeError,
    AssertionError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
)
"""What a model may raise where it does not run on another batch size."""


@dataclass
class Span:
    """What is run again and again for path-integrated maps: all behind one layer, and no more.

    Attributes:
        kind: Whether it starts at the picture, at the classifier's last features, or at a module.
        name: The module's name; empty for the other kinds.
        leaf: Which tensor of what is there holds the patches.
        location: Where in it they are.
        skipped: What the modules that run before gave for one image of noise. They are not run
            again: nothing that they compute goes past the cut, which is measured.
    """

    kind: Kind
    name: str = ""
    leaf: int = 0
    location: Location = field(default_factory=lambda: Location("NCHW"))
    skipped: dict[str, Any] = field(default_factory=dict, repr=False)

    def start(self, classifier: Classifier, images: Tensor) -> tuple[Features, Tensor]:
        """Return what is at the cut for images, and y (B, D): the head's vector times its factor.

        A contribution is <y, prototype>.
        """
        model = classifier.model
        if self.kind == "pixels":
            return flattened(images, images), vector(classifier, images)[1]
        if self.kind == "features":
            return vector(classifier, images)
        with self.noting(classifier, images) as kept:
            _, found = vector(classifier, images)
        if len(kept) != 1:
            raise HeadError(
                f"{type(model).__name__} runs its module '{self.name}' {len(kept)} times per "
                "image: name one to cut at that runs once."
            )
        return kept[0], found

    @contextmanager
    def noting(self, classifier: Classifier, images: Tensor) -> Iterator[list[Features]]:
        """Note what is at the cut as images go through the classifier while the context lasts.

        Nothing is noted of the last features, which need no module.
        """
        noted: list[Features] = []

        def note(_: nn.Module, __: object, output: object) -> None:
            noted.append(flattened(output, images))

        if self.kind != "module":
            yield [flattened(images, images)] if self.kind == "pixels" else noted
            return
        model = classifier.model
        with guarded(model), hooked([(model.get_submodule(self.name), note)]):
            yield noted

    def respond(self, classifier: Classifier, features: Features) -> Tensor:
        """Return y (B, D) for what is at the cut, of any batch size; gradients go through."""
        model, report = classifier.model, classifier.inspection
        if self.kind == "pixels":
            return vector(classifier, features.leaves[0])[1]
        if self.kind == "features":
            cut = live_cut(model, report)
            if not report.averages:
                return _wide(head_input(cut, features))
            patches = cut.patches(features)
            pooled, scale = head_vector(model, report, patches, patches[:, 0])
            return pooled * scale[:, None]
        replaced = (model.get_submodule(self.name), lambda *_: features.nested())
        with guarded(model), hooked([replaced]), _skipping(model, self.skipped):
            return on_noise(model, features, lambda noise: vector(classifier, noise)[1])


def vector(classifier: Classifier, images: Tensor) -> tuple[Features, Tensor]:
    """Return the last features of images, and y (B, D), of which contributions are linear."""
    report, model = classifier.inspection, classifier.model
    cut = live_cut(model, report)
    with guarded(model):
        if report.averages:
            features, _ = cut.split.run(images)
            patches = cut.patches(features)
            inputs = patches[:, 0]
        else:
            features, inputs, _ = run(cut, images)
            patches = cut.patches(features)
        pooled, scale = head_vector(model, report, patches, inputs)
    return features, pooled * scale[:, None]


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


@contextmanager
def _skipping(model: nn.Module, outputs: dict[str, Any]) -> Iterator[None]:
    """Let modules give, in this thread, what they gave before, without running."""
    owner = get_ident()

    def stub(original: Callable[..., Any], given: Any) -> Callable[..., Any]:  # noqa: ANN401
        def forward(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - a module's own
            return copied(given) if get_ident() == owner else original(*args, **kwargs)

        return forward

    with ExitStack() as stack:
        for name, given in outputs.items():
            module = model.get_submodule(name)
            if "forward" in vars(module):
                stack.callback(setattr, module, "forward", module.forward)
            else:
                stack.callback(delattr, module, "forward")
            module.forward = stub(module.forward, given)
        yield


_known: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Span]] = WeakKeyDictionary()


def pixel_span() -> Span:
    """Return the span that is the whole classifier."""
    return Span("pixels")


def feature_span(classifier: Classifier) -> Span:
    """Return the span behind the classifier's last features."""
    report = classifier.inspection
    return Span(
        "features",
        leaf=report.leaf,
        location=Location(report.layout, report.prefix, report.suffix),
    )


def span_key(model: nn.Module, images: Tensor) -> tuple[Any, ...]:
    """Return what a span holds for: images of that shape, and where and how the model computes."""
    reference = next(model.parameters())
    return tuple(images.shape[1:]), reference.device, reference.dtype


@torch.no_grad()
def module_span(classifier: Classifier, name: str, images: Tensor) -> Span:
    """Return the span behind a module, once it is known by value that nothing goes past it.

    Args:
        classifier: The classifier.
        name: Name of the module.
        images: (B, C, H, W) real input, on which that is measured.

    Raises:
        HeadError: If there is no such module, what it gives is no grid of patches in their
            places, or it alone does not determine what the head is given.
    """
    model = classifier.model
    if not name or name not in dict(model.named_modules()):
        raise HeadError(f"{type(model).__name__} has no module '{name}' to cut at.")
    key = (name, *span_key(model, images))
    with guarded(model):
        known = _known.setdefault(model, {})
        if key not in known:
            known[key] = _made(classifier, name, images[:1])
        return known[key]


def _made(classifier: Classifier, name: str, images: Tensor) -> Span:
    span = Span("module", name)
    model = classifier.model
    split = ModuleCutPoint(model, name)
    with guarded(model):
        features, _ = span.start(classifier, images)
        if not determines(classifier, span, images):
            raise HeadError(
                f"What '{name}' gives is not all that the head of {type(model).__name__} is made "
                "of: cut at a whole block, or at the output of a stage."
            )
        # What is inside of each patch (TNT) comes as a batch of patches.
        if any(
            isinstance(leaf, Tensor) and leaf.dim() and len(leaf) != 1 for leaf in features.leaves
        ):
            raise HeadError(
                f"What '{name}' of {type(model).__name__} gives is no batch of images: cut at "
                "another module."
            )
        reference = next(model.parameters())
        placements = Placements(split, features, reference, thorough=False)
        report = classifier.inspection
        known = Location(report.layout, report.prefix, report.suffix)
        # Mixed tokens hardly tell a first token without a place from a last one: where the layout
        # of the last features fits, it is that.
        places = [
            (place == known, placements.of(index, place), index, place)
            for index, leaf in enumerate(features.leaves)
            if isinstance(leaf, Tensor) and leaf.is_floating_point()
            for place in locations(leaf, features.size)
            if placements.somewhere(index, place)
        ]
        if not places:
            raise HeadError(
                f"What '{name}' of {type(model).__name__} gives is no grid of patches in their "
                "places in the image: cut at another module."
            )
        _, _, span.leaf, span.location = max(places, key=lambda found: found[:2])
        skipping = Span("module", name, span.leaf, span.location, _before(classifier, name, images))
        return skipping if determines(classifier, skipping, images) else span


@torch.no_grad()
def determines(classifier: Classifier, span: Span, images: Tensor) -> bool:
    """Whether what is at the cut gives the head's vector of an image, whatever came before.

    Its error is compared with the difference between that image and one of noise: fresh networks
    give nearly the same vector for all images, which says nothing.
    """
    pair = torch.cat([images[:1], noise_like(images, (1, *images.shape[1:]), 8)])
    try:
        features, expected = span.start(classifier, pair)
        error = (span.respond(classifier, features) - expected).abs().max()
        return bool(error <= _SAME * (expected[1] - expected[0]).abs().max())
    except _FAILURES as error:
        if out_of_memory(error):
            raise
        return False  # the rest of the model does not run on another batch size: no cut


def _before(classifier: Classifier, name: str, images: Tensor) -> dict[str, Any]:
    """Return what the modules that are done when a module starts give for one image of noise."""
    model = classifier.model
    noise = noise_like(next(model.parameters()), (1, *images.shape[1:]), 7)
    finished: list[str] = []
    done: list[str] = []

    def note(module: str) -> Any:  # noqa: ANN401 - a hook
        return lambda *_: finished.append(module)

    start = model.get_submodule(name).register_forward_pre_hook(
        lambda *_: done.extend([] if done else finished)
    )
    named = {module: part for module, part in model.named_modules() if module}
    try:
        with guarded(model), hooked((part, note(module)) for module, part in named.items()):
            vector(classifier, noise)
    finally:
        start.remove()
    once = {module for module in done if finished.count(module) == 1}
    whole = [m for m in once if not any(m.startswith(f"{other}.") for other in once)]
    kept: dict[str, Any] = {}

    def keep(module: str) -> Any:  # noqa: ANN401 - a hook
        def hook(_: nn.Module, __: object, output: object) -> None:
            kept[module] = copied(output)

        return hook

    with guarded(model), hooked((named[module], keep(module)) for module in whole):
        vector(classifier, noise)
    return kept

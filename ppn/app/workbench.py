"""One image on the bench: its logit as a sum of parts, and what is left when parts are taken out.

The network is shared by all who have the page open, and never changed: each page keeps its own
edits and sends them along with what it asks.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ppn.app.bench_values import ranking_values, sum_values, versus_values
from ppn.app.uploads import uploaded
from ppn.data.conversion import Preprocessing
from ppn.errors import DataError
from ppn.explanation.explain import explain, ranked
from ppn.explanation.record import part_title
from ppn.explanation.versus import Versus, expect_two
from ppn.prototypes.editing import Edit
from ppn.prototypes.effects import CachedImages
from ppn.visualization.heatmap import overlay, scale_tops
from ppn.visualization.images import data_uri, fit, patch_crop, patch_in_image
from ppn.visualization.palette import identity_colour, part_colours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from ppn.app.bench_set import BenchSet
    from ppn.app.saving import Saving
    from ppn.explanation.record import Explanation, Patch
    from ppn.prototypes.network import PrototypeNetwork

_KEPT = 64
"""Images that are kept for those who have the page open; the page sends an older one again."""
_SIDE = 560
_PATCHES = 6
_EDITS = 500
_CONFUSIONS = 5


@dataclass(frozen=True)
class Asked:
    """What a page wants to know of an image.

    Attributes:
        label: The class to explain; None: the predicted one, of those that have parts.
        against: The class to hold it against; None: no one.
        off: (class, part) that are switched off, from 0.
    """

    label: int | None = None
    against: int | None = None
    off: tuple[tuple[int, int], ...] = ()


class _Seen(NamedTuple):
    """An image that a page has sent, and what the classifier said of it."""

    pixels: Tensor
    name: str
    true: int | None
    given: CachedImages
    explained: dict[int, Explanation]


class Workbench:
    """What the page asks; safe to use from several threads.

    Args:
        network: The network.
        ckpt: Where it is from, for the command that repeats what was done by hand.
        images: The data set on which effects are counted; None: no one.
        saving: Writes edited networks; None: nothing is written.
        patch: Gives a training patch of a class, prototype and rank; None: the network's own.
    """

    def __init__(
        self,
        network: PrototypeNetwork,
        ckpt: str,
        images: BenchSet | None = None,
        saving: Saving | None = None,
        patch: Callable[[int, int, int], Patch | None] | None = None,
    ) -> None:
        self._network = network
        self._ckpt = ckpt
        self._images = images
        self._saving = saving
        self._patch = patch or network.patch
        self._prepare = network.preprocessing or Preprocessing(network.input_config)
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._lock = threading.Lock()

    def start(self) -> dict[str, Any]:
        """Return what a page needs at first."""
        network = self._network
        found = network.dictionary.found.tolist()
        edited = [edit.words(network.class_names) for edit in network.edits]
        doubt = self._prepare.doubt
        return {
            "model": str(network.structure.get("architecture") or "classifier"),
            "classes": list(network.class_names),
            "known": [bool(has) for has in found],
            "parts": [
                {"title": part_title(index, network.part_names), **part_colours(index)}
                for index in range(network.k)
            ],
            "exactness": network.exactness,
            "notes": [*([doubt] if doubt else []), *[f"Edited before: {what}." for what in edited]],
            "saves": None if self._saving is None else self._saving.place,
            "set": None if self._images is None else self._images.title,
            "examples": [] if self._images is None else self._images.examples(network),
        }

    def upload(self, content: str, name: str, asked: Asked) -> dict[str, Any]:
        """Explain an image that a browser has sent.

        Args:
            content: Its file, as a data URI.
            name: What it is called.
            asked: What is wanted of it.

        Raises:
            DataError: If it is no image, too large, or its class has no parts.
        """
        pixels = self._prepare.convert(uploaded(content))
        return self._open(pixels, " ".join(name.split())[:120] or "image", None, asked)

    def example(self, position: int, asked: Asked) -> dict[str, Any]:
        """Explain an image of the data set.

        Args:
            position: Of one of those that `start` lists.
            asked: What is wanted of it.

        Raises:
            DataError: If there is none.
        """
        if self._images is None:
            raise DataError("There is no data set: start ppn app with --data.")
        pixels, name, true = self._images.at(position)
        if asked.against is None and asked.label is None:
            asked = replace(asked, against=self._images.rival(position))
        return self._open(pixels, name, true, asked)

    def again(self, image: str, asked: Asked) -> dict[str, Any]:
        """Explain an image that was opened before, without its pictures of parts seen before.

        Returns:
            The explanation; or `gone`, where the image must be sent again.

        Raises:
            DataError: See `upload`.
        """
        with self._lock:
            seen = self._seen.get(image)
            if seen is not None:
                self._seen.move_to_end(image)
        return {"gone": True} if seen is None else self._answer(image, seen, asked)

    def pictures(self, image: str, label: int) -> dict[str, Any]:
        """Return each part's map over an image that was opened before; or `gone`.

        Raises:
            DataError: If the class has no parts.
        """
        with self._lock:
            seen = self._seen.get(image)
        if seen is None:
            return {"gone": True}
        explained = self._explained(seen, label)
        size = fit(explained.image, _SIDE)
        tops = scale_tops(explained.maps)
        drawn = [
            data_uri(overlay(explained.image, grid, size, top, identity_colour(index)))
            for index, (grid, top) in enumerate(zip(explained.maps, tops, strict=True))
        ]
        return {"maps": drawn}

    def patches(self, label: int, part: int) -> dict[str, Any]:
        """Return the training patches that a part is most like.

        Raises:
            DataError: If there is no such part.
        """
        self._expect([(label, part)])
        found = []
        for rank in range(min(_PATCHES, self._network.dictionary.patch_index.shape[2])):
            patch = self._patch(label, part, rank)
            if patch is not None:
                shown = patch_crop(patch, 160), patch_in_image(patch, identity_colour(part), 320)
                found.append({"patch": shown[0], "whole": shown[1], "name": patch.name})
        return {"patches": found}

    def save(self, off: Sequence[tuple[int, int]], flags: Sequence[tuple[int, int, str]]) -> str:
        """Write the network without some parts, and which parts were flagged; return where.

        Raises:
            DataError: If nothing can be saved, there is no such part, or the disk is full.
        """
        if self._saving is None:
            raise DataError("Nothing is saved here: start ppn app with --out FOLDER.")
        self._expect([*off, *[(label, part) for label, part, _ in flags]])
        if not off and not flags:
            raise DataError("There is nothing to save: switch a part off, or flag one.")
        return self._saving.save(self._edits(off), flags)

    def _open(self, pixels: Tensor, name: str, true: int | None, asked: Asked) -> dict[str, Any]:
        network = self._network
        tokens = network.tokens(pixels[None])
        inputs = (tokens.pooled.float() * tokens.scale.float()[:, None]).cpu()
        label = torch.tensor([-1 if true is None else true])
        given = CachedImages(inputs, tokens.logits.float().cpu(), label, label)
        digest = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:32]
        seen = _Seen(pixels, name, true, given, {})
        with self._lock:
            self._seen[digest] = seen
            self._seen.move_to_end(digest)
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
        return self._answer(digest, seen, asked)

    def _explained(self, seen: _Seen, label: int) -> Explanation:
        """The explanation of a class by the network as it is, made once."""
        if not 0 <= label < len(self._network.class_names):
            raise DataError("There is no such class: reload the page.")
        self._network.expect_prototypes(label)
        if label not in seen.explained:
            true = None if seen.true is None else [seen.true]
            (made,) = explain(self._network, seen.pixels[None], [seen.name], [label], true)
            seen.explained[label] = made
        return seen.explained[label]

    def _expect(self, parts: Sequence[tuple[int, int]]) -> None:
        found = self._network.dictionary.found
        count, k = len(found), self._network.k
        if len(parts) > _EDITS:
            raise DataError(f"More than {_EDITS} parts are too many for one page: save first.")
        if not all(0 <= c < count and 0 <= part < k and bool(found[c]) for c, part in parts):
            raise DataError("There is no such part: reload the page.")

    def _edits(self, off: Sequence[tuple[int, int]]) -> tuple[Edit, ...]:
        """The network's own edits, and those of a page: one for each class."""
        parts: dict[int, list[int]] = {}
        for label, part in dict.fromkeys(off):
            parts.setdefault(label, []).append(part)
        added = (Edit("remove", label, tuple(sorted(own))) for label, own in parts.items())
        return (*self._network.edits, *added)

    def _edited(
        self, explained: Explanation, edits: tuple[Edit, ...], logits: Tensor, seen: _Seen
    ) -> Explanation:
        """The same explanation by the network with a page's edits."""
        network, label = self._network, explained.label
        own = [edit for edit in edits if edit.label == label]
        new = {part for edit in own[len(network.edited_words(label)) :] for part in edit.parts}
        ranking, probabilities = ranked(logits, network.class_names, network.independent)
        return replace(
            explained,
            contributions=tuple(
                0.0 if index in new else value
                for index, value in enumerate(explained.contributions)
            ),
            logit=float(logits[label]),
            change=float(logits[label] - seen.given.logits[0, label]),
            ranking=ranking,
            probability=float(probabilities[label]),
            edits=tuple(edit.words(network.class_names) for edit in own),
        )

    def _answer(self, image: str, seen: _Seen, asked: Asked) -> dict[str, Any]:
        self._expect(asked.off)
        network, edits = self._network, self._edits(asked.off)
        logits = seen.given.edited_logits(network, edits)[0]
        label = asked.label
        if label is None:  # the most likely of those that have parts
            known = network.dictionary.found.cpu() > 0
            label = int(
                seen.given.edited_logits(network)[0].masked_fill(~known, -torch.inf).argmax()
            )
        whole = self._explained(seen, label)
        shown = self._edited(whole, edits, logits, seen)
        versus = None
        if asked.against is not None and asked.against != label:
            rival = self._explained(seen, asked.against)
            versus = Versus(shown, self._edited(rival, edits, logits, seen))
            expect_two(versus.first, versus.second)
        before = seen.given.edited_logits(network)[0]  # as the network was when the page opened
        return {
            "image": image,
            "name": seen.name,
            "true": "" if seen.true is None else network.class_names[seen.true],
            "picture": data_uri(whole.image, _SIDE),
            "label": label,
            "verdict": shown.verdict,
            "predicted": shown.predicted.label,
            "first": int(before.argmax()),
            **sum_values(whole, shown),
            "ranking": ranking_values(shown, before.tolist()),
            "caution": shown.caution,
            "notes": list(shown.notes),
            "versus": None if versus is None else versus_values(versus),
            "set": None if self._images is None else self._images.effect(network, edits),
            "command": self._command(asked.off),
        }

    def _command(self, off: Sequence[tuple[int, int]]) -> str:
        """What does the same from the command line; empty where nothing is off."""
        if not off:
            return ""
        words = ["ppn", "edit", "--ckpt", self._ckpt]
        for edit in self._edits(off)[len(self._network.edits) :]:
            numbers = ",".join(str(part + 1) for part in edit.parts)
            words += ["--remove", f"{self._network.class_names[edit.label]}:{numbers}"]
        return shlex.join([*words, "--out", "edited"])

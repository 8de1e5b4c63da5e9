"""Edits in closed form: parts of a class removed, scaled or merged, and undone.

A head that is a sum of parts is edited by changing the sum: v_c' = v_c - p~_i without part i. Files
keep the prototypes as they were found and the edits beside them, so that every edit can be undone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from ppn.errors import DataError
from ppn.explanation.record import part_title
from ppn.io.schema import Maybe, mismatch
from ppn.prototypes.arguments import class_index, whole_number
from ppn.prototypes.composition import Composition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

Kind = Literal["remove", "scale", "merge"]
SCHEMA = Maybe([{"edit": str, "label": int, "prototypes": [int], "factor": float}])
"""How edits look in files; see `Edit.to_dict`."""


@dataclass(frozen=True)
class Edit:
    """One change of the parts of one class.

    Attributes:
        kind: "remove" or "scale" some parts, or "merge" all into the first.
        label: The class.
        parts: Which of its prototypes, from 0.
        factor: What "scale" multiplies by.
    """

    kind: Kind
    label: int
    parts: tuple[int, ...]
    factor: float = 1.0

    def apply(self, rows: Tensor) -> None:
        """Change the prototypes (k, D) of the class in place."""
        if self.kind == "merge":
            rows[self.parts[0]] = rows[list(self.parts)].sum(0)
            rows[list(self.parts[1:])] = 0
        else:
            rows[list(self.parts)] *= 0 if self.kind == "remove" else self.factor

    def words(self, class_names: Sequence[str]) -> str:
        """Return what was done, in words: "part 2 of gull removed"."""
        titles = [part_title(part).lower() for part in self.parts]
        name = class_names[self.label]
        if self.kind == "merge":
            return f"{', '.join(titles[1:])} of {name} merged into {titles[0]}"
        done = "removed" if self.kind == "remove" else f"scaled by {self.factor:g}"
        return f"{', '.join(titles)} of {name} {done}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; prototypes are numbered from 1, as everywhere in files."""
        numbers = [part + 1 for part in self.parts]
        return {
            "edit": self.kind, "label": self.label, "prototypes": numbers, "factor": self.factor,
        }  # fmt: skip


def parse_edits(content: Any, found: Tensor, k: int) -> tuple[Edit, ...]:  # noqa: ANN401 - of JSON
    """Return the edits that a file lists.

    Args:
        content: A list of what `Edit.to_dict` gives, or None.
        found: (C,) 1 for each class that has prototypes.
        k: Prototypes per class.

    Raises:
        ValueError: If it is something else, or names parts that there are not.
    """
    wrong = mismatch({"edits": content}, {"edits": SCHEMA})
    if wrong is not None:
        raise ValueError(wrong)
    edits = tuple(
        Edit(
            given["edit"],
            given["label"],
            tuple(number - 1 for number in given["prototypes"]),
            float(given["factor"]),
        )
        for given in content or ()
    )
    for edit in edits:
        fits = (
            edit.kind in get_args(Kind)
            and 0 <= edit.label < len(found)
            and bool(found[edit.label] == 1)
            and 0 < len(set(edit.parts)) == len(edit.parts)
            and all(0 <= part < k for part in edit.parts)
            and (edit.kind != "merge" or len(edit.parts) > 1)
            and abs(edit.factor) < 1e6
        )
        if not fits:
            raise ValueError("edits: one of them is of parts that there are not")
    return edits


def edit_rows(prototypes: Tensor, edits: Iterable[Edit]) -> dict[int, Tensor]:
    """Edit prototypes (C, k, D) in place; return (k, D) of each edited class as it was before."""
    before: dict[int, Tensor] = {}
    for edit in edits:
        before.setdefault(edit.label, prototypes[edit.label].detach().cpu().clone())
        edit.apply(prototypes[edit.label])
    return before


class Editable(Composition):
    """What edits a network; parts are numbered from 1, as pictures and files number them."""

    def remove(self, target: int | str, *parts: int | str) -> Edit:
        """Take parts of a class out of its logit: logit' = logit - their contributions.

        Args:
            target: The class, by name or index.
            parts: Numbers of its parts, from 1, or their names.

        Raises:
            DataError: If there is no such class or part, or it carries nothing any more.
        """
        return self._add("remove", target, parts)

    def scale(self, target: int | str, part: int | str, factor: float) -> Edit:
        """Multiply what a part of a class contributes; see `remove`."""
        if not isinstance(factor, int | float) or not math.isfinite(factor) or abs(factor) >= 1e6:
            raise DataError(f"factor is {factor!r:.40}, but must be a finite number below 1e6.")
        return self._add("scale", target, (part,), float(factor))

    def merge(self, target: int | str, part: int | str, *others: int | str) -> Edit:
        """Let a part of a class contribute what others do, too; the logit stays as it is.

        See `remove` for arguments and errors.
        """
        if not others:
            raise DataError("merge needs at least two parts of a class: give one to merge into.")
        return self._add("merge", target, (part, *others))

    def undo(self) -> Edit | None:
        """Take back the last edit, and return it; None where there is none."""
        last = self.edits[-1] if self.edits else None
        self.edit(self.edits[:-1])
        return last

    def restore(self, target: int | str | None = None, part: int | str | None = None) -> None:
        """Take back edits.

        Args:
            target: The class whose edits are taken back; None: of all classes.
            part: Only edits that touch this part of it.

        Raises:
            DataError: If there is no such class or part.
        """
        label = None if target is None else class_index(target, self.class_names)
        index = None if part is None else self.part_index(part)
        self.edit(
            [
                edit
                for edit in self.edits
                if (label is not None and edit.label != label)
                or (index is not None and index not in edit.parts)
            ]
        )

    @torch.no_grad()
    def edit(self, edits: Iterable[Edit]) -> None:
        """Set the edits to these; those that were made before are undone."""
        head, edits = self.head, tuple(edits)
        for label, rows in head.originals.items():
            head.prototypes[label] = rows.to(head.prototypes)
        head.originals = edit_rows(head.prototypes, edits)
        self.note_edits(edits)

    def note_edits(self, edits: tuple[Edit, ...]) -> None:
        """Keep the edits that the head has, and say so in the certificate."""
        self.edits = edits
        kept = {name: value for name, value in self.certificate.items() if name != "edits"}
        if edits:
            kept["edits"] = {
                "what": [edit.words(self.class_names) for edit in edits],
                "is_black_box": self.is_black_box,
                "max_row_change": max(map(self._row_change, {edit.label for edit in edits})),
            }
        self.certificate = kept

    @property
    def is_black_box(self) -> bool:
        """Whether logits are still the black box's: nothing was removed or scaled."""
        return all(edit.kind == "merge" for edit in self.edits)

    def edited_words(self, label: int) -> tuple[str, ...]:
        """Return what was done to a class, in words."""
        return tuple(edit.words(self.class_names) for edit in self.edits if edit.label == label)

    def _row_change(self, label: int) -> float:
        """Return max |sum_i p~_i' - v| / max |v| of a class."""
        before = self.head.originals[label].double().sum(0)
        after = self.head.prototypes[label].cpu().double().sum(0)
        return float((after - before).abs().max() / before.abs().max().clamp(min=1e-30))

    def _add(
        self, kind: Kind, target: int | str, parts: Sequence[int | str], factor: float = 1.0
    ) -> Edit:
        label = class_index(target, self.class_names)
        if not bool(self.dictionary.found[label]):
            raise DataError(f"Class '{self.class_names[label]}' has no prototypes to edit.")
        indices = tuple(dict.fromkeys(self.part_index(part) for part in parts))
        if len(indices) < (2 if kind == "merge" else 1):
            raise DataError(f"To {kind} parts, name {'two' if kind == 'merge' else 'one'}, from 1.")
        for index in indices:
            if not bool(self.head.prototypes[label, index].any()):
                raise DataError(
                    f"{part_title(index)} of '{self.class_names[label]}' carries nothing any more: "
                    "restore it first, or choose another part."
                )
        added = Edit(kind, label, indices, factor)
        self.edit((*self.edits, added))
        return added

    def part_index(self, part: int | str) -> int:
        """Return the index from 0 of a part that is meant by its number from 1, or its title."""
        k = self.head.prototypes.shape[1]
        titles = {part_title(index).casefold(): index for index in range(k)}
        titles |= {name.casefold(): index for index, name in enumerate(self.part_names)}
        if isinstance(part, str) and part.casefold() in titles:
            return titles[part.casefold()]
        given = int(part) if isinstance(part, str) and part.isdecimal() else part
        number = whole_number("part", given, 1)
        if number > k:
            raise DataError(f"There is no part {number}: a class has parts 1 to {k}.")
        return number - 1

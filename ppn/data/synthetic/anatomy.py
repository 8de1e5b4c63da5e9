"""The seven attributes whose values make up a class, and the names made from them."""

from __future__ import annotations

import random
from collections import Counter
from operator import ne
from typing import NamedTuple

from ppn.errors import DataError

PART_NAMES = (
    "beak",
    "crown",
    "eye",
    "nape",
    "throat",
    "back",
    "breast",
    "belly",
    "wing",
    "tail",
    "left leg",
    "right leg",
)


class Anatomy(NamedTuple):
    """The value of each attribute of a class, one of `VALUES`."""

    crown: str
    beak: str
    eye: str
    wing: str
    breast: str
    tail: str
    legs: str

    def differences(self, other: Anatomy) -> list[str]:
        """Return the attributes in which two classes differ."""
        return [name for name in self._fields if getattr(self, name) != getattr(other, name)]


VALUES: dict[str, tuple[str, ...]] = {
    "crown": (
        "ember",
        "gold crest",
        "ink",
        "azure crest",
        "gold",
        "ember crest",
        "azure",
        "ink crest",
    ),
    "beak": ("orange cone", "dark needle", "yellow dagger", "red hook"),
    "eye": ("plain", "white ring", "yellow ring"),
    "wing": ("two bars", "plain", "gold panel", "one bar"),
    "breast": ("plain", "spots", "band", "streaks"),
    "tail": ("dark fork", "rufous fan", "white-tipped square", "azure lance"),
    "legs": ("orange", "slate", "rose"),
}

# What sisters differ in, pair after pair.
_SISTERS: tuple[tuple[str, ...], ...] = (
    ("crown", "wing"),
    ("crown", "breast"),
    ("crown", "wing"),
    ("beak", "tail"),
)
_MAX_CLASSES = 200


def anatomies(count: int) -> list[Anatomy]:
    """Return the first `count` classes of an endless family tree; a longer list only adds to it.

    Classes come as pairs of sisters that differ in two attributes. The elder sister departs from
    some earlier class in three. No two classes differ in less than two, so that each has a
    nearest other class at two or three attributes.

    Args:
        count: Number of classes, 2 to 200.

    Raises:
        DataError: If `count` is out of range.
    """
    if not 2 <= count <= _MAX_CLASSES:
        raise DataError(f"num_classes is {count}, but must be from 2 to {_MAX_CLASSES}.")
    chance = random.Random(11)
    classes = [Anatomy(**{name: values[0] for name, values in VALUES.items()})]
    usage = Counter(classes[0]._asdict().items())
    while len(classes) < count:
        drafts = [_draft(classes, chance) for _ in range(40)]
        # Of many drafts the one whose values are the rarest so far: all values come to be used.
        rare = sorted(drafts, key=lambda a: sum(usage[pair] for pair in a._asdict().items()))
        for fresh in (draft for draft in rare if _stands_apart(draft, classes)):
            classes.append(fresh)
            usage.update(fresh._asdict().items())
            break
    return classes


def _stands_apart(draft: Anatomy, classes: list[Anatomy]) -> bool:
    return all(sum(map(ne, draft, known)) >= 2 for known in classes)


def _draft(classes: list[Anatomy], chance: random.Random) -> Anatomy:
    """Change a few attributes of an earlier class at random."""
    if len(classes) % 2:
        parent, changed = classes[-1], _SISTERS[len(classes) // 2 % len(_SISTERS)]
    else:
        parent, changed = chance.choice(classes), tuple(chance.sample(Anatomy._fields, 3))
    others = {
        name: [value for value in VALUES[name] if value != getattr(parent, name)]
        for name in changed
    }
    return parent._replace(**{name: chance.choice(values) for name, values in others.items()})


_GENUS = {
    "orange cone": "Finch",
    "dark needle": "Warbler",
    "yellow dagger": "Thrush",
    "red hook": "Shrike",
}
_CROWN = {"ember": "Ember", "gold": "Golden", "ink": "Sooty", "azure": "Azure"}
_EPITHETS: dict[str, dict[str, str]] = {
    "breast": {"spots": "Speckled", "streaks": "Streaked", "band": "Collared"},
    "wing": {"two bars": "Bar-winged", "one bar": "Sash-winged", "gold panel": "Gilt-winged"},
    "tail": {
        "dark fork": "Fork-tailed",
        "rufous fan": "Fan-tailed",
        "white-tipped square": "Frost-tailed",
        "azure lance": "Lance-tailed",
    },
    "eye": {"white ring": "Spectacled", "yellow ring": "Lantern-eyed"},
    "legs": {"orange": "Amber-footed", "slate": "Slate-footed", "rose": "Rose-footed"},
}
_PLACES = ("Moor", "Harbour", "Orchard", "Glen", "Heath", "Island", "Valley", "Thicket", "Lagoon")


def class_names(classes: list[Anatomy]) -> list[str]:
    """Return a distinct name for each class, as short as the names before it allow."""
    names: list[str] = []
    for anatomy in classes:
        names.append(next(name for name in _candidates(anatomy) if name not in names))
    return names


def _candidates(anatomy: Anatomy) -> list[str]:
    colour, _, crest = anatomy.crown.partition(" ")
    stem = f"{_CROWN[colour]} {_GENUS[anatomy.beak]}"
    epithets = [
        words[getattr(anatomy, name)]
        for name, words in _EPITHETS.items()
        if getattr(anatomy, name) in words
    ]
    short = ["Crested"] if crest else []
    prefixes = short + epithets
    places = [f"{place} {prefix}" for prefix in prefixes for place in _PLACES]
    return [f"{prefix} {stem}" for prefix in prefixes + places]

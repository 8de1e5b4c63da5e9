"""Names of classes: their order, and every form in which people keep them."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral
from pathlib import Path
from typing import Any

from ppn.classifier.record import CLASS_NAMES
from ppn.classifier.weights import read_checkpoint
from ppn.errors import CheckpointError, DataError
from ppn.io.files import parse_json, parse_yaml, user_path

_NUMBER = re.compile(r"\d{1,18}")
_NUMBERED = re.compile(r"^\s*(\d{1,18})[\s:,]+(\S.*?)\s*$", re.MULTILINE)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort the names of classes: as numbers if all of them are whole numbers, else as text."""
    found = set(names)
    numbered = all(_NUMBER.fullmatch(name) for name in found)
    return sorted(found, key=lambda name: (int(name) if numbered else 0, name))


def class_names_of(given: Any, count: int) -> list[str]:  # noqa: ANN401 - whatever people have
    """Return the name of each class in the order of the classifier's outputs.

    Args:
        given: One of

            - names in order: a list, tuple, array or series;
            - index -> name, as in `id2label` of Hugging Face; the indices may be text, as in JSON;
            - name -> index, as in `class_to_idx` of torchvision;
            - an object that has one of these as `class_names`, `id2label`, `class_to_idx`,
              `classes`, `classes_`, `categories` or `names`, such as a Hugging Face config, a
              torchvision data set or its weights, or scikit-learn's LabelEncoder;
            - the path of a JSON or YAML file of one of these, also below one of these keys, or of a
              text file with one name a line.
        count: Number of classes.

    Raises:
        DataError: If these are not the names of `count` classes.
    """
    what = "class_names"
    if isinstance(given, (str, Path)):
        path = Path(given).expanduser()
        what, given = f"{what} ({path})", _read(path)
    given = _unwrapped(given)
    if isinstance(given, Mapping):
        names = _from_mapping(given, what)
    elif isinstance(given, Set):
        raise DataError(f"{what} is a set, which has no order: give a list of names.")
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        names = [_text(name, what) for name in given]
    else:
        raise DataError(
            f"{what} is of type {type(given).__name__}: give a list of names, or a mapping between "
            "names and indices."
        )
    if len(names) != count:
        raise DataError(
            f"{what} has {len(names)} names, but the classifier has {count} classes: give a name "
            "for each class."
        )
    empty = next((i for i, name in enumerate(names) if not name), None)
    if empty is not None:
        raise DataError(f"{what} has no name for class {empty}: give a name for each class.")
    return names


_KEYS = (
    "class_names",
    "id2label",
    "class_to_idx",
    "classes",
    "names",
    "label2id",
    "classes_",
    "categories",
)


def _unwrapped(given: Any) -> Any:  # noqa: ANN401
    """Take the names out of an object or mapping that holds them under a known key."""
    if isinstance(given, Iterable) and not isinstance(given, Mapping):
        return given  # such as an index of pandas, whose `names` are something else
    meta = getattr(given, "meta", None)  # of torchvision's weights
    given = meta if isinstance(meta, Mapping) else given
    for key in _KEYS:
        inner = given.get(key) if isinstance(given, Mapping) else getattr(given, key, None)
        # A class may be called "names"; then its entry is an index.
        if isinstance(inner, Iterable) and not isinstance(inner, (str, bytes)):
            return inner
    return given


def _from_mapping(given: Mapping[Any, Any], what: str) -> list[str]:
    """Order the names of a mapping from or to indices."""
    keys, values = ([_index(item) for item in items] for items in (given.keys(), given.values()))
    # Names may look like numbers too: `class_to_idx` of folders 1, 2, 10 maps "1" to 0.
    wanted = set(range(len(given)))
    from_name = set(values) == wanted and not (
        set(keys) == wanted and any(isinstance(value, str) for value in given.values())
    )
    if not from_name and set(keys) != wanted:
        raise DataError(
            f"{what} must map each index from 0 to {len(given) - 1} to a name, or each name to its "
            "index, once."
        )
    indices, names = (values, given.keys()) if from_name else (keys, given.values())
    of_index = {index: _text(name, what) for index, name in zip(indices, names, strict=True)}
    return [of_index[index] for index in range(len(given))]


def _index(value: Any) -> int | None:  # noqa: ANN401
    """Return the whole number that a key or value stands for."""
    text = str(value)
    return int(text) if _NUMBER.fullmatch(text) else None


def _text(name: Any, what: str) -> str:  # noqa: ANN401
    """Return a name, which may be bytes or a number, or come after ImageNet's code of it."""
    if isinstance(name, (list, tuple)) and len(name) == 2:
        name = name[1] if all(isinstance(part, str) for part in name) else name
    if isinstance(name, bytes):
        name = name.decode(errors="replace")
    if isinstance(name, bool) or not isinstance(name, (str, Integral)):
        raise DataError(
            f"{what} has a name of type {type(name).__name__}: give texts as names of classes."
        )
    return str(name).strip()


def _read(path: Path) -> Any:  # noqa: ANN401
    """Read a file of names."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return parse_json(text)
        if path.suffix.lower() in (".yaml", ".yml"):
            return parse_yaml(text)
        if path.suffix.lower() in (".csv", ".tsv"):
            raise ValueError("a table does not say which column is the name")
        return _lines(text)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise DataError(
            f"class_names ({path}) cannot be read ({reason}): give a JSON, YAML or text file, or "
            "the names themselves."
        ) from None


def _lines(text: str) -> list[str] | dict[str, str]:
    """Names of a text file: one a line, or after the class's index where every line has its own."""
    lines = text.strip().splitlines()
    numbered = dict(_NUMBERED.findall(text))
    if len(lines) > 1 and {_index(key) for key in numbered} == set(range(len(lines))):
        return numbered
    return lines


def names_in_checkpoint(path: str | Path, count: int) -> list[str] | None:
    """Return the names of classes that a checkpoint holds, ours or that of a training script.

    Where it has none, those of a `config.json` beside it are taken, which Hugging Face and timm
    write with `id2label` or `label_names`.

    Args:
        path: The checkpoint file.
        count: Number of classes.

    Returns:
        A name for each class, or None where the checkpoint has none.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    contents: list[Any] = [read_checkpoint(path)]
    config = user_path(path).with_name("config.json")
    if config.is_file():
        with contextlib.suppress(DataError):
            contents.append(_read(config))
    for content in contents:
        for key in (CLASS_NAMES, *_KEYS, "label_names"):
            if isinstance(content, Mapping) and key in content:
                with contextlib.suppress(DataError):  # something else of this name
                    return class_names_of(content[key], count)
    return None


def labels_in(
    place: str, trained: Sequence[str] | None, count: int, found: Sequence[str]
) -> list[int]:
    """Return which of a classifier's classes those of some data are.

    All classes must be the same in the same order. Some classes of more are found by their names,
    or, if none is a name, as numbers of the classifier's outputs.

    Args:
        place: What was trained, such as "Checkpoint a.ckpt".
        trained: Its names of classes; None, or mere numbers, where it does not know them.
        count: Number of its classes.
        found: Names of the data's classes.

    Returns:
        The classifier's output of each class of the data.

    Raises:
        CheckpointError: If the data has more classes, or one of them is not or not clearly one of
            the classifier's.
    """
    own = list(range(len(found)))
    named = None if trained is None or list(trained) == list(map(str, range(count))) else trained
    if len(found) == count:
        expect_same_names(place, named, found)
        return own
    if len(found) > count:
        raise CheckpointError(
            f"{place} has {count} classes, the data {len(found)}: use the data that it was trained "
            "on."
        )
    unknown = [name for name in found if name not in (named or ())]
    if named is not None and not unknown:
        twice = next((name for name in found if named.count(name) > 1), None)
        if twice is None:
            return [named.index(name) for name in found]
        which = " and ".join(str(i) for i, name in enumerate(named) if name == twice)
        raise CheckpointError(
            f"{place} calls several classes '{twice}' ({which}): name the data's classes by these "
            "numbers instead."
        )
    if len(unknown) == len(found) and all(map(_NUMBER.fullmatch, found)):
        numbers = list(map(int, found))
        if len(set(numbers)) == len(numbers) and max(numbers) < count:
            return numbers
        raise CheckpointError(
            f"{place} has the classes 0 to {count - 1}, which the data's class '{found[-1]}' is "
            "not, or not alone: name the data's classes by their numbers there."
        )
    near = difflib.get_close_matches(unknown[0], named or (), n=1)
    told = f" (did you mean '{near[0]}'?)" if near else ""
    fix = "name them as the classifier does, or by its numbers for them"
    if named is None:
        told = ", for it has no names"
        fix = "name them by its numbers for them, or give its names as model.class_names"
    raise CheckpointError(
        f"{place} has {count} classes, and which of them the data's class '{unknown[0]}' is, is "
        f"not known{told}: {fix}."
    )


def expect_same_names(place: str, trained: Sequence[str] | None, found: Sequence[str]) -> None:
    """Refuse data whose classes are not those that something was trained on, in the same order.

    Args:
        place: What was trained, such as "Checkpoint a.ckpt".
        trained: Its names of classes; None, or mere numbers, where it does not know them.
        found: Those of the data; empty where it does not know them.

    Raises:
        CheckpointError: If they differ; names the first difference.
    """
    if not trained or not found or list(map(str, range(len(trained)))) in (trained, found):
        return
    if len(trained) != len(found):
        raise CheckpointError(
            f"{place} has {len(trained)} classes, the data {len(found)}: use the data that it was "
            "trained on."
        )
    pairs = enumerate(zip(trained, found, strict=True))
    different = next(((label, names) for label, names in pairs if names[0] != names[1]), None)
    if different is not None:
        label, (before, now) = different
        what = "other classes than the data has"
        if sorted(trained) == sorted(found):
            what = "the data's classes in another order"
        raise CheckpointError(
            f"{place} was trained on {what}: class {label} is '{before}' there and '{now}' in the "
            "data; use the data that it was trained on, or give its classes the same names."
        )

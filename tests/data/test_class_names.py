"""Every form in which people keep the names of classes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ppn.data.class_names import class_names_of, in_order
from ppn.errors import DataError

NAMES = ["cat", "ant", "bee"]
ID2LABEL = dict(enumerate(NAMES))
CLASS_TO_IDX = {"ant": 1, "bee": 2, "cat": 0}


class Indexed:
    """Like an index of pandas, whose `names` are not those of classes."""

    names = (None,)

    def __iter__(self):
        return iter(NAMES)


@pytest.mark.parametrize(
    "given",
    [
        NAMES,
        tuple(NAMES),
        np.array(NAMES),
        np.array(NAMES, dtype=object),
        [name.encode() for name in NAMES],
        (name for name in NAMES),
        Indexed(),
        ID2LABEL,
        {str(k): v for k, v in ID2LABEL.items()},
        dict(reversed(ID2LABEL.items())),
        CLASS_TO_IDX,
        {name: np.int64(index) for name, index in CLASS_TO_IDX.items()},
        {name: str(index) for name, index in CLASS_TO_IDX.items()},
        {"id2label": ID2LABEL, "hidden_size": 8},
        SimpleNamespace(id2label=ID2LABEL, label2id=CLASS_TO_IDX),
        SimpleNamespace(class_to_idx=CLASS_TO_IDX),
        SimpleNamespace(names=NAMES),
        SimpleNamespace(class_names=NAMES),
        SimpleNamespace(classes_=np.array(NAMES)),
        SimpleNamespace(meta={"categories": NAMES, "num_params": 3}),
        {str(k): [f"n0{k}", v] for k, v in ID2LABEL.items()},
    ],
    ids=lambda given: type(given).__name__,
)
def test_names_come_in_the_order_of_the_outputs(given):
    assert class_names_of(given, 3) == NAMES


@pytest.mark.parametrize(
    ("given", "names"),
    [
        # Folders that are named by numbers, as torchvision sorts them.
        ({"1": 0, "10": 1, "2": 2}, ["1", "10", "2"]),
        ({"0": 1, "1": 0, "2": 2}, ["1", "0", "2"]),
        ({"0": "2", "1": "0", "2": "1"}, ["2", "0", "1"]),
        ({0: "2", 1: "0", 2: "1"}, ["2", "0", "1"]),
        ([7, 8, 9], ["7", "8", "9"]),
        (["crane", "crane", "tench"], ["crane", "crane", "tench"]),
        ({"names": 0, "classes": 1, "id2label": 2}, ["names", "classes", "id2label"]),
    ],
)
def test_names_that_look_like_something_else(given, names):
    assert class_names_of(given, 3) == names


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", json.dumps({"id2label": {str(k): v for k, v in ID2LABEL.items()}})),
        ("id2label.json", json.dumps({str(k): v for k, v in ID2LABEL.items()}, indent="\t")),
        ("class_to_idx.json", json.dumps(CLASS_TO_IDX)),
        ("names.json", json.dumps(NAMES)),
        ("data.yaml", "path: x\nnames:\n  0: cat\n  1: ant\n  2: bee\n"),
        ("data.yml", "names: [cat, ant, bee]\n"),
        ("labels.txt", "cat\r\nant\r\nbee\r\n\r\n"),
        ("numbered.txt", "1 ant\n0: cat\n2\tbee\n"),
        ("coco.names", "\ufeffcat\nant\nbee"),
    ],
)
@pytest.mark.parametrize("as_text", [True, False])
def test_files_of_names(name, content, as_text, tmp_path):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert class_names_of(str(path) if as_text else path, 3) == NAMES


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (NAMES[:2], "class_names has 2 names, but the classifier has 3 classes"),
        ({"ant": 0, "bee": 1, "cat": 3}, "each index from 0 to 2"),
        ({"ant": 0, "bee": 0, "cat": 1}, "each index from 0 to 2"),
        ({1: "ant", 2: "bee", 3: "cat"}, "each index from 0 to 2"),
        ({"ant": "x", "bee": "y", "cat": "z"}, "each index from 0 to 2"),
        (["ant", "", "cat"], "class_names has no name for class 1"),
        (["ant", None, "cat"], "class_names has a name of type NoneType"),
        ({0: "ant", 1: ["bee"], 2: "cat"}, "class_names has a name of type list"),
        (5, "class_names is of type int: give a list of names"),
        (b"ant", "class_names is of type bytes"),
        (set(NAMES), "class_names is a set, which has no order"),
        ("nowhere.json", r"class_names \(nowhere\.json\) cannot be read \(No such file"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(given, said):
    with pytest.raises(DataError, match=said) as error:
        class_names_of(given, 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.yaml", b"a: &a [*a]"),
        ("a.txt", b"\xff"),
        ("a.json", b"3"),
        ("a.csv", b"id,name\n0,cat\n1,ant\n"),
        ("b.json", b""),
    ],
)
def test_damaged_files_are_refused_in_one_sentence(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name) as error:
        class_names_of(tmp_path / name, 3)
    assert "\n" not in str(error.value)


def test_names_sort_as_numbers_only_where_all_are_numbers():
    assert in_order(["10", "9", "1", "9"]) == ["1", "9", "10"]
    assert in_order(["02", "1", "2"]) == ["1", "02", "2"]
    assert in_order(["10", "9", "x"]) == ["10", "9", "x"]

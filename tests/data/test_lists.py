"""Damaged lists and annotations: each is refused in one sentence that names the file."""

import json

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ppn.errors import DataError
from tests.data.sets import SETS


def first_line(text):
    """Replace the first line."""

    def damage(path):
        path.write_text("\n".join([text, *path.read_text().splitlines()[1:]]) + "\n")

    return damage


def column(number, text):
    """Replace one column of the first line, between commas in CSV files."""

    def damage(path):
        comma = "," if path.suffix == ".csv" and "," in path.read_text() else None
        lines = path.read_text().splitlines()
        row = 1 if lines[0].startswith("path,") else 0
        fields = lines[row].split(comma)
        fields[number] = text
        lines[row] = (comma or " ").join(fields)
        path.write_text("\n".join(lines) + "\n")

    return damage


def no_first_line(path):
    path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")


def last_line_twice(path):
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")


def last_line_gone(path):
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def as_directory(path):
    path.unlink()
    path.mkdir()


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def latin(path):
    path.write_bytes(b"\xe9t\xe9 1 1\n" + path.read_bytes())


def text(content):
    return lambda path: path.write_text(content)


def mat(change):
    """Change the variables of a MATLAB file."""

    def damage(path):
        content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
        change(content)
        savemat(path, content)

    return damage


def entries(change):
    """Change what a JSON file holds."""

    def damage(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def far_class(content):
    content["annotations"]["class"][0, 3] = np.array([[99]])


def outside(variable):
    """Let a list lead out of its folder."""

    def change(content):
        names = content[variable]
        names = names["fname"] if names.dtype.names else names
        names[(0, 3) if len(names) == 1 else (3, 0)] = np.array(["../../x"])

    return change


def renamed(content):
    content["other"] = content.pop(next(iter(content)))


ANNOTATION = "Annotation/n02085620-Chihuahua/n02085620_0"
BOXED = "<annotation><object><bndbox>{}</bndbox></object></annotation>"
CASES = [
    ("cub", "images.txt", first_line("1"), "line 1: expected 2 columns"),
    ("cub", "images.txt", last_line_twice, "line 19: 18 is listed twice"),
    ("cub", "images.txt", last_line_gone, "no line for image"),
    ("cub", "images.txt", as_directory, "cannot be read"),
    ("cub", "images.txt", latin, "cannot be read"),
    ("cub", "train_test_split.txt", no_first_line, "no line for image 1"),
    ("cub", "train_test_split.txt", column(1, "2"), "image 1 in split '2'"),
    ("cub", "image_class_labels.txt", no_first_line, "no line for image 1"),
    ("cub", "image_class_labels.txt", column(1, "0"), "class 0, which"),
    ("cub", "bounding_boxes.txt", column(3, "nan"), "line 1: expected 5 columns"),
    ("cub", "bounding_boxes.txt", column(3, "0"), "line 1: the box has no width"),
    ("cub", "bounding_boxes.txt", last_line_twice, "line 19: image 18 is listed twice"),
    ("cub", "classes.txt", last_line_twice, "line 4: 3 is listed twice"),
    ("cub", "parts/part_locs.txt", no_first_line, "no line for part 1 of image 1"),
    ("cub", "parts/part_locs.txt", column(2, "x"), "line 1: expected 5 columns"),
    ("cub", "parts/part_locs.txt", column(1, "16"), "line 1: part 16 is not listed"),
    ("nabirds", "bounding_boxes.txt", column(4, ""), "line 1: expected 5 columns"),
    ("nabirds", "sizes.txt", as_directory, None),
    ("nabirds", "parts/parts.txt", last_line_gone, "part 10 is not listed"),
    ("cars", "devkit/cars_train_annos.mat", half, "cannot be read"),
    ("cars", "devkit/cars_train_annos.mat", text(""), "cannot be read"),
    ("cars", "devkit/cars_train_annos.mat", mat(renamed), "no variable annotations"),
    ("cars", "devkit/cars_train_annos.mat", mat(far_class), "has label 98"),
    ("cars", "devkit/cars_meta.mat", as_directory, "cannot be read"),
    ("cars", "cars_test_annos_withlabels.mat", lambda p: p.unlink(), "is missing: it holds the"),
    ("cars_folders", "anno_train.csv", column(2, "x"), "line 1: expected a file name and four"),
    ("cars_folders", "anno_train.csv", no_first_line, "no line for image"),
    ("cars_folders", "anno_train.csv", column(3, "1"), "no width or no height"),
    ("dogs", "train_list.mat", half, "cannot be read|no variable"),
    ("dogs", "train_list.mat", mat(lambda c: c.update(labels=c["labels"][1:])), "11 labels"),
    ("dogs", "train_list.mat", mat(lambda c: c["labels"].__setitem__(0, 0)), "has label -1"),
    ("dogs", ANNOTATION, half, "cannot be read"),
    ("dogs", ANNOTATION, lambda p: p.unlink(), "is missing"),
    ("dogs", ANNOTATION, text("<annotation></annotation>"), "has no box"),
    ("dogs", ANNOTATION, text(BOXED.format("<xmin>1</xmin>")), "cannot be read"),
    (
        "dogs",
        ANNOTATION,
        text(BOXED.format("<xmin>9</xmin><ymin>1</ymin><xmax>4</xmax><ymax>8</ymax>")),
        "has an empty box",
    ),
    ("aircraft", "data/images_variant_trainval.txt", column(1, "A380"), "line 1: .*'A380'"),
    ("aircraft", "data/images_variant_trainval.txt", first_line("007"), "line 1: expected 2"),
    ("aircraft", "data/images_variant_trainval.txt", last_line_twice, "line 13: .*listed twice"),
    ("aircraft", "data/images_variant_test.txt", as_directory, "cannot be read"),
    ("aircraft", "data/images_box.txt", no_first_line, "no line for image"),
    ("aircraft", "data/images_box.txt", column(2, "x"), "line 1: expected 5 columns"),
    ("flowers", "setid.mat", half, "cannot be read"),
    ("flowers", "setid.mat", mat(lambda c: c.pop("valid")), "no variable valid"),
    ("flowers", "setid.mat", mat(lambda c: c["trnid"].__setitem__((0, 0), 400)), "labels 1 to 18"),
    ("flowers", "setid.mat", mat(lambda c: c.update(tstid=c["trnid"])), "training and for test"),
    ("flowers", "imagelabels.mat", mat(lambda c: c["labels"].fill(0)), "has label -1"),
    ("cub", "images.txt", column(1, "../../a.jpg"), "image '../../a.jpg' must lie below"),
    ("nabirds", "images.txt", column(1, "/etc/a.jpg"), "image '/etc/a.jpg' must lie below"),
    ("pets", "annotations/trainval.txt", column(0, "../../cat_1"), "must lie below"),
    ("aircraft", "data/images_variant_trainval.txt", column(0, "../1"), "must lie below"),
    (
        "food",
        "meta/train.json",
        entries(lambda c: c["baklava"].append("../../a")),
        "must lie below",
    ),
    (
        "funnybirds",
        "dataset_train.json",
        entries(lambda c: c[2].update(class_idx="../0")),
        r"train\.json, \[2\]\.class_idx: expected `int`, got `str`",
    ),
    ("cars", "devkit/cars_train_annos.mat", mat(outside("annotations")), "must lie below"),
    ("dogs", "train_list.mat", mat(outside("file_list")), "must lie below"),
    ("dogs", "train_list.mat", mat(outside("annotation_list")), "must lie below"),
    ("pets", "annotations/trainval.txt", first_line("cat 1 1"), "line 1: expected 4 columns"),
    ("pets", "annotations/trainval.txt", column(1, "x"), "line 1: expected 4 columns"),
    ("pets", "annotations/trainval.txt", column(1, "9"), "has label 8"),
    ("pets", "annotations/trainval.txt", last_line_twice, "line 13: .*listed twice"),
    ("pets", "annotations/xmls/Abyssinian_2.xml", half, "cannot be read"),
    ("pets", "annotations/trimaps/Abyssinian_2.png", half, "cannot be read"),
    ("funnybirds", "classes.json", half, "is not JSON"),
    ("funnybirds", "classes.json", text("{}"), r"classes\.json, expected `array`, got `object`"),
    ("funnybirds", "classes.json", text("[]"), r"classes\.json, it lists nothing: get"),
    (
        "funnybirds",
        "dataset_train.json",
        entries(lambda c: c[2].pop("class_idx")),
        r"\[2\]: object missing required field `class_idx`",
    ),
    (
        "funnybirds",
        "dataset_train.json",
        entries(lambda c: c[2].update(class_idx=7)),
        "entry 2: class 7 is not listed",
    ),
    ("funnybirds", "train_part_map/0/000001.png", half, "cannot be read"),
    ("funnybirds", "train_part_map/0/000001.png", lambda p: p.unlink(), "is missing"),
    ("food", "meta/train.json", half, "is not JSON"),
    ("food", "meta/train.json", text("[1, 2]"), "does not list images by class"),
    (
        "food",
        "meta/train.json",
        entries(lambda c: c["baklava"].append(c["baklava"][0])),
        "is listed twice",
    ),
    ("imagenet", "LOC_synset_mapping.txt", first_line("n01440764"), "line 1: expected 2 columns"),
    ("folder_table", "images.csv", column(1, ""), "line 2: it has no label"),
    ("folder_table", "images.csv", column(2, "fold"), "line 2: split is 'fold'"),
    ("folder_table", "images.csv", column(3, "x"), "line 2: x0 is 'x'"),
    ("folder_table", "images.csv", column(3, "90"), "line 2: the box's second corner"),
    ("folder_table", "images.csv", column(0, "../a.png"), "line 2: path '../a.png' must lie"),
    ("folder_table", "images.csv", column(0, "gone.png"), "gone.png is missing"),
    ("folder_table", "images.csv", last_line_twice, "line 20: .*listed twice"),
    ("folder_table", "images.csv", first_line("path,name"), "no column 'label'"),
    ("folder_table", "images.csv", text(""), "no column 'path'"),
    ("folder_table", "images.csv", text("path,label\n"), "lists no image"),
    ("folder_table", "images.csv", text("path,label\na.png,b,c\n"), "line 2: .*columns"),
    ("folder_table", "images.csv", as_directory, "cannot be read"),
]


def read_all(data):
    """Read everything that a data set offers."""
    for source in (data.train_source, data.test_source):
        for index in range(len(source)):
            source.read(index)
            source.mask(index)


@pytest.mark.parametrize(
    ("name", "file", "damage", "message"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_damage_is_named_in_one_sentence(name, file, damage, message, tmp_path):
    fake = SETS[name]
    root = fake.write(tmp_path / fake.folder)
    damage(root / file)
    if message is None:  # not a list that reading needs
        read_all(fake.build(root))
        return
    with pytest.raises(DataError, match=message) as error:
        read_all(fake.build(root))
    said = str(error.value)
    assert "\n" not in said
    assert str(root) in said or "training and for test" in said
    lines = ("line", "entry", "cannot be read", "no variable", "is not JSON", "has no box")
    if any(word in said for word in lines):
        assert str((root / file).parent) in said


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["cub", "nabirds", "cars_folders", "folder_table", "imagenet"])
def test_lists_from_windows_are_read(name, mark, tmp_path):
    fake = SETS[name]
    root = fake.write(tmp_path / fake.folder)
    before = fake.build(root)
    for path in [*root.rglob("*.txt"), *root.rglob("*.csv")]:
        path.write_bytes(mark + path.read_bytes().replace(b"\n", b"\r\n"))
    after = fake.build(root)
    assert after.class_names == before.class_names
    assert after.part_names == before.part_names
    for index in (0, 7):
        first, second = before.train_source.read(index), after.train_source.read(index)
        assert before.train_source.name(index) == after.train_source.name(index)
        assert np.array_equal(first.image, second.image)
        assert str(first.box) == str(second.box)
        assert str(first.keypoints) == str(second.keypoints)


@pytest.mark.parametrize(
    ("name", "file"),
    [("aircraft", "data/images_variant_trainval.txt"), ("pets", "annotations/trainval.txt")],
)
def test_what_torchvision_would_misread_is_refused(name, file, tmp_path):
    fake = SETS[name]
    root = fake.write(tmp_path / fake.folder)
    whole = (root / file).read_bytes()
    (root / file).write_bytes(b"\xef\xbb\xbf" + whole)
    with pytest.raises(DataError, match=r"trainval\.txt begins with a byte order mark"):
        read_all(fake.build(root))
    (root / file).write_bytes(whole + b"\n")
    with pytest.raises(DataError, match=r"trainval\.txt, line 13: the line is empty"):
        read_all(fake.build(root))
    (root / file).write_bytes(whole.replace(b"\n", b"\r\n"))
    read_all(fake.build(root))

import numpy as np
import pytest

from ppn.data.clicks import click_indices, parse_clicks, read_clicks
from ppn.data.synthetic import SyntheticBirds
from ppn.errors import DataError, PPNWarning

HEAD = "image,part,x,y\n"
FIRST = "train/bird/000"


def file(tmp_path, text):
    path = tmp_path / "clicks.csv"
    path.write_bytes(text.encode())
    return path


@pytest.fixture(scope="module")
def birds():
    return SyntheticBirds(num_classes=2, images_per_class=2, size=64)


def test_clicks_are_read(tmp_path):
    text = HEAD + 'a/1.png,head,1.5,2\n"b, c.png",tail,,\na/1.png,tail,0,64.0\nd\\e.png,head,3,4'
    clicks = read_clicks(file(tmp_path, text), ["tail", "head"])
    assert clicks.names == ["a/1.png", "b, c.png", "d/e.png"]
    assert clicks.part_names == ["head", "tail"]
    expected = np.zeros((3, 2, 3))
    expected[0] = [[1.5, 2, 1], [0, 64, 1]]
    expected[2, 0] = [3, 4, 1]
    assert np.array_equal(clicks.points, expected)
    assert clicks.answered.tolist() == [[True, True], [False, True], [True, False]]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark(tmp_path, separator):
    text = "\ufeffImage, Part,x,y\r\na.png,head,1,2\r\n\r\n".replace(",", separator)
    assert read_clicks(file(tmp_path, text)).points.tolist() == [[[1, 2, 1]]]


@pytest.mark.parametrize(
    ("line", "torn"),
    [
        ("a.png,tail,10.2,30.5", False),
        ("a.png,tail,10.2,30.", True),
        ("a.png,tail,10.2,30", True),
        ("a.png,tail,10.2,", True),
        ("a.png,tail,", True),
        ("a.p", True),
        ('"a,b.p', True),
        ("a.png,tail,,", False),
    ],
)
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path, line, torn):
    path = file(tmp_path, HEAD + "a.png,head,1.0,2.0\n" + line)
    answers, left_out = parse_clicks(path)
    assert left_out == torn
    assert len(answers) == 2 - torn
    if torn:
        with pytest.warns(PPNWarning, match=r"last line of .*clicks\.csv is cut off"):
            read_clicks(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'image'"),
        ("a.png,head,1,2\n", "no column 'image'"),
        ("image,part,x\na.png,head,1\n", "no column 'y'"),
        ("image,part,x,y,z\n", "unknown column 'z'"),
        ("part,image,x,y\n", "disorder"),
        (HEAD, "no clicks"),
        (HEAD + "a.png,head,one,2\n", "line 2: x is 'one', which is not a number"),
        (HEAD + "a.png,head,1,nan\n", "line 2: y is 'nan', which is not a number"),
        (HEAD + "a.png,head,1e999,2\n", "x is '1e999', which is not a number"),
        (HEAD + "a.png,head,1,-2\n", "y is -2, outside of the image"),
        (HEAD + "a.png,head,1,\n", "y is empty"),
        (HEAD + "a.png,head,1,2,3\n", "5 columns instead of 4"),
        (HEAD + "a.png,,1,2\n", "part is ''"),
        (HEAD + "a.png,head,1,2\n\na.png,head,,\n", "line 4: part 'head' of image a.png is alre"),
        (HEAD + "a.png,head,1,2\na.png,head,1,2\n", "line 3: part 'head' of image a.png is alre"),
        (HEAD + "a.png,haed,1,2\n", "no part 'haed': did you mean 'head'?"),
        (HEAD + "a.png,foot,1,2\n", "no part 'foot': the parts are head, tail."),
        (HEAD + 'a.png,"head,1,2\nb.png,head,1,2\n', "line 2: unexpected end of data"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, said):
    path = file(tmp_path, text)
    with pytest.raises(DataError) as error:
        read_clicks(path, ["head", "tail"])
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv is missing: give the path of a CSV"):
        read_clicks(tmp_path / "none.csv")


def test_clicks_are_matched_with_images(tmp_path, birds):
    names = [birds.name(index) for index in (3, 0)]
    path = file(tmp_path, HEAD + f"{names[0]},head,64,0\n{names[1]},tail,,\n")
    assert click_indices(read_clicks(path), birds).tolist() == [3, 0]


def test_images_that_are_not_in_the_data_and_points_outside_are_refused(tmp_path, birds):
    name = birds.name(0)
    for image, x, said in (
        (name.replace("train", "trian"), 1, f"none of the training images: did you mean '{name}'"),
        ("zzzz", 1, f"images are named like '{name}'"),
        (name, 64.1, f"part 'head' of image {name} is at 64.1, 2, outside of its 64 x 64 pixels"),
    ):
        path = file(tmp_path, HEAD + f"{image},head,{x},2\n")
        with pytest.raises(DataError) as error:
            click_indices(read_clicks(path), birds)
        assert said in str(error.value)
        assert str(path) in str(error.value)

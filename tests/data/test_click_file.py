import subprocess
import sys

import pytest

from ppn.data.click_file import ClickFile
from ppn.data.clicks import Click
from ppn.errors import DataError

HEAD = Click("a, b.png", "head", (1.0, 2.5))
TAIL = Click("a, b.png", "tail", None)
TEXT = 'image,part,x,y\n"a, b.png",head,1.0,2.5\n"a, b.png",tail,,\n'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "clicks.csv"


def test_each_answer_is_in_the_file_at_once(path):
    file = ClickFile(path)
    assert path.read_text() == "image,part,x,y\n"
    file.put(HEAD)
    file.put(TAIL)
    assert path.read_text() == TEXT
    moved = HEAD._replace(point=(7.25, 2.0))
    assert file.put(moved) == HEAD
    assert path.read_text() == 'image,part,x,y\n"a, b.png",tail,,\n"a, b.png",head,7.25,2.0\n'
    file.remove(*TAIL[:2])
    assert file.answers == [moved]
    file.close()
    assert ClickFile(path).answers == [moved]


@pytest.mark.parametrize("end", range(len(TEXT) - 9, len(TEXT) + 1))
def test_a_line_that_was_cut_off_is_dropped(path, end):
    path.parent.mkdir()
    path.write_text(TEXT[:end])
    file = ClickFile(path)
    whole = TEXT[:end].rstrip("\n") == TEXT.rstrip("\n")
    assert file.torn == (not whole)
    assert file.answers == ([HEAD, TAIL] if whole else [HEAD])
    file.put(TAIL)
    assert path.read_text() == TEXT


def test_an_empty_file_is_a_new_one(path):
    path.parent.mkdir()
    path.touch()
    assert ClickFile(path).answers == []


def test_wrong_lines_are_refused_and_left(path):
    path.parent.mkdir()
    path.write_text(TEXT + "x\nx\n")
    for _ in range(2):  # the first try holds no lock
        with pytest.raises(DataError, match="line 4: it has 1 columns"):
            ClickFile(path)
    assert path.read_text() == TEXT + "x\nx\n"


def test_one_process_at_a_time(path):
    file = ClickFile(path)
    code = f"from ppn.data.click_file import ClickFile; ClickFile({str(path)!r})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "is open in another `ppn annotate`" in said.stderr
    file.close()
    assert list(path.parent.iterdir()) == [path]


def test_what_another_program_has_written_is_not_overwritten(path):
    file = ClickFile(path)
    file.put(HEAD)
    path.write_text(TEXT)
    for change in (lambda: file.put(TAIL), lambda: file.remove(*HEAD[:2])):
        with pytest.raises(DataError, match="was changed by another program"):
            change()
    assert path.read_text() == TEXT


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"clicks\.csv cannot be written"):
        ClickFile(tmp_path / "file" / "clicks.csv")

"""Files appear whole or not at all, and only where a file belongs."""

import os
import stat
import threading
from pathlib import Path

import pytest

from ppn.errors import DataError
from ppn.io.files import replacing, user_path, write_bytes, write_json


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_and_what_it_names_is_written(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    (tmp_path / "far.txt").symlink_to(tmp_path / "link.txt")
    write_bytes(tmp_path / "far.txt", b"new")
    assert (tmp_path / "real.txt").read_text() == "new"
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "far.txt").is_symlink()
    assert listed(tmp_path) == ["far.txt", "link.txt", "real.txt"]


def test_a_link_to_nothing_makes_its_target(tmp_path):
    (tmp_path / "link.txt").symlink_to("deep/er/new.txt")
    write_bytes(tmp_path / "link.txt", b"new")
    assert (tmp_path / "deep/er/new.txt").read_bytes() == b"new"
    assert (tmp_path / "link.txt").is_symlink()


def test_a_linked_folder_is_written_into(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link/a.txt", b"new")
    assert listed(tmp_path / "real") == ["a.txt"]


def test_a_circle_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DataError, match=r"a cannot be written \(Too many levels"):
        write_bytes(tmp_path / "a", b"new")
    assert listed(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_not_a_file_is_left_alone(tmp_path, kind, linked):
    target = tmp_path / "there"
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target = Path(os.devnull)
    before = target.stat()
    path = target
    if linked:
        path = tmp_path / "link"
        path.symlink_to(target)
    with pytest.raises(DataError, match=f"{path} is not a regular file but a"):
        write_bytes(path, b"new")
    after = target.stat()
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    assert set(listed(tmp_path)) <= {"there", "link"}


def test_the_home_folder_has_its_short_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_json(Path("~/deep/a.json"), {"a": 1})
    assert (tmp_path / "home/deep/a.json").read_text() == '{\n  "a": 1\n}\n'
    assert listed(tmp_path) == ["home"]
    assert user_path("~/x") == tmp_path / "home/x"


@pytest.mark.parametrize("path", ["", None, 3, "~nobody-of-this-name/x", "a\0.png"])
def test_what_is_not_a_path_is_refused(path):
    with pytest.raises(DataError, match="is not a path"):
        user_path(path)


def test_nothing_half_written_stays(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail(error):
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("ne")
            raise error

    for error, raised in (
        (OSError(28, "No space left on device"), DataError),
        (RuntimeError("PytorchStreamWriter failed\nstack"), DataError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError(), ValueError),
    ):
        with pytest.raises(raised) as told:
            fail(error)
        assert "\n" not in str(told.value)
        assert listed(tmp_path) == ["a.txt"]
        assert (tmp_path / "a.txt").read_text() == "old"


def test_a_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "secret.json"
    path.write_text("{}")
    path.chmod(0o600)
    write_json(path, {"a": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("a" * 255)
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(DataError, match="name too long"):
        write_bytes(tmp_path / ("a" * 256), b"new")


def test_threads_that_write_one_file_leave_a_whole_one(tmp_path):
    path = tmp_path / "a.bin"
    contents = [bytes([number]) * 200_000 for number in range(8)]
    failed = []

    def write(content):
        try:
            for _ in range(10):
                write_bytes(path, content)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert path.read_bytes() in contents
    assert listed(tmp_path) == ["a.bin"]

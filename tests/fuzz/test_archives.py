"""Archives: no member leaves its folder, whatever it is called and whatever it links to."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppn.data.download import unpack
from tests.fuzz.damage import damaged, outcome

NAMES = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "link", "C:", "/", "\\", "~", "\0", "é", "a" * 300]),
    min_size=1,
    max_size=4,
).map("/".join)
KINDS = st.sampled_from(["file", "folder", "link", "hard link"])
MEMBERS = st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=5)


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as content:
        for name, kind, target in members:
            entry = tarfile.TarInfo(name)
            entry.type = {
                "file": tarfile.REGTYPE,
                "folder": tarfile.DIRTYPE,
                "link": tarfile.SYMTYPE,
                "hard link": tarfile.LNKTYPE,
            }[kind]
            entry.linkname = target if "link" in kind else ""
            entry.size = 3 if kind == "file" else 0
            content.addfile(entry, io.BytesIO(b"abc") if kind == "file" else None)
    return file.getvalue()


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        for name, kind, target in members:
            entry = zipfile.ZipInfo(name)
            if "link" in kind:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            content.writestr(entry, target)
    return file.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder to unpack in, deep inside of one in which nothing may change."""
    base = tmp_path_factory.mktemp("archives")
    (base / "secret.txt").write_text("untouched")
    return base


def unpacked(base, file, number):
    target = base / f"x/y/z/{number}"
    target.mkdir(parents=True)
    outcome(lambda: unpack(file, target), file)
    inside = target.resolve()
    for path in target.rglob("*"):
        assert Path(os.path.realpath(path)).is_relative_to(inside), path  # a link may be a circle
    below = {p.relative_to(base).parts[0] for p in base.rglob("*")}
    assert below == {"secret.txt", "x", file.name}
    assert (base / "secret.txt").read_text() == "untouched"
    assert {p.name for p in (base / "x").iterdir()} == {"y"}
    assert {p.name for p in (base / "x/y").iterdir()} == {"z"}


def fresh(base):
    return len(list((base / "x/y/z").glob("*"))) if (base / "x").exists() else 0


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [tar, zipped])
@given(members=MEMBERS)
def test_no_member_leaves_its_folder(world, pack, members):
    file = world / "a.archive"
    file.write_bytes(pack(members))
    unpacked(world, file, fresh(world))
    file.unlink()


PLAIN = [("a/b", "file", "text"), ("a/c", "file", "x" * 2000), ("d", "folder", "")]


@pytest.mark.parametrize("pack", [tar, zipped])
@given(data=st.data())
def test_damaged_archives(world, pack, data):
    file = world / "a.zip"
    file.write_bytes(data.draw(damaged(pack(PLAIN))))
    unpacked(world, file, fresh(world))
    file.unlink()

"""Downloads from a server on this machine: resumed, verified, unpacked nowhere else, once."""

import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from dataclasses import replace

import pytest

from ppn.data import download
from ppn.data.cars import CarsDataModule
from ppn.data.cub import CUBDataModule
from ppn.data.download import Archive, install
from ppn.data.inaturalist import INaturalistDataModule
from ppn.errors import DataError
from tests import fakes
from tests.data.server import serving
from tests.data.sets import SETS

MEMBERS = {"birds/a.txt": b"a" * 70_000, "birds/sub/b.txt": bytes(range(256)) * 300}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(params=[True, False], ids=["resumable", "not resumable"])
def server(request):
    with serving(ranges=request.param) as running:
        yield running


@pytest.fixture
def plain():
    with serving() as running:
        yield running


def tar(members=MEMBERS, links=(), mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as content:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            content.addfile(entry, io.BytesIO(data))
        for name, target, kind in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            content.addfile(entry)
    return file.getvalue()


def zipped(members=MEMBERS, links=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name, data in members.items():
            content.writestr(name, data)
        for name, target in links:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            content.writestr(entry, target)
    return file.getvalue()


def offer(server, name, content, md5="", **more):
    """Put a file on the server and describe it; "" stands for its true checksum."""
    server.files[name] = content
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Archive(server.url(name), found if md5 == "" else md5, **more)


def files_below(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.txt")}


def whole(root):
    return files_below(root) == {k.removeprefix("birds/"): v for k, v in MEMBERS.items()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b.tar", tar()),
        ("b.tgz", tar(mode="w:gz")),
        ("b.tar.gz", tar(mode="w:gz")),
        ("b.zip", zipped()),
        ("b.zip?download=1", zipped()),
    ],
)
def test_a_download_is_unpacked_and_leaves_nothing_else(name, content, plain, tmp_path):
    root = tmp_path / "data" / "birds"
    archive = offer(plain, name, content)
    install([archive], "birds", root)
    assert whole(root)
    assert [p.name for p in root.parent.iterdir() if p.name != ".birds.lock"] == ["birds"]
    install([archive], "birds", root)  # nothing is asked for again
    assert plain.sent == [(name, len(content))]


def test_a_cut_connection_is_resumed(server, tmp_path):
    root, content = tmp_path / "birds", tar()
    archive = offer(server, "b.tar", content)
    server.cut = [50_000]
    with pytest.raises(DataError, match=r"b\.tar could not be downloaded .*run the same") as error:
        install([archive], "birds", root)
    assert "\n" not in str(error.value)
    assert not root.exists()
    install([archive], "birds", root)
    assert whole(root)
    missing = len(content) - 50_000 if server.ranges else len(content)
    assert server.sent == [("b.tar", 50_000), ("b.tar", missing)]


def test_a_file_that_was_complete_but_not_yet_verified_is_kept(server, tmp_path):
    root, content = tmp_path / "birds", tar()
    archive = offer(server, "b.tar", content)
    cache = tmp_path / ".birds.download"
    cache.mkdir()
    (cache / "b.tar.part").write_bytes(content)
    install([archive], "birds", root)
    assert whole(root)
    assert sum(size for _, size in server.sent) == (0 if server.ranges else len(content))


def test_a_wrong_checksum_removes_the_file(server, tmp_path):
    root = tmp_path / "birds"
    archive = offer(server, "b.tar", tar())
    server.files["b.tar"] = b"x" * 1000
    with pytest.raises(DataError, match="instead of the published") as error:
        install([archive], "birds", root)
    assert "\n" not in str(error.value)
    assert not root.exists()
    assert not list(tmp_path.rglob("b.tar*"))
    server.files["b.tar"] = tar()
    install([archive], "birds", root)
    assert whole(root)


@pytest.mark.parametrize("after", [0, 1])
def test_killed_while_unpacking_it_goes_on_without_downloading(after, plain, tmp_path, monkeypatch):
    root = tmp_path / "birds"
    one, two = dict(list(MEMBERS.items())[:1]), dict(list(MEMBERS.items())[1:])
    archives = [offer(plain, "1.tar", tar(one)), offer(plain, "2.zip", zipped(two))]
    unpack, calls = download.unpack, []

    def dying(file, target):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(file)
        unpack(file, target)

    monkeypatch.setattr(download, "unpack", dying)
    with pytest.raises(KeyboardInterrupt):
        install(archives, "birds", root)
    assert not root.exists()
    sent = list(plain.sent)
    monkeypatch.setattr(download, "unpack", unpack)
    install(archives, "birds", root)
    assert whole(root)
    assert plain.sent == sent


def test_nothing_appears_before_the_last_archive_is_there(plain, tmp_path):
    root = tmp_path / "birds"
    archives = [offer(plain, "1.tar", tar()), Archive(plain.url("gone.tar"), None)]
    with pytest.raises(DataError, match=r"gone\.tar could not be downloaded .*404"):
        install(archives, "birds", root)
    assert not root.exists()


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE
UNSAFE = {
    "tar, parent": ("b.tar", tar(MEMBERS | {"birds/../../evil.txt": b"!"})),
    "tar, absolute": ("b.tar", tar(MEMBERS | {"/nowhere/evil.txt": b"!"})),
    "tar, link out": ("b.tar", tar(links=[("birds/l", "../../..", LINK)])),
    "tar, absolute link": ("b.tar", tar(links=[("birds/l", "/etc", LINK)])),
    "tar, hard link out": ("b.tar", tar(links=[("birds/l", "../../evil.txt", HARD)])),
    "tar, device": ("b.tar", tar(links=[("birds/l", "", tarfile.CHRTYPE)])),
    "zip, parent": ("b.zip", zipped(MEMBERS | {"../evil.txt": b"!"})),
    "zip, backslash": ("b.zip", zipped(MEMBERS | {"..\\evil.txt": b"!"})),
    "zip, absolute": ("b.zip", zipped(MEMBERS | {"/nowhere/evil.txt": b"!"})),
    "zip, drive": ("b.zip", zipped(MEMBERS | {"C:/evil.txt": b"!"})),
    "zip, link": ("b.zip", zipped(links=[("birds/l", "../../..")])),
}
GZ = tar(mode="w:gz")
DAMAGED = {
    "tar, cut": ("b.tar", tar()[:60_000]),
    "tgz, cut": ("b.tgz", GZ[: len(GZ) // 2]),
    "tgz, rotten": ("b.tgz", GZ[:200] + b"\xff" * 50 + GZ[250:]),
    "zip, cut": ("b.zip", zipped()[:60_000]),
    "zip, rotten": ("b.zip", zipped().replace(b"a" * 100, b"b" * 100, 1)),
    "a page": ("b.zip", b"<html>moved</html>"),
    "a page for a tgz": ("b.tgz", b"<html>moved</html>"),
    "empty": ("b.tar.gz", b""),
    "another folder": ("b.tar", tar({"other/a.txt": b"a"})),
}


@pytest.mark.parametrize("case", [*UNSAFE, *DAMAGED])
def test_bad_archives_are_refused_and_write_nothing_outside(case, plain, tmp_path):
    name, content = (UNSAFE | DAMAGED)[case]
    base = tmp_path / "data"
    root = base / "birds"
    archive = offer(plain, name, content, md5=None)
    with pytest.raises(DataError) as error:
        install([archive], "birds", root)
    said = str(error.value)
    assert "\n" not in said
    assert name in said
    if case in UNSAFE:
        assert "is not safe" in said or "has a link" in said
    assert not root.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert {p.name for p in base.iterdir()} <= {".birds.download", ".birds.lock"}
    assert not list(tmp_path.rglob("*evil*"))
    # A sound archive mends it once the bad one is out of the way.
    plain.files[name] = zipped() if name.endswith("zip") else tar()
    (base / ".birds.download" / name).unlink(missing_ok=True)
    install([archive], "birds", root)
    assert whole(root)


def test_those_who_call_at_the_same_time_download_once(plain, tmp_path):
    root, failed = tmp_path / "birds", []
    archive = offer(plain, "b.tar", tar())

    def call():
        try:
            install([archive], "birds", root)
            assert whole(root)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(plain.sent) == 1


def packed(folder, *names, rename=None):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as content:
        for name in names:
            content.add(folder / name, rename or name)
    return file.getvalue()


@pytest.mark.parametrize("parent", [True, False])
def test_a_whole_data_set_is_downloaded_and_read(parent, plain, tmp_path, monkeypatch):
    made = fakes.cub(tmp_path / "made/CUB_200_2011", segmentations=True, attributes=True)
    (made / "segmentations").rename(tmp_path / "made/segmentations")
    archives = (
        offer(plain, "CUB.tgz", packed(made.parent, "attributes.txt", "CUB_200_2011")),
        offer(plain, "seg.tgz", packed(made.parent, "segmentations"), into="CUB_200_2011"),
    )
    monkeypatch.setattr(CUBDataModule, "card", replace(CUBDataModule.card, archives=archives))
    place = tmp_path / "data"
    root = place if parent else place / "CUB_200_2011"
    with pytest.raises(DataError, match="set download: true"):
        CUBDataModule(str(root)).setup("fit")
    data = CUBDataModule(str(root), download=True, masks=True, num_workers=0, val_fraction=0.25)
    assert data.class_names == SETS["cub"].names
    assert data.folder == place / "CUB_200_2011"
    assert {"mask", "keypoints"} <= set(next(iter(data.train_dataloader())))
    assert data.train_source.class_attributes()[0][2] == "has_bill_shape::shape_2"
    assert CUBDataModule(str(root)).num_classes == 3
    assert len(plain.sent) == 2


def test_archives_are_renamed_to_the_layout(plain, tmp_path, monkeypatch):
    made = fakes.inaturalist(tmp_path / "made/inaturalist")
    archives = tuple(
        offer(
            plain,
            f"{name}.tar.gz",
            packed(made, folder, rename=name),
            into="inaturalist",
            rename=(name, folder),
        )
        for name, folder in (("train_mini", "2021_train_mini"), ("val", "2021_valid"))
    )
    card = replace(INaturalistDataModule.card, archives=archives)
    monkeypatch.setattr(INaturalistDataModule, "card", card)
    data = INaturalistDataModule(str(tmp_path / "data"), download=True)
    assert data.class_names == SETS["inaturalist"].names
    assert len(data.test_source) == 6


def test_a_set_without_archives_says_where_a_person_gets_it(tmp_path):
    with pytest.raises(DataError, match=r"cannot be downloaded by a script: get it from https://"):
        CarsDataModule(str(tmp_path), download=True).setup("fit")
    assert not list(tmp_path.iterdir())

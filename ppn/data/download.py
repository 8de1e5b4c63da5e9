"""Archives from their official source: resumed, verified, unpacked only inside their folder.

The downloaders of pooch and torch.hub begin again after an interruption, and data sets have many
gigabytes; so ours goes on with what is there.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ppn.data.inside import is_inside
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CHUNK = 1 << 20
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz")


@dataclass(frozen=True)
class Archive:
    """A file of a data set at its official source.

    Attributes:
        url: Where it is.
        md5: Its published checksum; None where its source publishes none.
        into: Folder in which its content belongs, relative to the data set's parent folder.
        rename: A top-level folder of the archive and the name it gets, where they differ.
    """

    url: str
    md5: str | None
    into: str = "."
    rename: tuple[str, str] | None = None

    @property
    def name(self) -> str:
        """File name."""
        return self.url.split("?")[0].rsplit("/", 1)[-1]


def install(archives: Sequence[Archive], folder: str, root: Path) -> None:
    """Download and unpack a data set; the folder appears when everything is in it.

    A second call after an interruption goes on with the bytes that are there. Processes that call
    at the same time wait for the first.

    Args:
        archives: What to download.
        folder: Name of the data set's folder, in which the archives put their content.
        root: Where that folder belongs.

    Raises:
        DataError: If a download fails, a checksum is wrong, or an archive is not safe to unpack.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    cache = root.with_name(f".{root.name}.download")
    with FileLock(root.with_name(f".{root.name}.lock")):
        if root.exists() and any(root.iterdir()):
            return
        cache.mkdir(exist_ok=True)
        staging = cache / "unpacked"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        files = [fetch(archive, cache) for archive in archives]
        for archive, file in zip(archives, files, strict=True):
            target = staging / archive.into
            target.mkdir(parents=True, exist_ok=True)
            unpack(file, target)
            if archive.rename is not None:
                before, after = archive.rename
                (target / before).rename(target / after)
        if not (staging / folder).is_dir():
            raise DataError(
                f"{', '.join(archive.name for archive in archives)} in {cache} do not hold "
                f"the folder {folder}: remove {cache} and run the same command again."
            )
        if root.exists():
            root.rmdir()
        for beside in staging.iterdir():
            target = root.parent / beside.name
            if beside.name != folder and not target.exists():
                beside.rename(target)
        (staging / folder).rename(root)
        shutil.rmtree(cache)


def fetch(archive: Archive, folder: Path) -> Path:
    """Download one file into a folder, going on where an earlier try stopped.

    Returns:
        The complete and verified file.

    Raises:
        DataError: If the source cannot be reached, or the file is not what was published.
    """
    complete = folder / archive.name
    if complete.exists():  # only ever renamed to after verification
        return complete
    part = folder / (archive.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(archive.url, headers={"User-Agent": "ppn"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        _transfer(request, part, archive.name)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing is missing of what we have
            raise _unreachable(archive, error) from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise _unreachable(archive, error) from None
    if archive.md5 is not None and (found := _md5(part)) != archive.md5:
        part.unlink()
        raise DataError(
            f"{archive.url} has checksum {found} instead of the published {archive.md5}: the file "
            "was removed, run the same command again."
        )
    part.rename(complete)
    return complete


_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def unpack(file: Path, target: Path) -> None:
    """Unpack a tar or zip archive, or move any other file, into a folder.

    Raises:
        DataError: If the archive is damaged, or has a member that would lie outside of the folder
            or is neither a file nor a folder.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as content:
                for entry in content.infolist():
                    _refuse_outside(file, entry.filename)
                    if stat.S_ISLNK(entry.external_attr >> 16):
                        raise DataError(f"{file} has a link as a member, {entry.filename!r}.")
                content.extractall(target)
        elif tarfile.is_tarfile(file):
            with tarfile.open(file) as members:
                for member in members:
                    _refuse_outside(file, member.name)
                    if not (member.isfile() or member.isdir()):  # nothing to follow elsewhere
                        raise DataError(
                            f"{file} is not safe to unpack: its member {member.name!r} is a link "
                            "or a device."
                        )
                    # Owners, modes and times are left; Python before 3.10.12 and 3.11.4 has no
                    # filters, and later ones ask for one.
                    members.extract(member, target, set_attrs=False, **_FILTER)
                # tarfile takes damage for the end; reading on makes gzip compare its checksum.
                while members.fileobj is not None and members.fileobj.read(_CHUNK):
                    pass
        elif file.suffix in _ARCHIVES:
            raise zipfile.BadZipFile("it is not an archive")
        else:
            shutil.copy(file, target / file.name)
    except DataError:
        raise
    except Exception as error:  # tarfile and zipfile raise whatever they stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{file} cannot be unpacked ({reason}): check the space left on the disk, or remove "
            "the file and run the same command again."
        ) from None


def _refuse_outside(file: Path, member: str) -> None:
    if not is_inside(member):
        raise DataError(
            f"{file} is not safe to unpack: its member {member!r} would lie outside of the folder."
        )


def _transfer(request: urllib.request.Request, part: Path, name: str) -> None:
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with urllib.request.urlopen(request, timeout=60) as response, Progress(*columns) as progress:
        resumed = response.status == 206
        have = part.stat().st_size if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        task = progress.add_task(name, total=total, completed=have)
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
    if total is not None and part.stat().st_size < total:
        raise OSError("the connection closed early")


def _unreachable(archive: Archive, error: Exception) -> DataError:
    return DataError(
        f"{archive.url} could not be downloaded ({error}): run the same command again, it goes on "
        "where it stopped."
    )


def _md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

"""Recipes and fragments by name, `ppn:probe` or `ppn:data/cub`, wherever ppn is installed."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from ppn.errors import PPNError, nearest
from ppn.io.files import user_path, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

SCHEME = "ppn:"
SERVER = "experiments/serving/serve.py"
_FOLDERS = ("", "cub", "synthetic", "benchmark")
"""Those of `experiments/` whose YAML files are configurations of `ppn`."""


def recipes_root() -> Path:
    """Return the folder that holds `configs/` and `experiments/`: in the wheel, or the checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "recipes"
    return shipped if shipped.is_dir() else package.parent


def available() -> dict[str, Path]:
    """Return every recipe (`probe`, `cub/...`), then every fragment (`data/cub`), by its name."""
    experiments, configs = (recipes_root() / name for name in ("experiments", "configs"))
    recipes = [file for name in _FOLDERS for file in sorted((experiments / name).glob("*.yaml"))]
    found = {_name(file, experiments): file for file in recipes}
    return found | {_name(file, configs): file for file in sorted(configs.rglob("*.yaml"))}


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).with_suffix("").as_posix()


def resolve(words: Iterable[str]) -> list[str]:
    """Put the path of a recipe or fragment in the place of its name.

    Args:
        words: A command line; `ppn:NAME` is a word, or what follows the `=` of an option.

    Raises:
        PPNError: If there is no recipe or fragment of a name.
    """
    return [_resolved(word) for word in words]


def _resolved(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if not value.startswith(SCHEME):
        return word
    known = available()
    name = value.removeprefix(SCHEME).removesuffix(".yaml")
    if name not in known:
        short = {SCHEME + other.rsplit("/", 1)[-1]: SCHEME + other for other in reversed(known)}
        meant = short.get(SCHEME + name)
        hint = f"did you mean '{meant}'?" if meant else nearest(SCHEME + name, short.values())
        raise PPNError(f"There is no recipe '{value}': {hint or '`ppn recipes` lists them.'}")
    return f"{option}{equals}{known[name]}"


def by_name(words: Iterable[str]) -> list[str]:
    """Put the name of a recipe or fragment in the place of its path: what `resolve` was given."""
    names = {str(file): SCHEME + name for name, file in reversed(available().items())}
    told = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        told.append(f"{option}{equals}{names.get(value, value)}")
    return told


def about(file: Path) -> str:
    """Return what a YAML file's first comment says, up to a line that ends a sentence."""
    said: list[str] = []
    with file.open(encoding="utf-8") as lines:
        for line in takewhile(lambda line: line.startswith("#"), lines):
            said.append(line.strip("# \n"))
            if said[-1].endswith((".", ":")):
                break
    return " ".join(said).rstrip(":")


def recipes(show: str | None = None, out: str | None = None) -> int:
    """List the recipes and fragments that `--config ppn:NAME`, `--data ppn:data/NAME` etc. take.

    Args:
        show: Print the file of this name instead; serve.py is the example that serves what
            `ppn export` writes.
        out: Write it to this file, to be changed there.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If there is none of that name, or it cannot be written.
    """
    if out is not None and show is None:
        raise PPNError("--out needs --show NAME: one recipe is written.")
    if show is not None:
        server = recipes_root() / SERVER
        name = SCHEME + show.removeprefix(SCHEME)
        path = server if show == server.name else Path(_resolved(name))
        text = path.read_text(encoding="utf-8")
        if out is None:
            print(f"# {path}\n{text}", end="")
            return 0
        # Fragments are named relative to the recipe's own folder.
        text = re.sub(r"(?:\.\./)+(?=configs/)", f"{recipes_root().as_posix()}/", text)
        write_bytes(user_path(out), text.encode())
        print(f"-> {out}")
        return 0
    from rich.table import Table

    from ppn.io.terminal import console

    table = Table(box=None)
    table.add_column("name", no_wrap=True)
    table.add_column("what")
    for name, file in available().items():
        table.add_row(SCHEME + name, about(file))
    console().print(table)
    return 0

"""Rooms import from the floors below them, and never from those above (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ppn"
FLOORS = [
    {"errors", "version"},
    {"types", "configured", "allocator", "distributed", "lightning_internals"},
    {"io"},
    {"classifier"},
    {"discovery"},
    {"refinement"},
    {"data", "visualization"},
    {"explanation"},
    {"prototypes"},
    {"explainers", "export"},
    {"metrics"},
    {"tasks"},
    {"report"},
    {"benchmark"},
    {"callbacks"},
    {"app"},
    {"commands"},
    {"cli"},
    {"__main__", "__init__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree):
    """Names of the package's modules that a file imports when it runs, wherever in it."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    ours = FLOOR[room(path)]
    for name in imported(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "ppn" and len(parts) > 1:
            assert FLOOR[parts[1]] <= ours, f"{room(path)} imports {name}"


def test_what_must_know_no_lightning_does_not():
    for name in ("classifier", "discovery", "refinement", "prototypes", "explainers"):
        for path in (PACKAGE / name).rglob("*.py"):
            found = {module.split(".")[0] for module in imported(ast.parse(path.read_text()))}
            assert not found & {"lightning", "jinja2"}, path

"""The notebooks of the documentation run as they are, offline."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs/notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    done = nbclient.NotebookClient(book, timeout=300, resources=resources).execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    assert any("image/png" in "".join(map(str, o.get("data", {}).items())) for o in outputs)
    said = "".join(output.get("text", "") for output in outputs)
    assert "bias" in said or "consistency" in said


def test_the_first_ones_code_runs_on_fewer_images(tmp_path, monkeypatch):
    """Without a kernel, which takes longer to start than this; the slow test has one."""
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(FOLDER / "your-classifier.ipynb", as_version=4)
    code = "\n".join(cell["source"] for cell in book.cells if cell["cell_type"] == "code")
    for whole, fewer in (('"train", 40', '"train", 6'), ('"test", 10', '"test", 2')):
        assert code.count(whole) == 1
        code = code.replace(whole, fewer)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    found = names["explanation"]
    assert sum(found.contributions) + found.bias == pytest.approx(found.logit, abs=1e-5)
    assert (tmp_path / "prototypes/prototypes.safetensors").is_file()


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_was_left_as_it_ran(path):
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert path.stat().st_size < 150_000
    counts = [cell["execution_count"] for cell in book.cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))

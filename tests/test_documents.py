"""Every command and every example of the README and the documentation is parsed or run."""

import argparse
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import timm

from ppn.__main__ import main
from ppn.commands.completion import parser_of
from ppn.commands.data import COMMANDS as DATA_COMMANDS
from ppn.commands.parsing import data_options, make_parser
from ppn.commands.recipes import available, resolve
from ppn.commands.short_help import ABOUT, SMALL_COMMANDS
from ppn.data.build import build as build_data
from ppn.data.build import parse_options
from ppn.data.synthetic import SyntheticBirdsDataModule

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
MADE = ("docs/results.md", "docs/models.md", "docs/refinement/", "docs/benchmark/")
"""Pages that commands write, whose headers say which."""


def commands(text):
    """The lines of the shell blocks, joined where they continue; what starts others is left out."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text.replace("\n    ", "\n"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [f"ppn {line.split('ppn ', 1)[1]}" if "torchrun" in line else line for line in found]


LINES = sorted(
    {line for page, text in TEXTS.items() if not page.startswith(MADE) for line in commands(text)}
)
ONCE = "docs/refinement/compact.md"
"""What it shows was made by an earlier version, as it says."""
EXPERIMENTS = sorted(
    line
    for line in {line for page, text in TEXTS.items() if page != ONCE for line in commands(text)}
    if line.startswith("python ")
)
PPN = [re.sub(r"^.*?\bppn ", "ppn ", line, count=1) for line in LINES if re.search(r"\bppn ", line)]


@pytest.mark.parametrize("line", PPN)
def test_a_command_parses(line, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = resolve(shlex.split(line)[1:])
    command = words[0]
    if command in SMALL_COMMANDS:
        known = words[1:] if command == "benchmark" else data_options(words[1:])
        parser_of(command).parse_args(known)
    elif "--config" in words:
        # `--print_config` parses everything and stops before anything is built.
        with pytest.raises(SystemExit) as stop:
            main([*words, "--print_config"])
        assert stop.value.code == 0
        assert "class_path" in capsys.readouterr().out
    else:
        assert command in (*ABOUT, "--help", "--version")
        assert main(words) == 0


@pytest.mark.parametrize("line", [line for line in PPN if line.startswith("ppn data ")])
def test_a_documented_data_set_builds(line):
    words = data_options(shlex.split(line)[2:])
    given = make_parser("ppn data", DATA_COMMANDS).parse_args(words)
    if given.command != "list":
        chosen = given[given.command]
        assert build_data(chosen.data, chosen.root, parse_options(chosen.set)) is not None


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_has_the_target(line):
    makefile = (ROOT / "Makefile").read_text()
    for word in shlex.split(line)[1:]:
        name, variable, value = word.partition("=")
        mark = r" \?=" if variable else ":"
        assert re.search(rf"^{name}{mark}", makefile, flags=re.MULTILINE), word
        if name == "SWEEP":
            assert (ROOT / value).is_file()


class Parsed(Exception):
    """A command line that was understood."""


@pytest.mark.parametrize("line", EXPERIMENTS)
def test_a_command_of_the_experiments_parses(line, monkeypatch):
    line = line.replace("python serve.py", "python experiments/serving/serve.py")
    module, *words = shlex.split(line.removeprefix("python ").removeprefix("-m "))
    module = module.removesuffix(".py").replace("/", ".")
    if importlib.util.find_spec(module).submodule_search_locations:
        module += ".__main__"

    def parse(parser, words=None, namespace=None):
        _, unknown = parser.parse_known_args(words, namespace)
        assert not unknown
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr("sys.argv", [module, *words])
    with pytest.raises(Parsed):
        importlib.import_module(module).main()


def test_every_kind_of_line_is_one_of_these():
    strange = [
        line
        for line in LINES
        if not re.match(r"(make|python|cd|curl) ", line) and not re.search(r"\bppn ", line)
    ]
    assert not strange


def test_the_readme_has_both_commands_that_do_everything():
    assert {"make demo", "make test"} <= set(commands(TEXTS["README.md"]))


def test_every_fragment_is_used_by_an_experiment_or_named_in_the_docs():
    recipes = [path for name, path in available().items() if "configs" not in path.parts]
    text = "".join([*TEXTS.values(), *(path.read_text() for path in recipes)])
    for name in available():
        fragment = f"configs/{name}.yaml"
        known = fragment in text or f"ppn:{name}" in text or name.startswith("backbone/")
        assert known or (ROOT / "experiments" / f"{name}.yaml").is_file(), name


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/own-classifier.md"])
def test_the_python_example_runs(page, tmp_path, monkeypatch):
    text = TEXTS[page].replace("\n    ", "\n")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    data = SyntheticBirdsDataModule(2, 4, 1, num_workers=0)
    data.train_source.read(0).image.save(tmp_path / "bird.jpg")
    model = timm.create_model("test_resnet", num_classes=2)
    monkeypatch.chdir(tmp_path)
    if page == "docs/index.md":  # the page shows the body of a list item
        code = "\n".join(line.removeprefix("    ") for line in code.splitlines())
    names = {"model": model, "loader": data.discovery_loader([0, 1])}
    exec(code, names)
    sample = names["explanation"]
    total = sum(sample.contributions) + sample.bias
    assert total == pytest.approx(sample.logit, abs=1e-5)


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#", target):
            assert ((ROOT / page).parent / target.split("#")[0]).exists(), target


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    fetched = re.compile(
        r"""<(?:script|img)[^>]*src="?https?:|<link[^>]*stylesheet[^>]*https?:|class="?mermaid"""
    )
    for page in (tmp_path / "site").rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page  # it works offline

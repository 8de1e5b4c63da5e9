"""What runs leave behind and read again: metrics, configurations, tables, sweep files."""

import contextlib
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments.sweeping.spec import read_sweep
from experiments.zoo.crawl import read as read_zoo
from ppn.commands.compare import compare
from ppn.commands.examination import COLUMNS, Examination
from ppn.commands.parsing import run
from ppn.data.class_names import class_names_of
from ppn.io.files import parse_json, parse_yaml
from ppn.io.schema import Maybe, mismatch
from tests.commands.test_compare import write
from tests.fuzz.damage import PLAIN, damaged, outcome, rewritten


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    return base, [str(write(base / "one")), str(write(base / "two", accuracy=0.5))]


@pytest.mark.parametrize("name", ["metrics.json", "config.yaml"])
@pytest.mark.parametrize("suffix", ["md", "csv", "tex", "json"])
@given(data=st.data())
def test_damaged_runs(runs, name, suffix, data):
    base, folders = runs
    file = base / "one" / name
    whole = file.read_bytes()
    dump = json.dumps if name.endswith("json") else yaml.safe_dump
    contents = rewritten(yaml.safe_load(whole)).map(lambda c: dump(c).encode())
    try:
        file.write_bytes(data.draw(damaged(whole) | contents))
        outcome(
            lambda: run("ppn compare", compare, [*folders, "--out", str(base / f"out.{suffix}")]),
            file,
        )
    finally:
        file.write_bytes(whole)


SWEEP = b"""name: try
method: bayes
metric: {name: val/consistency, goal: maximize}
command: ["${env}", ppn, trial, --config, x.yaml, "${args}"]
parameters:
  model.init_args.k: {values: [1, 3]}
  model.init_args.lr: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-2}
run_cap: 4
"""


@given(damaged(SWEEP) | rewritten(yaml.safe_load(SWEEP)).map(lambda c: yaml.safe_dump(c).encode()))
def test_damaged_sweeps(runs, content):
    file = runs[0] / "sweep.yaml"
    file.write_bytes(content)
    sweep = outcome(lambda: read_sweep(file), file)
    if sweep is not None:
        assert all(isinstance(word, str) for word in sweep.arguments(dict.fromkeys("ab", 1)))
        assert all(isinstance(given, dict) for given in sweep.parameters.values())


ZOO = ",".join(COLUMNS) + "\n" + ",".join("" for _ in COLUMNS) + "\n"


@given(damaged(ZOO.encode()))
def test_damaged_support_tables(runs, content):
    file = runs[0] / "table.csv"
    file.write_bytes(content)
    rows = outcome(lambda: read_zoo(file), file)
    assert rows is None or all(isinstance(row, Examination) for row in rows)


NAMES = {"id2label": {"0": "ant", "1": "bee", "2": "cat"}, "names": ["ant", "bee", "cat"]}


@pytest.mark.parametrize("suffix", ["json", "yaml", "txt"])
@given(data=st.data())
def test_damaged_names_of_classes(runs, suffix, data):
    file = runs[0] / f"names.{suffix}"
    whole = json.dumps(NAMES).encode() if suffix != "txt" else b"ant\nbee\ncat\n"
    contents = damaged(whole) | rewritten(NAMES).map(lambda c: json.dumps(c).encode())
    file.write_bytes(data.draw(contents))
    names = outcome(lambda: class_names_of(file, 3), file)
    assert names is None or (len(names) == 3 and all(isinstance(n, str) and n for n in names))


@given(PLAIN, PLAIN)
def test_a_value_fits_or_is_said_not_to(value, other):
    schema = {"a": str, "b": Maybe([{str: int}]), "c": float}
    for content in (value, {"a": "", "b": other, "c": 1.0}, {"a": value, "c": other}):
        text = mismatch(content, schema)
        assert text is None or "\n" not in text


@given(st.text() | st.sampled_from(["[" * 3000, '"\\ud800"', "9" * 5000, "nan", '{"a":' * 3000]))
def test_texts_are_parsed_or_refused(text):
    for parse in (parse_json, parse_yaml):
        with contextlib.suppress(ValueError):
            json.dumps(parse(text), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10) if i else 1}]" for i in range(12)),
        "a: !!timestamp x",
        "a: !!int ''",
        "a: !!python/object/apply:os.system [ls]",
        "? [a]\n: 1",
        "a: 2001-01-01",
    ],
)
def test_yaml_that_is_more_than_plain_values_is_refused(text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_yaml(text)

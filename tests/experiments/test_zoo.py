import csv
import json
import re
from pathlib import Path

import pytest
import timm

from experiments.zoo import apart, crawl
from experiments.zoo.__main__ import main
from experiments.zoo.apart import Limits
from experiments.zoo.table import counts, page
from ppn.commands.examination import COLUMNS, Examination

ROOT = Path(__file__).parents[2]


def zoo(capsys, *arguments):
    """Exit code and what was printed; in JSON where all went well."""
    code = main([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if not code else out, err


def test_the_table_resumes_where_it_stopped(capsys, tmp_path):
    table, document = tmp_path / "new" / "table.csv", tmp_path / "docs" / "models.md"
    common = ["--filter", "test_resnet*", "--out", str(table)]
    given = [*common, "--markdown", str(document)]
    assert zoo(capsys, *given, "--limit", "0")[1] == {"tried": 0, "of": 1, "counts": {}}
    common[1] = given[1] = "test_[rv]*t"
    first = zoo(capsys, *given, "--limit", "1")[1]
    assert first == {"tried": 1, "of": 2, "counts": {"mean_linear": 1}}
    before = table.read_text()
    second = zoo(capsys, *given)[1]
    assert second == {"tried": 2, "of": 2, "counts": {"mean_linear": 1, "class_token": 1}}
    assert table.read_text().startswith(before)
    text = document.read_text()
    assert f"2 of the {len(timm.list_models())} architectures of timm" in text
    assert "| vision_transformer |  |  | 1 |  |  |" in text
    zoo(capsys, *given)
    assert document.read_text() == text


def test_a_table_of_another_kind_is_refused(capsys, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    given = ["--filter", "test_resnet", "--out", str(tmp_path / "t.csv")]
    code, _, err = zoo(capsys, *given)
    assert code == 2
    assert "name a new file" in err


def test_each_model_runs_within_its_memory_and_time():
    (starved,) = apart.apart(["resnet50"], 1, Limits(0.01, 200))
    assert (starved.status, starved.family) == ("memory", "resnet")
    assert starved.unsettled
    (late,) = apart.apart(["resnet50"], 1, Limits(4, 0.01))
    assert late.status == "time"
    both = apart.apart(["volo_d1_224", "nonet"], 2, Limits(4, 200))
    found = {row.model: row for row in both}
    refused = found["volo_d1_224"]
    assert (refused.status, refused.family) == ("refused", "volo")
    assert "does not end in a linear layer" in refused.reason
    assert not refused.unsettled
    assert found["nonet"].status == "failed"


def test_what_was_known_before_time_ran_out_is_kept():
    known = Examination("a", "fam", case="class_token")
    row = apart._cut_short(known, "time", "more than 9 s")
    assert (row.status, row.case, row.support) == ("supported", "class_token", "unknown")
    assert row.reason == "maps took too long to add up: more than 9 s"
    assert row.unsettled
    assert "unknown for 1:\n- 1: maps took too long to add up: more than 9 s (`a`)" in page(
        [row], ["a"], "1.2"
    )


def test_architectures_that_could_not_be_examined_are_so_again_where_that_is_asked(
    capsys, tmp_path
):
    table = tmp_path / "table.csv"
    given = ["--filter", "test_vit", "--out", str(table)]
    assert zoo(capsys, *given, "--memory", "0.01")[1]["counts"] == {"memory": 1}
    assert zoo(capsys, *given)[1]["counts"] == {"memory": 1}
    # One process for all, as on an accelerator.
    again = [*given, "--again", "--processes", "2", "--device", "cpu:0", "--image_size", "96"]
    assert zoo(capsys, *again)[1] == {"tried": 1, "of": 1, "counts": {"class_token": 1}}
    (row,) = crawl.read(table)
    assert (row.support, row.device, row.image_size) == ("complete", "cpu:0", "96 x 96")


def test_the_largest_come_first():
    names = ["resnet18", "vit_large_patch16_224", "eva_giant_patch14_224", "convnext_xxlarge"]
    assert [crawl._rank(name) for name in names] == [3, 2, 0, 1]


def test_quick_initialisation_is_neither_constant_nor_wild():
    with apart._Quick():
        model = timm.create_model("test_vit")
    for name, parameter in model.named_parameters():
        if parameter.ndim in (2, 4) and not name.startswith("head"):  # which starts from zero
            assert 1e-5 < parameter.std() < 1, name


def test_the_page_counts_and_names_what_is_not_supported(tmp_path):
    rows = [
        Examination(
            *("a", "fam"),
            **{"case": "mean_linear", "logit_error": 1e-7, "completeness_error": 2e-7},
            **{"grid": "7 x 7", "width": 64, "image_size": "224 x 224", "places": 0.25},
        ),
        Examination(
            *("b", "fam"),
            **{"case": "pre_logits", "logit_error": 0.0, "completeness_error": 0.5, "places": 1.0},
        ),
        Examination("c", "fam", "refused", reason="no | last layer"),
        Examination("d", "other", "time", reason="more than 9 s"),
    ]
    assert counts(rows) == {"mean_linear": 1, "pre_logits": 1, "refused": 1, "time": 1}
    text = page(rows, list("abcdefghij"), "1.2")
    assert "4 of the 10 architectures of timm 1.2 were tried" in text
    assert "| fam | 1 |  |  | 1 | 1 |" in text
    assert "| `c` | no / last layer |" in text
    assert "`e`, `f`, `g`, `h`, `i`, `j`\n" in text
    assert "| `a` | mean | exact by its head | 2.0e-07 | 224 x 224 | 7 x 7 | 64 |" in text
    assert "| `b` | layers between | not asked |  |" in text
    assert "measured for 2 architectures of 1 families" in text
    assert "At most 90 %: `a` 25%.\n" in text
    assert "`a` 25%, `b` 100%\n" in text
    assert "| `d` | took too long: more than 9 s |" in text
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row.to_dict() for row in rows)
    assert crawl.read(path) == rows


def test_the_page_of_the_documentation_is_that_of_its_table():
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    rows = crawl.read(ROOT / "docs/models.csv")
    (version,) = re.findall(r"architectures of timm (\S+) were tried", text)
    assert page(rows, [row.model for row in rows], version) == text
    families = timm.models._registry._model_to_module
    assert [r.model for r in rows if families.get(r.model, r.family) != r.family] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "nonet*"], "no architecture like 'nonet*'"),
        (["--limit", "-1"], "--limit -1 does not fit: the value must be a whole number"),
        (["--device", "nose"], "device is 'nose', which torch does not find here"),
        (["--all"], "There is no option --all"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_two(capsys, arguments, message):
    code, _, err = zoo(capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1

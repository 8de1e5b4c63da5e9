import timm
import torch

from experiments.shares import cost
from experiments.shares.__main__ import main


def test_study_writes_its_tables(tmp_path):
    weights = tmp_path / "classifier.pt"
    torch.save(timm.create_model("test_resnet", num_classes=4).state_dict(), weights)
    command = ["--classifier_ckpt", str(weights), "--architecture", "test_resnet"]
    command += ["--data.num_classes", "4", "--data.train_per_class=6", "--data.test_per_class", "2"]
    command += ["--k", "3", "--seeds", "1", "--draws", "1", "--clicked", "4"]
    command += ["--ways", "cam_split, lambda 3", "compact", "compact, 1 round"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "synthetic_birds" / "results.md").read_text()
    for way in ("compact, 1 round", "ceiling", "control", "named, 4 images, rest 0.1"):
        assert way in text
    assert "named, 4 images, chosen, rest 0.1" in text
    assert '"seconds"' in text
    assert "centre" in text


def test_cost_is_printed(capsys):
    command = ["--images_per_class", "2", "--architecture", "test_resnet", "--weights", "none"]
    assert cost.main(command) == 0
    assert "compact" in capsys.readouterr().out

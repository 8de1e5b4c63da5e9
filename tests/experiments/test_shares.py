import timm
import torch

from experiments.shares import cost
from experiments.shares.__main__ import main
from experiments.shares.tokens import DISTURBANCES
from ppn.types import InputConfig


def test_study_writes_its_tables(tmp_path):
    weights = tmp_path / "classifier.pt"
    torch.save(timm.create_model("test_resnet", num_classes=4).state_dict(), weights)
    command = ["--classifier", str(weights), "--architecture", "test_resnet"]
    command += ["--set", "num_classes=4", "--set", "train_per_class=6", "--set", "test_per_class=2"]
    command += ["--copies", "noise", "--k", "3", "--seeds", "1", "--draws", "1", "--clicked", "4"]
    command += ["--ways", "cam_split, lambda 3", "compact", "compact, copies with noise"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    text = (tmp_path / "synthetic_birds" / "results.md").read_text()
    for way in ("compact, copies with noise", "ceiling", "control", "named, 4 images, rest 0.1"):
        assert way in text
    assert "centre" in text


def test_cost_is_printed(capsys):
    assert cost.main(["--images", "2", "--architecture", "test_resnet", "--weights", "none"]) == 0
    assert "compact" in capsys.readouterr().out


def test_disturbances_change_an_image_alike_for_every_batch():
    images, indices = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 6, 7])
    config = InputConfig(size=(64, 64))
    for kind, disturb in DISTURBANCES.items():
        together = disturb(images, indices, config)
        assert together.shape == images.shape
        alone = disturb(images[2:3], indices[2:3], config)
        assert torch.allclose(together[2:3], alone, atol=1e-5)
        assert torch.equal(together, images) == (kind == "clean")


def test_a_shift_moves_the_image():
    images = torch.randn(1, 3, 64, 64)
    moved = DISTURBANCES["shift"](images, torch.tensor([0]), InputConfig(size=(64, 64)))
    assert torch.equal(moved[:, :, 12:], images[:, :, :-12])

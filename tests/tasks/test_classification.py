import pytest
import torch
from lightning import Trainer

from ppn.classifier.build import cosine_with_warmup
from ppn.data.cub import CUBDataModule
from ppn.errors import CheckpointError
from ppn.tasks.classification import ClassificationTask
from tests import fakes


def fit(model, data, epochs=2):
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    return trainer


@pytest.fixture
def data(tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011", train=8)
    return CUBDataModule(str(root), batch_size=6, num_workers=0, val_fraction=0.25)


def classifier(**options):
    return ClassificationTask(3, "test_resnet", image_size=64, warmup_epochs=0.5, **options)


def changed(model, before):
    return {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}


def snapshot(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_learns_the_fake_birds(data, optimizer):
    lr = {"adamw": 3e-3, "sgd": 3e-2}[optimizer]
    model = classifier(optimizer=optimizer, lr=lr)
    trainer = fit(model, data, epochs=12)
    assert trainer.callback_metrics["train/loss"] < 0.8
    assert trainer.validate(model, datamodule=data, verbose=False)[0]["val/accuracy"] > 0.6


def test_a_linear_probe_changes_the_last_layer_only(data):
    model = classifier(freeze_backbone=True, lr=0.1)
    before = snapshot(model)
    fit(model, data)
    assert changed(model, before) == {
        "classifier.model.fc.weight",
        "classifier.model.fc.bias",
    }


def test_frozen_modules_keep_weights_and_statistics(data):
    model = classifier(frozen_modules=["conv1", "bn1", "layer1"], lr=0.1)
    before = snapshot(model)
    fit(model, data)
    moved = changed(model, before)
    frozen = tuple(f"classifier.model.{name}." for name in ("bn1", "layer1", "conv1"))
    assert not {name for name in moved if name.startswith(frozen)}
    assert any(name.startswith("classifier.model.layer4") for name in moved)


def test_an_unknown_module_to_freeze_is_named():
    with pytest.raises(CheckpointError, match=r"no module 'blocks\.0' to freeze: .*layer1"):
        classifier(frozen_modules=["blocks.0"])


def test_learning_rate_warms_up_then_falls_along_a_cosine():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = cosine_with_warmup(optimizer, 10, 110)
    rates = []
    for _ in range(110):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.01)
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[109] < 1e-3
    assert max(rates) <= 1.0


def test_biases_and_norms_have_no_weight_decay():
    model = classifier(weight_decay=0.3)
    model.trainer = type("T", (), {"estimated_stepping_batches": 10, "max_epochs": 2})()
    groups = model.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0.0, 0.3]
    assert all(p.ndim > 1 for p in groups[1]["params"])
    assert all(p.ndim <= 1 for p in groups[0]["params"])
    total = sum(len(group["params"]) for group in groups)
    assert total == len(list(model.parameters()))


def test_weights_and_pretrained_exclude_each_other():
    with pytest.raises(CheckpointError, match="choose one"):
        classifier(weights="w.pth", pretrained=True)


def test_the_data_follows_the_backbones_config(data):
    model = classifier()
    trainer = fit(model, data, epochs=1)
    assert trainer.datamodule.input_config == model.input_config
    assert model.input_config.size == (64, 64)
    assert next(iter(data.val_dataloader()))["image"].shape[-2:] == (64, 64)

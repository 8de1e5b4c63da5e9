"""ProtoPNet: its costs and maps by hand, and one training from start to the explainer."""

from types import SimpleNamespace

import pytest
import timm
import torch
from lightning import Trainer

from ppn.classifier import Classifier
from ppn.data.cub import CUBDataModule
from ppn.errors import CheckpointError, PPNError
from ppn.explainers.protopnet import (
    ProtoPNet,
    TrainedProtoPNet,
    class_losses,
    read_protopnet,
)
from ppn.tasks.protopnet import ProtoPNetTask
from ppn.types import InputConfig
from tests import fakes
from tests.explainers.tiny import convolutions, inputs_of, network_of


def small(similarity="l2"):
    return ProtoPNet(Classifier(convolutions().eval(), InputConfig((16, 16))), 2, 5, similarity)


def test_similarities_by_hand():
    network = small()
    patches = torch.rand(1, 4, 5)
    found = network.compare(patches)
    assert found.shape == (1, 3, 2, 4)
    square = (patches[0, 3] - network.prototypes[2, 1]).square().sum()
    expected = torch.log((square + 1) / (square + 1e-4))
    assert float(found[0, 2, 1, 3]) == pytest.approx(float(expected), rel=1e-4)
    cosine = small("cosine").compare(patches)
    assert cosine.abs().max() <= 1 + 1e-6


def test_costs_by_hand():
    similarity = torch.tensor([[[[0.1, 0.4]], [[0.3, 0.2]], [[0.0, 0.1]]]])  # classes 0, 1, 2
    cluster, separation = class_losses(similarity, torch.tensor([0]))
    assert float(cluster) == pytest.approx(-0.4)
    assert float(separation) == pytest.approx(0.3)


def test_maps_contributions_and_logits_agree():
    network = small()
    images, target = torch.randn(3, 3, 16, 16), torch.tensor([0, 2, 1])
    maps, parts = network(images, target), network.contributions(images, target)
    assert maps.shape == (3, 2, 4, 4)
    # At the start each own connection is 1, each of another class -1/2.
    assert torch.allclose(parts, maps.amax((2, 3)), atol=1e-5)
    every = torch.stack(
        [network(images, torch.full((3,), c)).amax((2, 3)).sum(1) for c in range(3)]
    )
    expected = 1.5 * every - 0.5 * every.sum(0)
    assert torch.allclose(network.logits(images), expected.T, atol=1e-4)


def test_prototypes_are_projected_on_the_nearest_patch_of_their_class():
    network = small()
    images = torch.randn(5, 3, 16, 16)
    batches = [
        {"image": images[:2], "label": torch.tensor([1, 1])},
        {"image": images[2:], "label": torch.tensor([1, 1, 1])},
    ]
    before = network.prototypes.detach().clone()
    with torch.no_grad():
        patches = network.embed(images)[0].flatten(0, 1)
    network.project(batches)
    for row in range(2):
        nearest = (patches - before[1, row]).square().sum(1).argmin()
        assert torch.allclose(network.prototypes[1, row], patches[nearest], atol=1e-5)
    assert torch.equal(network.prototypes[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize(("similarity", "frozen"), [("l2", True), ("cosine", False)])
def test_training_and_explaining(tmp_path, similarity, frozen):
    root = fakes.cub(tmp_path / "CUB_200_2011")
    data = CUBDataModule(str(root), batch_size=5, num_workers=0, val_fraction=0.25)
    model = timm.create_model("test_resnet", num_classes=3)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    task = ProtoPNetTask(
        3,
        classifier_ckpt=str(tmp_path / "weights.pth"),
        architecture="test_resnet",
        image_size=64,
        k=2,
        width=8,
        similarity=similarity,
        freeze_backbone=frozen,
        last_epochs=1,
    )
    before = {k: v.clone() for k, v in task.network.state_dict().items()}
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "protopnet.ckpt")
    after = task.network.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert {"prototypes", "add_on.0.weight", "last.weight"} <= moved
    assert any(k.startswith("classifier") for k in moved) != frozen
    assert not any("running" in k for k in moved)
    with torch.no_grad():  # each prototype is a training patch of its class, as it is now
        for label in range(3):
            images = [b["image"] for b in data.class_loader() if int(b["label"][0]) == label]
            patches = task.network.embed(torch.cat(images))[0].flatten(0, 1)
            apart = torch.cdist(task.network.prototypes[label], patches).amin(1)
            assert float(apart.max()) < 1e-4
    assert trainer.validate(task, data, verbose=False)[0]["val/accuracy"] >= 0
    assert set(task.results) == {"accuracy"}

    path = str(tmp_path / "protopnet.ckpt")
    explainer = TrainedProtoPNet(path)
    assert explainer.name == f"protopnet_{similarity}"
    blackbox = network_of(timm.create_model("test_resnet", num_classes=3), 64)
    config = task.input_config
    network = SimpleNamespace(class_names=list("abc"), input_config=config, device="cpu")
    explainer.prepare(network)
    assert explainer.maps_per_class == 2
    images, target = torch.randn(2, 3, 64, 64), torch.tensor([2, 0])
    inputs = inputs_of(blackbox, images)
    found = explainer.attribute(inputs, target)
    task.eval()
    with torch.no_grad():
        assert torch.allclose(found.maps, task.network(images, target), atol=1e-5)
        assert torch.allclose(explainer.surrogate(inputs), task(images), atol=1e-5)

    network.class_names = list("abcd")
    with pytest.raises(CheckpointError, match="has 3 classes, the data 4"):
        explainer.prepare(network)
    network.class_names, network.input_config = list("abc"), InputConfig((32, 32))
    with pytest.raises(CheckpointError, match="expects other images"):
        explainer.prepare(network)


def test_mistakes(tmp_path):
    with pytest.raises(CheckpointError, match="No classifier was given"):
        ProtoPNetTask(3)
    with pytest.raises(PPNError, match="similarity of ProtoPNet is 'dot'"):
        small("dot")
    task = ProtoPNetTask(3, architecture="test_resnet", image_size=64, last_epochs=2)
    task.trainer = SimpleNamespace(max_epochs=2)
    with pytest.raises(PPNError, match="last layer takes last_epochs, 2"):
        task.on_fit_start()
    record = {"model": "ProtoPNetTask", "num_classes": 3, "version": "0"}
    structure = {"architecture": "tests.zoo:evil", "k": 2, "width": 8, "similarity": "l2"}
    state = {"network.prototypes": torch.zeros(3, 2, 8)}
    path = tmp_path / "hostile.ckpt"
    torch.save({"ppn": {**record, "structure": structure}, "state_dict": state}, path)
    with pytest.raises(CheckpointError, match=r"wants to run 'tests\.zoo:evil'"):
        read_protopnet(str(path))
    structure = {"architecture": "test_resnet", "k": 10**9, "width": 8, "similarity": "l2"}
    torch.save({"ppn": {**record, "structure": structure}, "state_dict": state}, path)
    with pytest.raises(CheckpointError, match="its prototypes are not those that it describes"):
        read_protopnet(str(path))

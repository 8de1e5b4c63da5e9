from pathlib import Path

import pytest
import timm
import torch
from lightning import Trainer

import ppn
from ppn.callbacks.discovery import PrototypeDiscovery
from ppn.data.cub import CUBDataModule
from ppn.errors import CheckpointError, DiscoveryError
from ppn.prototypes.files import DESCRIPTION, TENSORS
from ppn.refinement import Equal
from ppn.tasks.classification import ClassificationTask
from ppn.tasks.prototypes import PrototypeTask
from tests import fakes

ROOT = Path(__file__).parents[2]


def trainer(folder, **options):
    return Trainer(
        max_epochs=0,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = fakes.cub(tmp_path_factory.mktemp("cub") / "CUB_200_2011")
    return CUBDataModule(str(root), batch_size=5, num_workers=0, val_fraction=0.25)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("test_resnet", {}),
        ("test_convnext", {}),
        ("test_vit", {"global_pool": "avg"}),
    ],
)
def test_any_supported_classifier_becomes_an_exact_prototype_network(
    data, tmp_path, architecture, options
):
    model = timm.create_model(architecture, num_classes=3, **options)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    network = PrototypeTask(
        3,
        classifier_ckpt=str(tmp_path / "weights.pth"),
        architecture=architecture,
        model_options=options,
        k=2,
    )
    before = {k: v.clone() for k, v in network.network.classifier.state_dict().items()}
    trainer(tmp_path, callbacks=[PrototypeDiscovery()]).fit(network, datamodule=data)
    assert all(
        torch.equal(v, before[k]) for k, v in network.network.classifier.state_dict().items()
    )
    assert network.network.certificate["agreement"] == 1.0
    assert network.network.certificate["relative_logit_error"] <= 1e-4
    assert network.network.certificate["max_sum_error"] <= 1e-6

    loaded = ppn.load(str(tmp_path / "checkpoints/prototypes.ckpt"))
    images = torch.randn(4, 3, 160, 160)
    with torch.no_grad():
        logits, contributions = loaded(images)
        expected = model.eval()(images)
        tokens = loaded.tokens(images)
    assert torch.allclose(logits, expected, atol=1e-4)
    assert torch.allclose(contributions.sum(-1) + loaded.head.bias, logits, atol=1e-5)
    labels = torch.tensor([0, 1, 2, 0])
    maps = loaded.head.maps(tokens, labels)
    assert torch.allclose(maps.mean((2, 3)), contributions[torch.arange(4), labels], atol=1e-5)
    assert loaded.certificate == network.network.certificate


@pytest.mark.filterwarnings("ignore:The classifier predicts the label")  # of random weights
@pytest.mark.parametrize(
    ("architecture", "size", "level"),
    [
        ("test_vit", 160, "contributions exact, maps indicative"),
        ("lcnet_035", 224, "contributions exact, maps by gradient times token"),
    ],
)
def test_heads_that_do_not_average_patches_keep_exact_contributions(
    data, tmp_path, caplog, architecture, size, level
):
    model = timm.create_model(architecture, num_classes=3)
    torch.nn.init.normal_(model.get_classifier().weight, std=0.1)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    network = PrototypeTask(
        3,
        classifier_ckpt=str(tmp_path / "weights.pth"),
        architecture=architecture,
        image_size=size,
        k=2,
    )
    run = trainer(tmp_path, callbacks=[PrototypeDiscovery()])
    run.fit(network, datamodule=data)
    assert network.network.certificate["level"] == level
    assert network.network.certificate["agreement"] == 1.0
    assert network.network.certificate["relative_logit_error"] <= 1e-4
    assert network.network.certificate["max_sum_error"] <= 1e-6

    loaded = ppn.load(str(tmp_path / "checkpoints/prototypes.ckpt"))
    images = torch.randn(4, 3, size, size)
    with torch.no_grad():
        logits, contributions = loaded(images)
        expected = model.eval()(images)
    assert torch.allclose(logits, expected, atol=1e-4 * float(expected.std()))
    assert torch.allclose(contributions.sum(-1) + loaded.head.bias, logits, atol=1e-5)

    checkpoint = str(tmp_path / "checkpoints/prototypes.ckpt")
    with caplog.at_level("INFO"):
        run.test(network, datamodule=data, ckpt_path=checkpoint)  # in inference mode
    assert ("--model.explainers+=IntegratedMaps" in caplog.text) == ("indicative" in level)
    figures = network.results
    assert figures["agreement"] == 1.0
    assert figures["max_relative_logit_error"] <= 1e-4
    assert figures["head"]["level"] == level
    if figures["head"]["case"] == "class_token":
        assert figures["completeness_error"] is None
    else:
        assert 0 < figures["completeness_error"] < 1
    assert figures["distinct_peaks"] > 0  # maps that are nowhere zero have their own maxima


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """The weights of a black box, and the folder in which `fit` has left its prototypes."""
    base = tmp_path_factory.mktemp("fitted")
    model = timm.create_model("test_resnet", num_classes=3)
    torch.save(model.state_dict(), base / "weights.pth")
    network = PrototypeTask(3, str(base / "weights.pth"), "test_resnet", 96, k=2, compare=[Equal()])
    trainer(base / "run", callbacks=[PrototypeDiscovery()]).fit(network, datamodule=data)
    return base, network


def test_prototypes_are_taken_over_from_files(fitted, data, tmp_path):
    base, network = fitted
    again = PrototypeTask(
        3,
        str(base / "weights.pth"),
        "test_resnet",
        k=7,
        prototypes=str(base / "run"),
    )
    assert again.input_config == network.input_config
    assert again.network.class_names == network.network.class_names
    assert again.network.certificate == network.network.certificate
    ours, theirs = again.state_dict(), network.state_dict()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    trainer(tmp_path).validate(again, datamodule=data, verbose=False)
    trainer(tmp_path).validate(network, datamodule=data, verbose=False)
    for name in ("accuracy", "agreement", "consistency"):
        assert again.results[name] == network.results[name]
    # `fit` leaves them as they are, and a checkpoint no longer needs the files.
    trainer(tmp_path, callbacks=[PrototypeDiscovery()]).fit(again, datamodule=data)
    for name in (TENSORS, DESCRIPTION):
        assert (tmp_path / name).read_bytes() == (base / "run" / name).read_bytes()
    loaded = ppn.load(str(tmp_path / "checkpoints/prototypes.ckpt"))
    assert torch.equal(loaded.head.prototypes, network.network.head.prototypes)


def test_files_that_do_not_fit_the_network_are_refused(fitted, tmp_path):
    base, _ = fitted
    weights, folder = str(base / "weights.pth"), str(base / "run")
    with pytest.raises(CheckpointError, match="for 3 classes, the data has 4"):
        PrototypeTask(4, weights, "test_resnet", prototypes=folder)
    with pytest.raises(CheckpointError, match="holds no classifier: set"):
        PrototypeTask(3, architecture="test_resnet", prototypes=folder)
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="belong to another classifier"):
        PrototypeTask(3, str(tmp_path / "w.pth"), "test_resnet", prototypes=folder)


def test_a_state_dict_with_other_classes_is_refused_not_explained(data, tmp_path):
    model = timm.create_model("test_resnet", num_classes=5)
    path = str(tmp_path / "weights.pth")
    torch.save(model.state_dict(), path)
    with pytest.raises(CheckpointError, match="number of classes"):
        PrototypeTask(6, path, architecture="test_resnet")
    network = PrototypeTask(3, path, architecture="test_resnet")
    with pytest.raises(CheckpointError, match=r"weights\.pth has 5 classes, and which of them"):
        trainer(tmp_path, callbacks=[PrototypeDiscovery()]).fit(network, datamodule=data)
    assert not network.network.dictionary.filled


def test_training_mode_leaves_the_black_box_in_evaluation():
    network = PrototypeTask(3, architecture="test_resnet")
    network.train()
    assert network.training
    assert not any(module.training for module in network.network.classifier.modules())
    assert not any(parameter.requires_grad for parameter in network.network.classifier.parameters())


def test_discovery_refuses_other_models(data, tmp_path):
    model = ClassificationTask(3, "test_resnet", image_size=64)
    with pytest.raises(DiscoveryError, match="works on a PrototypeTask"):
        trainer(tmp_path, callbacks=[PrototypeDiscovery()]).fit(model, datamodule=data)


def test_discovery_refuses_an_untrained_classifier(data, tmp_path):
    network = PrototypeTask(3, architecture="test_resnet")
    with pytest.raises(DiscoveryError, match="not trained"):
        trainer(tmp_path, callbacks=[PrototypeDiscovery()]).fit(network, datamodule=data)


def test_a_checkpoint_of_another_class_is_not_a_network(tmp_path, data):
    model = ClassificationTask(3, "test_resnet", image_size=64)
    run = trainer(tmp_path)
    run.strategy.connect(model)
    run.save_checkpoint(tmp_path / "classifier.ckpt")
    with pytest.raises(CheckpointError, match="holds a ClassificationTask"):
        ppn.load(str(tmp_path / "classifier.ckpt"))

"""A small classifier with a grid of tokens, its network, and its training images."""

import timm
import torch
from torch import nn

from ppn.classifier import Classifier
from ppn.explainers.base import Inputs
from ppn.explainers.training import TrainingImages
from ppn.prototypes.network import PrototypeNetwork
from ppn.types import InputConfig

SIZE = 16


def convolutions(stride=2, width=8, classes=3):
    """Two convolutions, a ReLU, the mean, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride, 1),
        nn.ReLU(),
        nn.Conv2d(6, width, 3, stride, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def network_of(model, size=SIZE, k=2):
    """A network of k prototypes per class, all of them zero."""
    classifier = Classifier(model.eval(), InputConfig((size, size)))
    network = PrototypeNetwork(classifier, k, {"any": True})
    network.head.bias.copy_(classifier.effective_head()[1])
    return network


def transformer(pool):
    """timm's smallest vision transformer; `pool` "token" classifies the class token alone."""
    return timm.create_model("test_vit", num_classes=3, global_pool=pool)


def inputs_of(network, images, indices=None, draw=0):
    """What an evaluation gives an explainer of images."""
    indices = torch.arange(len(images)) if indices is None else indices
    with torch.no_grad():
        return Inputs(images, network.tokens(images), indices, draw)


def training(network, per_class=4, batch_size=3, classes=(0, 1, 2), size=SIZE):
    """Training images of each class: noise of its own, and a patch in a place of its own."""
    batches = []
    for label in classes:
        generator = torch.Generator().manual_seed(label)
        images = 0.3 * torch.randn(per_class, 3, size, size, generator=generator)
        images[:, label % 3, : size // 2, : size // 2] += 2.0
        index = torch.arange(per_class) + per_class * label
        for rows in torch.arange(per_class).split(batch_size):
            same = torch.full((len(rows),), label)
            batches.append({"image": images[rows], "label": same, "index": index[rows]})
    return TrainingImages(network, batches)


def open_network(weight, k=2, size=8):
    """A network whose tokens are the channels of its images, and whose head has these rows."""
    classes, width = weight.shape
    model = nn.Sequential(
        nn.Conv2d(width, width, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(width)[:, :, None, None])
        model[3].weight.copy_(weight)
    config = InputConfig((size, size), mean=(0.0,) * width, std=(1.0,) * width)
    network = PrototypeNetwork(Classifier(model.eval(), config), k, {"any": True})
    network.head.bias.copy_(network.classifier.effective_head()[1])
    return network


def stream(network, images, labels, batch_size=3):
    """Training images as given, class after class."""
    batches = []
    for label in labels.unique().tolist():
        for rows in (labels == label).nonzero()[:, 0].split(batch_size):
            batches.append({"image": images[rows], "label": labels[rows], "index": rows})
    return TrainingImages(network, batches)

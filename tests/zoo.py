"""Small classifiers for tests, and their inputs."""

import timm
import torch
from torch import nn


def scrambled(model, seed=0):
    """Weights, norms, biases and statistics that are not those of a fresh model."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * noise)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                shape = module.running_mean.shape
                module.running_mean.add_(0.1 * torch.randn(shape, generator=generator))
                module.running_var.mul_(0.5 + torch.rand(shape, generator=generator))
    return model.eval()


def size_of(model):
    """Height and width of a timm model's input."""
    return tuple(timm.data.resolve_model_data_config(model)["input_size"][1:])

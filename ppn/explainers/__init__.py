"""Explainers: images and classes to maps, and contributions where they have them."""

from ppn.explainers.base import Attribution, Explainer, Inputs
from ppn.explainers.chance import CentreMaps, RandomMaps, UniformMaps
from ppn.explainers.fitted import FittedPrototypes
from ppn.explainers.prototypes import PrototypeExplainer

__all__ = [
    "Attribution",
    "CentreMaps",
    "Explainer",
    "FittedPrototypes",
    "Inputs",
    "PrototypeExplainer",
    "RandomMaps",
    "UniformMaps",
]

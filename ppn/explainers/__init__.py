"""Explainers: images and classes to maps, and contributions where they have them."""

from ppn.explainers.base import Attribution, Explainer, Inputs
from ppn.explainers.ceiling import Ceiling, ceiling_of
from ppn.explainers.chance import CentreMaps, RandomMaps, UniformMaps
from ppn.explainers.control import OtherClassExact, RandomExact
from ppn.explainers.fitted import FittedPrototypes
from ppn.explainers.prototypes import PrototypeExplainer

__all__ = [
    "Attribution",
    "Ceiling",
    "CentreMaps",
    "Explainer",
    "FittedPrototypes",
    "Inputs",
    "OtherClassExact",
    "PrototypeExplainer",
    "RandomExact",
    "RandomMaps",
    "UniformMaps",
    "ceiling_of",
]

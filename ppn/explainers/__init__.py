"""Explainers: images and classes to maps, and contributions where they have them."""

from ppn.explainers.attribution import (
    CAM,
    LRP,
    AttentionRollout,
    GradCAM,
    GradCAMPlusPlus,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    ScoreCAM,
)
from ppn.explainers.base import Attribution, Explainer, Inputs
from ppn.explainers.ceiling import Ceiling, ceiling_of
from ppn.explainers.chance import CentreMaps, RandomMaps, UniformMaps
from ppn.explainers.concepts import (
    CRAFT,
    EPIC,
    ICE,
    MCD,
    DeepFeatureFactorization,
    KMeansDictionary,
    PCADictionary,
    SemiNMFDictionary,
    SparseAutoencoder,
)
from ppn.explainers.control import OtherClassExact, RandomExact
from ppn.explainers.fitted import FittedPrototypes
from ppn.explainers.integrated import IntegratedMaps
from ppn.explainers.protopnet import TrainedProtoPNet
from ppn.explainers.prototypes import PrototypeExplainer
from ppn.explainers.trained import TrainedMaps

__all__ = [
    "CAM",
    "CRAFT",
    "EPIC",
    "ICE",
    "LRP",
    "MCD",
    "AttentionRollout",
    "Attribution",
    "Ceiling",
    "CentreMaps",
    "DeepFeatureFactorization",
    "Explainer",
    "FittedPrototypes",
    "GradCAM",
    "GradCAMPlusPlus",
    "InputXGradient",
    "Inputs",
    "IntegratedGradients",
    "IntegratedMaps",
    "KMeansDictionary",
    "LayerCAM",
    "OtherClassExact",
    "PCADictionary",
    "PrototypeExplainer",
    "RandomExact",
    "RandomMaps",
    "ScoreCAM",
    "SemiNMFDictionary",
    "SparseAutoencoder",
    "TrainedMaps",
    "TrainedProtoPNet",
    "UniformMaps",
    "ceiling_of",
]

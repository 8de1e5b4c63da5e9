"""Concepts: directions in feature space, found in training images, and how much each counts."""

from ppn.explainers.concepts.craft import CRAFT
from ppn.explainers.concepts.dictionary import (
    KMeansDictionary,
    PCADictionary,
    SemiNMFDictionary,
)
from ppn.explainers.concepts.epic import EPIC
from ppn.explainers.concepts.mcd import MCD
from ppn.explainers.concepts.of_class import ICE, DeepFeatureFactorization
from ppn.explainers.concepts.sparse_autoencoder import SparseAutoencoder

__all__ = [
    "CRAFT",
    "EPIC",
    "ICE",
    "MCD",
    "DeepFeatureFactorization",
    "KMeansDictionary",
    "PCADictionary",
    "SemiNMFDictionary",
    "SparseAutoencoder",
]

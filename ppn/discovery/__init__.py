"""The parts of a class, found in its patch tokens (method: step 1): one discoverer a file."""

from ppn.discovery.base import ClassTokens, Discoverer, Parts
from ppn.discovery.kmeans import KMeans
from ppn.discovery.named_parts import NamedParts
from ppn.discovery.nmf import NMF
from ppn.discovery.vocabulary import Vocabulary

__all__ = ["NMF", "ClassTokens", "Discoverer", "KMeans", "NamedParts", "Parts", "Vocabulary"]

"""Metrics: maps or outputs to numbers.

Every `compute` returns a NamedTuple of figures over all processes: torchmetrics drops the synced
states again when `compute` returns, so whatever needs them is in the result.
"""

from ppn.metrics.accuracy import Accuracy
from ppn.metrics.base import EvaluationShape, Metric, Observation
from ppn.metrics.c2 import C2Score
from ppn.metrics.compactness import Compactness
from ppn.metrics.completeness import Completeness
from ppn.metrics.comprehensiveness import Comprehensiveness
from ppn.metrics.concepts import ConceptDeletion, ConceptInsertion
from ppn.metrics.consistency import Consistency
from ppn.metrics.defaults import default_controls, default_floors, default_metrics
from ppn.metrics.dictionaries import DictionaryAgreement, dictionary_agreement
from ppn.metrics.distinct_peaks import DistinctPeaks
from ppn.metrics.distinctiveness import Distinctiveness
from ppn.metrics.evaluation import Evaluation, Results
from ppn.metrics.fidelity import Fidelity
from ppn.metrics.flagging import Flagging
from ppn.metrics.funnybirds import FunnyBirdsProtocol
from ppn.metrics.misalignment import SpatialMisalignment
from ppn.metrics.part_terms import PartTermDeletion
from ppn.metrics.pixels import PixelDeletion, PixelInsertion
from ppn.metrics.pointing import EnergyBox, EnergyMask, PointingBox, PointingMask
from ppn.metrics.purity import Purity
from ppn.metrics.randomisation import RandomisationCheck
from ppn.metrics.shares import ClassShares
from ppn.metrics.size import ExplanationSize
from ppn.metrics.stability import Stability
from ppn.metrics.surrogate import SurfEMD, SurfMAE

__all__ = [
    "Accuracy",
    "C2Score",
    "ClassShares",
    "Compactness",
    "Completeness",
    "Comprehensiveness",
    "ConceptDeletion",
    "ConceptInsertion",
    "Consistency",
    "DictionaryAgreement",
    "DistinctPeaks",
    "Distinctiveness",
    "EnergyBox",
    "EnergyMask",
    "Evaluation",
    "EvaluationShape",
    "ExplanationSize",
    "Fidelity",
    "Flagging",
    "FunnyBirdsProtocol",
    "Metric",
    "Observation",
    "PartTermDeletion",
    "PixelDeletion",
    "PixelInsertion",
    "PointingBox",
    "PointingMask",
    "Purity",
    "RandomisationCheck",
    "Results",
    "SpatialMisalignment",
    "Stability",
    "SurfEMD",
    "SurfMAE",
    "default_controls",
    "default_floors",
    "default_metrics",
    "dictionary_agreement",
]

"""Rows of the head as sums of prototypes (method: step 2): one refinement a file."""

from ppn.refinement.alpha import Alpha
from ppn.refinement.base import ClassProblem, Refined, Refinement, exact_sum
from ppn.refinement.cam_split import CamSplit
from ppn.refinement.channel_share import ChannelShare
from ppn.refinement.compact_split import CompactSplit
from ppn.refinement.equal import Equal
from ppn.refinement.nelder_mead import NelderMead
from ppn.refinement.unrefined import Unrefined

__all__ = [
    "Alpha",
    "CamSplit",
    "ChannelShare",
    "ClassProblem",
    "CompactSplit",
    "Equal",
    "NelderMead",
    "Refined",
    "Refinement",
    "Unrefined",
    "exact_sum",
]

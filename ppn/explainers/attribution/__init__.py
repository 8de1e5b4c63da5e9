"""Attribution: one map for each class, of where its logit comes from."""

from ppn.explainers.attribution.cam import CAM
from ppn.explainers.attribution.grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from ppn.explainers.attribution.gradients import InputXGradient, IntegratedGradients
from ppn.explainers.attribution.lrp import LRP
from ppn.explainers.attribution.rollout import AttentionRollout
from ppn.explainers.attribution.score_cam import ScoreCAM

__all__ = [
    "CAM",
    "LRP",
    "AttentionRollout",
    "GradCAM",
    "GradCAMPlusPlus",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCAM",
    "ScoreCAM",
]

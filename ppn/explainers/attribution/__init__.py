"""Attribution: one map for each class, of where its logit comes from."""

from ppn.explainers.attribution.cam import CAM
from ppn.explainers.attribution.grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from ppn.explainers.attribution.gradients import InputXGradient, IntegratedGradients
from ppn.explainers.attribution.score_cam import ScoreCAM

__all__ = [
    "CAM",
    "GradCAM",
    "GradCAMPlusPlus",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCAM",
    "ScoreCAM",
]

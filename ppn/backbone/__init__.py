"""A classifier as patch tokens and an effective linear head, found by computing on input."""

from ppn.backbone.inspection import inspect_head
from ppn.backbone.model import Backbone
from ppn.backbone.report import HeadCase, HeadReport

__all__ = ["Backbone", "HeadCase", "HeadReport", "inspect_head"]

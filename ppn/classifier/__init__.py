"""A classifier as patch tokens and an effective linear head, found by computing on input."""

from ppn.classifier.head_case import HeadCase, HeadInspection
from ppn.classifier.inspection import inspect_head
from ppn.classifier.model import Classifier

__all__ = ["Classifier", "HeadCase", "HeadInspection", "inspect_head"]

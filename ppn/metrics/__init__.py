"""Evaluation protocols as torchmetrics."""

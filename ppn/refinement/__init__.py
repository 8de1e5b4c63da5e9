"""Rows of the head as sums of prototypes (method: step 2)."""

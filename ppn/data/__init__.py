"""Data sets: one file each, on one base."""

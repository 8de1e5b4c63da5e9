"""Serving an exported network without this package."""

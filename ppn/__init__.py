"""Post-hoc part-prototype networks: every logit of a classifier as an exact sum of parts."""

from ppn.version import __version__

__all__ = ["__version__"]

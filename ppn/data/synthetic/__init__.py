"""`SyntheticBirds`, the built-in data set: drawn on demand, no download."""

from ppn.data.synthetic.datamodule import SyntheticBirds, SyntheticBirdsDataModule

__all__ = ["SyntheticBirds", "SyntheticBirdsDataModule"]

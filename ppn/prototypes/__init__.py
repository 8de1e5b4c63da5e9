"""The head as sums of prototypes: fitted, certified, stored."""

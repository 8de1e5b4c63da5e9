"""How the small commands read their arguments."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ppn.errors import PPNError


class Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one sentence instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise.

        Raises:
            PPNError: Always.
        """
        raise PPNError(f"{message}; see {self.prog} --help.")

"""Imports overcomplete, whose version 0.3 and matplotlib 3.9 do not know each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.errors import optional

if TYPE_CHECKING:
    from types import ModuleType


def overcomplete(module: str) -> ModuleType:
    """Return one of overcomplete's modules.

    Args:
        module: Its name in the package, such as `sae`.

    Raises:
        MissingPackageError: If overcomplete is not installed.
    """
    colours = optional("matplotlib.cm", "compare")
    if hasattr(colours, "get_cmap"):
        return optional(f"overcomplete.{module}", "compare")
    # overcomplete 0.3 calls it when imported; matplotlib 3.9 removed it.
    colours.get_cmap = optional("matplotlib", "compare").colormaps.get_cmap  # type: ignore[attr-defined]
    try:
        return optional(f"overcomplete.{module}", "compare")
    finally:
        del colours.get_cmap

"""Post-hoc part-prototype networks: every logit of a classifier as an exact sum of parts.

network = ppn.from_classifier(model, loader, k=3)
explanation = network.explain("bird.jpg")
explanation.save("explanation.png")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ppn.version import __version__

if TYPE_CHECKING:
    from ppn.errors import PPNError
    from ppn.explanation.record import Explanation
    from ppn.metrics.evaluate import evaluate
    from ppn.prototypes.from_classifier import from_classifier
    from ppn.prototypes.load import load
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import InputConfig

__all__ = [
    "Explanation",
    "InputConfig",
    "PPNError",
    "PrototypeNetwork",
    "__version__",
    "evaluate",
    "from_classifier",
    "load",
]

_HOMES = {
    "Explanation": "ppn.explanation.record",
    "InputConfig": "ppn.types",
    "PPNError": "ppn.errors",
    "PrototypeNetwork": "ppn.prototypes.network",
    "evaluate": "ppn.metrics.evaluate",
    "from_classifier": "ppn.prototypes.from_classifier",
    "load": "ppn.prototypes.load",
}


def __dir__() -> list[str]:
    """List the public names, which are imported when they are asked for."""
    return __all__


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the above
    """Import what is asked for when it is asked for: `import ppn` alone is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ppn' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)

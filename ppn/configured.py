"""Objects that YAML and Python choose alike: a constructor of options, and a name for tables."""

from __future__ import annotations

import inspect
import re
from typing import Any, ClassVar


class Configured:
    """An object whose constructor holds options only, each kept under its own name.

    This is scikit-learn's rule for estimators. It lets every discoverer, refinement, explainer and
    metric say what it is called, and with which options, wherever results are shown.

    Attributes:
        key: The class's name in snake case: `CamSplit` is `cam_split` in every file and table.
    """

    key: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "key" not in vars(cls):
            cls.key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__)
            cls.key = cls.key.lower()

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments and their values, as plain values where they are."""
        return {name: getattr(self, name) for name in self._option_parameters()}

    @property
    def name(self) -> str:
        """`key`, and in brackets the options that are not at their defaults."""
        changed = [
            f"{name}={getattr(self, name)}"
            for name, parameter in self._option_parameters().items()
            if getattr(self, name) != parameter.default
        ]
        return f"{self.key}({', '.join(changed)})" if changed else self.key

    @classmethod
    def _option_parameters(cls) -> dict[str, inspect.Parameter]:
        found = dict(inspect.signature(cls.__init__).parameters)
        found.pop("self", None)
        return {
            name: parameter
            for name, parameter in found.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }

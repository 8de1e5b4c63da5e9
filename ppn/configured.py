"""Objects that YAML and Python choose alike: a constructor of options, and a name for tables."""

from __future__ import annotations

import inspect
import re
from copy import deepcopy
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.errors import PPNError

_WHOLE = ("int", "int | None", int)
"""Annotations of options that are whole numbers."""
Made = TypeVar("Made", bound="Configured")


def expect_least(
    least: float, kind: type[PPNError] = DiscoveryError, of: str = "", **options: float | None
) -> None:
    """Refuse options, given by their names, that are smaller than `least`; None is none at all.

    Raises:
        PPNError: Of this kind, for the first that is.
    """
    _expect(lambda value: value >= least, f"at least {least}", kind, of, options)


def expect_positive(
    kind: type[PPNError] = DiscoveryError, of: str = "", **options: float | None
) -> None:
    """Refuse options that are not positive; see `expect_least`."""
    _expect(lambda value: value > 0, "positive", kind, of, options)


def _expect(
    fits: Callable[[Any], bool], what: str, kind: type[PPNError], of: str, options: dict[str, Any]
) -> None:
    for name, value in options.items():
        try:
            right = value is None or bool(fits(value))
        except (TypeError, ValueError):  # a text, or several numbers
            right = False
        if not right:
            raise kind(f"{name}{of} is {value!r:.40}, but must be {what}.")


class Configured:
    """An object whose constructor holds options only, each kept under its own name.

    This is scikit-learn's rule for estimators. It lets every discoverer, refinement, explainer and
    metric say what it is called, and with which options, wherever results are shown.

    Attributes:
        key: The class's name in snake case: `CamSplit` is `cam_split` in every file and table.
    """

    key: str = ""
    seed: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "key" not in vars(cls):
            cls.key = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__)
            cls.key = cls.key.lower()

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments and their values, as plain values where they are."""
        return {name: getattr(self, name) for name in self._option_parameters()}

    def _expect_least(self, least: float, *names: str) -> None:
        """Refuse options that are smaller than `least`; None is none at all.

        Those that the constructor's signature says are `int` must be whole numbers.
        """
        given = {name: getattr(self, name) for name in names}
        expect_least(least, of=f" of {self.key}", **given)
        for name, parameter in self._option_parameters().items():
            if given.get(name) is not None and parameter.annotation in _WHOLE:
                self._expect_whole(name)

    def _expect_positive(self, *names: str) -> None:
        """Refuse options that are not positive."""
        expect_positive(of=f" of {self.key}", **{name: getattr(self, name) for name in names})

    def _expect_word(self, option: str, choices: Any) -> None:  # noqa: ANN401 - a Literal
        """Refuse an option that must be one of a Literal's words, of a caller without types."""
        value = getattr(self, option)
        if value not in get_args(choices):
            words = ", ".join(map(repr, get_args(choices)))
            raise DiscoveryError(f"{option} of {self.key} is {value!r:.40}: choose one of {words}.")

    def _expect_seed(self) -> None:
        """Refuse a seed that is not a whole number; numpy's and torch's are."""
        self._expect_whole("seed")

    def _expect_whole(self, option: str) -> None:
        """Refuse an option that is not a whole number; one of numpy's or torch's becomes an int."""
        value = getattr(self, option)
        try:
            setattr(self, option, index(value))
        except TypeError:
            raise DiscoveryError(
                f"{option} of {self.key} is {value!r:.40}, but must be a whole number."
            ) from None

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


def kinds_of(base: type[Made]) -> list[type[Made]]:
    """Return all that were made of a class, directly or not, and are known by now."""
    own = [one for kind in base.__subclasses__() for one in (kind, *kinds_of(kind))]
    return list(dict.fromkeys(own))


def seeded(template: Made, seed: int) -> Made:
    """Return a copy whose options called `seed`, and those of what it is made of, are `seed` on."""
    made = deepcopy(template)
    waiting: list[Configured] = [made]
    while waiting:
        one = waiting.pop()
        for option, value in one.options.items():
            if option == "seed" and isinstance(value, int):
                one.seed = value + seed
            elif isinstance(value, Configured):
                waiting.append(value)
    return made

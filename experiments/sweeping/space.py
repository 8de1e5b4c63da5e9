"""What proposes the parameters of trials: a grid, chance, or Optuna."""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import TYPE_CHECKING, Any, Protocol

from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from experiments.sweeping.spec import Sweep

_PATIENCE = 1000
"""Draws without anything new after which a space counts as used up."""


class Proposals(Protocol):
    """Iterates over the parameters of trials, and is told how each went."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the parameters of one trial after another."""
        ...

    def tell(self, value: float | None) -> None:
        """Tell the metric of the trial that was yielded last; None if it failed."""
        ...


def proposals(sweep: Sweep, trials: int | None, seed: int) -> Proposals:
    """Return what proposes a sweep's trials.

    Args:
        sweep: The sweep.
        trials: Most trials; None takes the file's `run_cap`.
        seed: Seed of chance and of Optuna.

    Raises:
        PPNError: If an endless sweep has no limit, or Optuna is needed but missing.
    """
    limit = sweep.run_cap if trials is None else trials
    if limit is not None and limit < 1:
        raise PPNError(f"The number of trials is {limit}, but must be at least 1.")
    if sweep.method == "grid":
        return Listed(itertools.islice(_grid(sweep), limit))
    if limit is None:
        raise PPNError(
            f"A sweep by {sweep.method} never ends: give run_cap in its file, or --trials."
        )
    if sweep.method == "random":
        return Listed(itertools.islice(_draws(sweep, seed), limit))
    return Bayes(sweep, limit, seed)


class Listed:
    """Trials that do not depend on how the others went."""

    def __init__(self, trials: Iterator[dict[str, Any]]) -> None:
        self._trials = trials

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the trials."""
        return self._trials

    def tell(self, value: float | None) -> None:
        """Ignore how a trial went."""


class Bayes:
    """Optuna's tree-structured Parzen estimator.

    With the same seed and results it proposes the same trials, so that a sweep that was stopped
    goes on from the files of its trials alone.
    """

    def __init__(self, sweep: Sweep, limit: int, seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise PPNError(
                "A sweep by bayes on this machine needs Optuna: pip install 'ppn[sweeps]', or set "
                "method to random."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        direction = "maximize" if sweep.maximize else "minimize"
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction=direction, sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._sweep, self._limit = sweep, limit
        self._trial: Any = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what Optuna asks for."""
        for _ in range(self._limit):
            self._trial = self._study.ask()
            yield {n: self._suggest(n, given) for n, given in self._sweep.parameters.items()}

    def tell(self, value: float | None) -> None:
        """Tell Optuna how the trial went."""
        if value is None or not math.isfinite(value):
            self._study.tell(self._trial, state=self._failed)
        else:
            self._study.tell(self._trial, value)

    def _suggest(self, name: str, given: dict[str, Any]) -> Any:  # noqa: ANN401 - of any type
        choices = _choices(given)
        if choices is not None:
            return self._trial.suggest_categorical(name, choices)
        kind, low, high = given.get("distribution", "uniform"), given["min"], given["max"]
        if kind == "int_uniform":
            return self._trial.suggest_int(name, low, high)
        return self._trial.suggest_float(name, low, high, log=kind == "log_uniform_values")


def _choices(given: dict[str, Any]) -> list[Any] | None:
    if "value" in given:
        return [given["value"]]
    return given.get("values")


def _grid(sweep: Sweep) -> Iterator[dict[str, Any]]:
    choices = [_choices(given) or [] for given in sweep.parameters.values()]
    for values in itertools.product(*choices):
        yield dict(zip(sweep.parameters, values, strict=True))


def _draws(sweep: Sweep, seed: int) -> Iterator[dict[str, Any]]:
    """Yield draws, none of them twice: a trial would only repeat its numbers."""
    rng = random.Random(seed)
    seen: set[str] = set()
    idle = 0
    while idle < _PATIENCE:
        values = {name: _draw(rng, given) for name, given in sweep.parameters.items()}
        key = json.dumps(values)
        idle += 1
        if key not in seen:
            seen.add(key)
            idle = 0
            yield values


def _draw(rng: random.Random, given: dict[str, Any]) -> Any:  # noqa: ANN401 - of any type
    choices = _choices(given)
    if choices is not None:
        return rng.choice(choices)
    kind, low, high = given.get("distribution", "uniform"), given["min"], given["max"]
    if kind == "int_uniform":
        return rng.randint(low, high)
    if kind == "log_uniform_values":
        return math.exp(rng.uniform(math.log(low), math.log(high)))
    return rng.uniform(low, high)

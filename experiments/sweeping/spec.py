"""A W&B sweep file: what it says, checked, and the command line of a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppn.errors import PPNError
from ppn.io.files import parse_yaml
from ppn.io.schema import Maybe, mismatch

if TYPE_CHECKING:
    from pathlib import Path

METHODS = ("grid", "random", "bayes")
_SCHEMA = {
    "method": str,
    "metric": {"name": str, "goal": str},
    "command": list,
    "parameters": dict,
    "run_cap": Maybe(int),
}
RANGES = ("uniform", "int_uniform", "log_uniform_values")


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        name: Of the sweep.
        method: "grid", "random" or "bayes".
        metric: What trials are judged by, as it is logged: "val/consistency".
        maximize: Whether more is better.
        command: The template of a trial's command.
        parameters: Flat dotted option: its distribution.
        run_cap: Most trials; None without a limit.
        content: The whole file, for W&B.
    """

    name: str
    method: str
    metric: str
    maximize: bool
    command: list[str]
    parameters: dict[str, dict[str, Any]]
    run_cap: int | None
    content: dict[str, Any]

    @property
    def key(self) -> str:
        """The metric's name in `metrics.json`, which says itself of which split it is."""
        return self.metric.partition("/")[2]

    def arguments(self, values: dict[str, Any]) -> list[str]:
        """Return a trial's arguments of ppn, written as W&B's agent writes them."""
        words: list[str] = []
        for word in self.command[self.command.index("ppn") + 1 :]:
            if word == "${args}":
                words += [f"--{name}={value}" for name, value in values.items()]
            else:
                words.append(word)
        return words

    def value(self, figures: dict[str, Any]) -> float:
        """Return the metric from the content of `metrics.json`.

        Raises:
            PPNError: If it was not measured.
        """
        found = figures.get(self.key)
        if figures.get("split") != self.metric.partition("/")[0] or found is None:
            raise PPNError(
                f"The trial has not measured {self.metric}: the sweep's metric must be a number of "
                "metrics.json after `ppn trial`."
            )
        return float(found)


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        PPNError: If it is missing, broken, or says what cannot be run.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PPNError(f"{path} cannot be read as a sweep file: {reason}.") from None
    wrong = mismatch(content, _SCHEMA)
    if wrong is None and content["metric"]["goal"] not in ("maximize", "minimize"):
        wrong = "metric.goal is neither maximize nor minimize"
    if wrong is not None:
        raise PPNError(
            f"{path} is no sweep file ({wrong}): it needs method, metric with name and goal, "
            "command, and parameters."
        )
    sweep = Sweep(
        name=str(content.get("name", path.stem)),
        method=content["method"],
        metric=content["metric"]["name"],
        maximize=content["metric"]["goal"] == "maximize",
        command=[str(word) for word in content["command"]],
        parameters=content["parameters"],
        run_cap=content.get("run_cap"),
        content=content,
    )
    if sweep.method not in METHODS:
        raise PPNError(
            f"{path}: method is {sweep.method}, but must be one of {', '.join(METHODS)}."
        )
    if "ppn" not in sweep.command or "${args}" not in sweep.command:
        raise PPNError(f"{path}: command must call ppn and hand on ${{args}}.")
    for name, given in sweep.parameters.items():
        _check(path, sweep.method, name, given)
    return sweep


def _check(path: Path, method: str, name: str, given: Any) -> None:  # noqa: ANN401 - of YAML
    """Refuse what a flag cannot say, and what is not understood here."""
    if not isinstance(given, dict):
        raise PPNError(f"{path}: {name} needs value, values, or min and max.")
    if "value" in given or "values" in given:
        choices = given.get("values", [given.get("value")])
        if not isinstance(choices, list) or not choices or None in choices:
            raise PPNError(f"{path}: {name} needs a list of values, and none of them null.")
        return
    kind = given.get("distribution", "uniform")
    if kind not in RANGES or not {"min", "max"} <= set(given):
        raise PPNError(
            f"{path}: {name} needs value, values, or min and max with distribution "
            f"{', '.join(RANGES)}."
        )
    wrong = mismatch(given, {"min": float, "max": float})
    if wrong is not None:
        raise PPNError(f"{path}: {name} needs numbers as min and max, but {wrong}.")
    if not given["min"] < given["max"] or (kind.startswith("log") and given["min"] <= 0):
        raise PPNError(f"{path}: {name} has no range between {given['min']} and {given['max']}.")
    if method == "grid":
        raise PPNError(f"{path}: {name} is a range, of which there is no grid: list its values.")

"""A finished run, read from the files in its directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.data.build import title_of
from ppn.errors import DataError
from ppn.io.files import parse_json, parse_yaml
from ppn.io.schema import Maybe, mismatch
from ppn.report.measured import measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ppn.report.measured import Measured

RESULTS = "metrics.json"
_FIGURES = {
    "split": Maybe(str),
    "accuracy": Maybe(float),
    "blackbox_accuracy": Maybe(float),
    "agreement": Maybe(float),
    "model": Maybe(str),
    "images": Maybe(int),
    "seeds": Maybe([int]),
    "head": Maybe({"level": Maybe(str)}),
}
_CONFIG = {
    "data": Maybe({"class_path": Maybe(str), "init_args": Maybe(dict)}),
    "model": Maybe({"class_path": Maybe(str), "init_args": Maybe(dict)}),
}
# Options of a DataModule that do not change which pixels are measured.
_IRRELEVANT = {"root", "download", "batch_size", "num_workers", "augmentation", "masks"}


@dataclass(frozen=True)
class FinishedRun:
    """What the files of a run say.

    Attributes:
        path: Its directory.
        name: Short name, different from those of the runs beside it.
        measured: Content of `metrics.json`.
        config: Content of `config.yaml`; empty where there is none.
        seconds: How long a sweep's trial took; None for other runs.
    """

    path: Path
    name: str
    measured: Measured
    config: dict[str, Any]
    seconds: float | None

    @property
    def figures(self) -> dict[str, Any]:
        """Content of `metrics.json`, as plain values."""
        return self.measured.figures

    @property
    def benchmark(self) -> bool:
        """Whether `ppn benchmark` has made it."""
        return self.figures.get("seeds") is not None

    @property
    def data(self) -> str:
        """Name of the data set; empty where it is not known."""
        return title_of(self._part("data"))

    @property
    def split(self) -> str:
        """The evaluated split: "val" or "test"."""
        return str(self.figures["split"])

    @property
    def architecture(self) -> str:
        """The black box's architecture; empty where it is not known."""
        return str(self._options("model").get("architecture") or "")

    @property
    def prototypes(self) -> int | None:
        """Prototypes per class, k; None for a black box."""
        chosen = self.measured.explainers.get(self.measured.refinement or "")
        return None if chosen is None else chosen.k

    @property
    def level(self) -> str | None:
        """What is exact about its explanations, in words; None for a black box."""
        level: str | None = (self.figures.get("head") or {}).get("level")
        return level

    def measured_on(self, metrics: Iterable[str]) -> dict[str, Any]:
        """Return what must be equal for two runs' numbers to be comparable.

        Args:
            metrics: Keys of the metrics that are compared.
        """
        options = self._options("data")
        relevant = {k: v for k, v in options.items() if k not in _IRRELEVANT}
        if self.split == "test":
            relevant = {
                k: v for k, v in relevant.items() if k not in ("val_fraction", "split_seed")
            }
        return {
            "data": self.data,
            "split": self.split,
            "images": self.figures.get("images"),
            "seeds": self.figures.get("seeds"),
            "options of the data": relevant,
            "protocols": {
                key: [self.measured.metrics[key].protocol, self.measured.metrics[key].constants]
                for key in metrics
            },
        }

    def _part(self, name: str) -> dict[str, Any]:
        return self.config.get(name) or {}

    def _options(self, name: str) -> dict[str, Any]:
        return self._part(name).get("init_args") or {}


def read_runs(paths: Sequence[str]) -> list[FinishedRun]:
    """Read several runs, and give each a name that the others do not have.

    Raises:
        DataError: If one is missing, unfinished or damaged, or is given twice.
    """
    folders = [Path(path) for path in paths]
    resolved = [folder.resolve() for folder in folders]
    for index, folder in enumerate(resolved):
        if folder in resolved[:index]:
            raise DataError(f"{folders[index]} is given twice: give each run once.")
    return [_read(f, name) for f, name in zip(folders, _names(resolved), strict=True)]


def differences(runs: Sequence[FinishedRun]) -> list[str]:
    """Say what was not measured alike, in one sentence each; none where runs are comparable."""
    notes: list[str] = []
    shared = set(runs[0].measured.metrics).intersection(*(run.measured.metrics for run in runs))
    for key in runs[0].measured_on(shared):
        if key.startswith(("images", "options")) and notes:
            continue  # of other data they are others anyway
        groups: dict[str, list[str]] = {}
        for run in runs:
            value = run.measured_on(shared)[key]
            groups.setdefault(json.dumps(value, sort_keys=True), []).append(run.name)
        if len(groups) > 1 and key in ("data", "split", "images", "seeds"):
            told = "; ".join(f"{json.loads(v)} ({', '.join(names)})" for v, names in groups.items())
            notes.append(f"Not comparable across runs, {key} differ: {told}.")
        elif len(groups) > 1:
            told = "; ".join(", ".join(names) for names in groups.values())
            notes.append(f"Not comparable across runs, {key} differ between: {told}.")
    return notes


def _names(folders: Sequence[Path]) -> list[str]:
    """The fewest last parts of the paths that tell them apart."""
    longest = max(len(folder.parts) for folder in folders)
    for count in range(1, longest):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _read(folder: Path, name: str) -> FinishedRun:
    path = folder / RESULTS
    if not path.is_file():
        raise DataError(
            f"{folder} has no {RESULTS}: give the directory of a finished run of `ppn test`, "
            "`ppn validate`, `ppn trial` or `ppn benchmark`."
        )
    figures = _load(path, _FIGURES)
    # A benchmark measures what it was told to.
    known = figures.get("accuracy") is not None or figures.get("seeds") is not None
    if figures.get("split") is None or not known:
        raise DataError(f"{path} is not what `ppn test` writes: run it again.")
    config, trial = folder / "config.yaml", folder / "trial.json"
    options = _load(config, _CONFIG) if config.is_file() else {}
    kept = _load(trial, {"seconds": Maybe(float)}) if trial.is_file() else {}
    return FinishedRun(folder, name, measured(figures, str(path)), options, kept.get("seconds"))


def _load(path: Path, schema: dict[str, Any]) -> dict[str, Any]:
    """What a file holds; only what the schema names may be relied on."""
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_json(text) if path.suffix == ".json" else parse_yaml(text)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read ({reason}): run the command again.") from None
    wrong = mismatch(content, schema)
    if wrong is not None:
        raise DataError(f"{path} is not what ppn writes ({wrong}): run the command again.")
    found: dict[str, Any] = content
    return found

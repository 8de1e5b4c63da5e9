"""One cell of a benchmark, an explainer and a seed: a file that appears when it is whole."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import nn

import ppn
from ppn.benchmark.config import described
from ppn.configured import Configured
from ppn.errors import DataError
from ppn.explainers.base import Kind
from ppn.io.files import parse_json, write_json
from ppn.io.schema import Maybe, mismatch
from ppn.metrics.resampling import Values
from ppn.metrics.score import Evaluated
from ppn.prototypes.journal import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.benchmark.config import Benchmark
    from ppn.data.dataset import ImageView

ROOMS = ("classifier", "discovery", "refinement", "data", "prototypes", "explainers", "metrics")
"""Parts of the package that numbers depend on."""
_IRRELEVANT = ("root", "download", "batch_size", "num_workers", "augmentation")
"""Options of a DataModule that change none."""
_SCHEMA = {
    "name": str,
    "seed": int,
    "why_empty": Maybe(str),
    "about": Maybe({"title": str, "kind": str, "exact": bool, "additive": bool, "k": int}),
    "figures": Maybe(dict),
    "metrics": Maybe({str: {"title": str, "protocol": Maybe(str), "constants": Maybe(dict)}}),
    "values": Maybe(
        {
            str: {
                "classes": [Maybe(float)],
                "prototypes": Maybe(list),
                "draws": Maybe([Maybe(float)]),
                "curves": Maybe([[Maybe(float)]]),
            }
        }
    ),
    "class_names": Maybe([str]),
    "images": Maybe(int),
    "seconds": Maybe(float),
    "cost": Maybe({str: Maybe(float)}),
}


@dataclass(frozen=True)
class Cell:
    """What one explainer gave with one seed.

    Attributes:
        name: The explainer's name, the same for every seed.
        seed: The seed.
        evaluated: What was measured; None for an empty cell.
        why_empty: Why there is nothing, in a sentence; empty otherwise.
        cost: `fit_seconds`, `seconds_per_image`, `peak_mib` and `parameters`.
    """

    name: str
    seed: int
    evaluated: Evaluated | None
    why_empty: str = ""
    cost: dict[str, float | None] | None = None


def write_cell(path: Path, cell: Cell) -> None:
    """Write a cell as JSON.

    Raises:
        DataError: If the file cannot be written.
    """
    content: dict[str, Any] = {"name": cell.name, "seed": cell.seed, "why_empty": cell.why_empty}
    found = cell.evaluated
    if found is not None:
        content |= {
            "about": found.about,
            "figures": found.figures,
            "metrics": found.metrics,
            "values": {key: _plain(values) for key, values in found.values.items()},
            "class_names": found.class_names,
            "images": found.images,
            "seconds": found.seconds,
            "cost": cell.cost,
        }
    write_json(path, content)


def read_cell(path: Path, of: tuple[str, int] | None = None) -> Cell:
    """Read what `write_cell` wrote.

    Args:
        path: The file.
        of: Name of the explainer and seed that it must be of; None: any.

    Raises:
        DataError: If it is missing, damaged or of another kind.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        wrong = mismatch(content, _SCHEMA)
        if wrong is not None:
            raise ValueError(wrong)
        if of not in (None, (content["name"], content["seed"])):
            raise ValueError(f"it is of {content['name']}, seed {content['seed']}")
        evaluated = None
        if content.get("figures") is not None:
            _expect_classes(content)
            evaluated = Evaluated(
                content["name"],
                content["about"],
                content["figures"],
                content["metrics"],
                {key: _values(values) for key, values in content["values"].items()},
                content["class_names"],
                content["images"],
                content["seconds"],
            )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} cannot be read ({reason}): delete it, and run the benchmark again."
        ) from None
    name, seed, why = content["name"], content["seed"], content.get("why_empty") or ""
    return Cell(name, seed, evaluated, why, content.get("cost"))


def _expect_classes(content: dict[str, Any]) -> None:
    """Refuse a kind that there is not, and values of other classes and parts than are told of."""
    count, k, kind = len(content["class_names"]), content["about"]["k"], content["about"]["kind"]
    if kind not in get_args(Kind):
        raise ValueError(f"there is no kind '{kind}'")
    for key, values in content["values"].items():
        rows = [values[name] for name in ("prototypes", "curves") if values.get(name) is not None]
        if any(len(listed) != count for listed in (values["classes"], *rows)):
            raise ValueError(f"{key} has not {count} classes")
        if any(len(row) > k for row in values.get("prototypes") or []):
            raise ValueError(f"{key} has more than {k} parts")


def cell_key(benchmark: Benchmark, name: str, seed: int, common: str) -> str:
    """Return a short name for everything that the numbers of a cell depend on.

    Args:
        benchmark: What is compared.
        name: The explainer's name.
        seed: The seed.
        common: `common_key` of the seed.
    """
    (explainer,) = (one for one in benchmark.explainers if one.name == name)
    chosen: list[Configured] = [explainer, *benchmark.metrics]
    words = json.dumps([described(one) for one in chosen], sort_keys=True)
    return fingerprint([common, words, *_contents(chosen), str(seed)])


def common_key(benchmark: Benchmark, model: nn.Module, views: Sequence[ImageView]) -> str:
    """Return a short name for what all cells of a seed depend on: code, data and black box.

    Args:
        benchmark: What is compared.
        model: The black box.
        views: Training images and scored images.
    """
    data = benchmark.data
    options = {k: v for k, v in vars(data).items() if not k.startswith("_") and _is_plain(v)}
    plain = {k: repr(v) for k, v in sorted(options.items()) if k not in _IRRELEVANT}
    device = next((p.device.type for p in model.parameters()), "cpu")
    settings = [code_key(), torch.__version__, type(data).__name__, repr(plain), device]
    settings += [str(benchmark.k), str(benchmark.images_per_class)]
    parts: list[str | Tensor] = [*settings]
    for view in views:
        parts.append("\n".join(view.source.name(int(index)) for index in view.indices))
        parts.append(torch.from_numpy(view.labels.copy()))
    return fingerprint([*parts, *model.state_dict().values()])


def code_key() -> str:
    """Return a hash of the version and of the code that numbers depend on."""
    base = Path(inspect.getfile(ppn)).parent
    digest = hashlib.blake2b(ppn.__version__.encode(), digest_size=12)
    for room in ROOMS:
        for file in sorted((base / room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _contents(chosen: Sequence[Configured]) -> list[str | Tensor]:
    """What options stand for: code from outside of the package, files, and weights of modules.

    A path may lead to something else by now, such as another training of the same model.
    """
    waiting: list[object] = [*chosen]
    code: dict[str, str] = {}
    files: dict[str, str] = {}
    weights: list[Tensor] = []
    while waiting:
        one = waiting.pop()
        if isinstance(one, (Configured, nn.Module)):
            kind = type(one)
            if kind.__module__.partition(".")[0] not in ("ppn", "torch"):
                code[kind.__module__] = Path(inspect.getfile(kind)).read_text()
        if isinstance(one, Configured):
            waiting += one.options.values()
        elif isinstance(one, nn.Module):
            weights += one.state_dict().values()
        elif isinstance(one, (list, tuple)):
            waiting += one
        elif isinstance(one, str):
            with suppress(OSError, ValueError, RuntimeError):  # no path, or not to be read
                files[one] = hashlib.blake2b(Path(one).expanduser().read_bytes()).hexdigest()
    return [json.dumps([code, files], sort_keys=True), *weights]


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple))


def _plain(values: Values) -> dict[str, Any]:
    return {name: _listed(tensor) for name, tensor in values._asdict().items()}


def _listed(tensor: Tensor | None) -> list[Any] | None:
    """A tensor as lists, None for what is no number: JSON has none."""
    if tensor is None:
        return None
    if tensor.dim() > 1:
        return [_listed(row) for row in tensor]
    return [value if math.isfinite(value) else None for value in tensor.double().tolist()]


def _values(listed: dict[str, Any]) -> Values:
    return Values(**{name: _tensor(listed.get(name)) for name in Values._fields})


def _tensor(listed: list[Any] | None) -> Any:  # noqa: ANN401 - a tensor where there is one
    if listed is None:
        return None
    if listed and isinstance(listed[0], list):
        return torch.stack([_tensor(row) for row in listed])
    numbers = [math.nan if value is None else float(value) for value in listed]
    return torch.tensor(numbers, dtype=torch.float64)

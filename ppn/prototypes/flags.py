"""Prototypes that deserve a second look, and why: one place for report, files and editing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from ppn.errors import DataError
from ppn.io.files import parse_json, user_path
from ppn.io.schema import Maybe, mismatch

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from torch import Tensor

FlagKind = Literal["outside", "duplicate", "little", "foreign", "unsteady"]
LIMITS: dict[FlagKind, float] = {
    "outside": 0.5,
    "duplicate": 0.8,
    "little": 0.1,
    "foreign": 0.5,
    "unsteady": 0.5,
}
"""From which value on a prototype is flagged; "little" up to which."""
MEANINGS: dict[FlagKind, str] = {
    "outside": "share of the class's images on which its maximum lies outside of the object",
    "duplicate": "share of the class's images on which its maximum is in the same cell as that of "
    "a part that carries more",
    "little": "what it carries of the logit, over what it would carry if all parts carried alike",
    "foreign": "share of other classes among the images to which it contributes most",
    "unsteady": "how far its box moves, as 1 minus IoU, when only the surroundings change",
}
"""What the value of each kind is."""
WORDS: dict[FlagKind, str] = {
    "outside": "mostly background",
    "duplicate": "like {other}",
    "little": "carries little",
    "foreign": "fires on other classes",
    "unsteady": "moves with its surroundings",
}
"""Each kind in plain words; `other` is what the part is like."""
_SCHEMA = {
    "flags": {
        "prototypes": [
            {"flag": str, "label": int, "prototype": int, "value": float, "other": Maybe(int)}
        ]
    }
}


class Flag(NamedTuple):
    """Why one prototype deserves a second look.

    `kind` and `value`, see `MEANINGS`; `label` its class; `number` which prototype, from 1, as
    pictures, files and `network.remove(label, number)` count; `other` the number of the part that
    it duplicates, as in `network.merge(label, other, number)`; None for other kinds.
    """

    kind: FlagKind
    label: int
    number: int
    value: float
    other: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "flag": self.kind,
            "label": self.label,
            "prototype": self.number,
            "value": self.value,
            "other": self.other,
        }


def raise_flags(
    measured: Mapping[FlagKind, Tensor],
    twin: Tensor | None = None,
    limits: Mapping[FlagKind, float] = LIMITS,
) -> list[Flag]:
    """Flag the prototypes whose values are beyond a limit.

    Args:
        measured: For each kind that was measured (C, k), see `MEANINGS`; NaN where it was not.
        twin: (C, k) which part (from 0) each duplicates, where "duplicate" is measured.
        limits: See `LIMITS`.

    Returns:
        Those of each kind by class and prototype.
    """
    found = []
    for kind in get_args(FlagKind):
        if kind not in measured:
            continue
        values = measured[kind].double().cpu()
        beyond = values <= limits[kind] if kind == "little" else values >= limits[kind]
        for label, part in beyond.nonzero().tolist():  # NaN is beyond nothing
            other = None
            if kind == "duplicate" and twin is not None:
                other = int(twin[label, part]) + 1
            found.append(Flag(kind, label, part + 1, float(values[label, part]), other))
    return found


def relative_share(share: Tensor, images: Tensor) -> Tensor:
    """Return |share| over an equal share of all parts (C, k); NaN for classes without images.

    Args:
        share: (C, k) mean contribution over the mean logit without bias.
        images: (C,) evaluated images.
    """
    size = share.abs()
    relative = size * share.shape[1] / size.sum(1, keepdim=True).clamp(min=1e-30)
    return relative.masked_fill((images == 0)[:, None], float("nan"))


def duplicates(together: Tensor, images: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Hold each prototype against those of its class that carry more.

    Args:
        together: (C, k, k) number of images on which two prototypes have their maximum in one cell.
        images: (C,) evaluated images.
        share: (C, k) as in `relative_share`.

    Returns:
        (C, k) the largest share of images on which it has its maximum where such a one has it, NaN
        where there is none; and (C, k) int64 which one that is.
    """
    size, k = share.abs(), share.shape[1]
    import torch  # late: the report reads limits and meanings without it

    first = torch.arange(k, device=share.device)
    ahead = (size[:, :, None] > size[:, None, :]) | (
        (size[:, :, None] == size[:, None, :]) & (first[:, None] < first)
    )  # [c, other, own]
    rate = together.double() / images[:, None, None].double()
    rate = torch.where(ahead & (images > 0)[:, None, None], rate, -1.0)
    value, twin = rate.max(1)
    return torch.where(value < 0, float("nan"), value), twin


def read_flags(
    source: str | os.PathLike[str] | Mapping[str, Any],
    kinds: Collection[str],
    shape: tuple[int, int],
) -> list[Flag]:
    """Return the flags of an evaluation.

    Args:
        source: `metrics.json`, the folder of a run that has one, or what it holds.
        kinds: Which flags; none: all.
        shape: Classes and prototypes per class of the network that they are about.

    Raises:
        DataError: If there is no such kind or file, or its flags are of another network.
    """
    known = get_args(FlagKind)
    for kind in kinds:
        if kind not in known:
            raise DataError(f"There is no flag '{kind}': choose one of {', '.join(known)}.")
    content: Any = source
    place = "The measured figures"
    if not isinstance(source, dict):
        path = user_path(source)  # type: ignore[arg-type]
        path = path / "metrics.json" if path.is_dir() else path
        place = str(path)
        content = _content(path)
    wrong = mismatch(content, _SCHEMA)
    if wrong is not None:
        raise DataError(f"{place} has no flags ({wrong}): make it again with `ppn test`.")
    found = [
        Flag(row["flag"], row["label"], row["prototype"], row["value"], row.get("other"))
        for row in content["flags"]["prototypes"]
        if row["flag"] in (kinds or known)
    ]
    if any(not (0 <= f.label < shape[0] and 1 <= f.number <= shape[1]) for f in found):
        raise DataError(f"{place} is of another network: give that of `ppn test` of this one.")
    return found


def _content(path: Path) -> Any:  # noqa: ANN401 - of JSON
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"{path} cannot be read ({reason}): give the directory of a `ppn test`."
        ) from None

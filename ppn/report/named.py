"""What each named part does over all classes: how much it carries, and which it tells apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ppn.explanation.record import part_title
from ppn.metrics.flagging import network_flags
from ppn.report.parts import SEPARATING, Flagged, NamedPart, Separation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.metrics.evaluation import Results
    from ppn.metrics.shares import ShareResult
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Split

_SHOWN = 6


@torch.no_grad()
def named_parts(
    network: PrototypeNetwork,
    data: FineGrainedDataModule,
    split: Split,
    labels: Sequence[int],
    shares: ShareResult,
) -> list[NamedPart]:
    """Gather what the report says of each named part; none where there is none.

    Args:
        network: A complete network.
        data: The data it was evaluated on.
        split: The evaluated split.
        labels: Classes that the report shows.
        shares: What each part contributes to its own class, as measured.
    """
    if not network.part_names:
        return []
    means = _mean_contributions(network, data, split, labels)
    found = []
    told = network.certificate.get("named_parts", {})
    seen = shares.images > 0
    for index, name in enumerate(network.part_names):
        own = shares.share[seen, index]
        rows = [label for label in labels if bool(seen[label])]
        found.append(
            NamedPart(
                index=index,
                name=name,
                remainder=network.remainder and index == network.k - 1,
                share=float(own.mean()) if len(own) else None,
                accuracy=told.get("accuracy_of", {}).get(name),
                shares={label: float(shares.share[label, index]) for label in rows},
                separates=_separations(network, means, index),
            )
        )
    return found


def entries(
    network: PrototypeNetwork, labels: Sequence[int], shares: ShareResult
) -> list[NamedPart]:
    """Gather what the report says of each entry of a vocabulary; none where there is none.

    Args:
        network: A complete network.
        labels: Classes that the report shows; entries that none of them uses are left out.
        shares: What each part contributes to its own class, as measured.

    Returns:
        The entries, those of the most classes first.
    """
    found = []
    called = (network.certificate.get("vocabulary") or {}).get("names")
    for entry, places in _uses(network).items():
        positions = {label: places[label] for label in labels if label in places}
        seen = [label for label in places if int(shares.images[label]) > 0]
        own = {label: float(shares.share[label, places[label]]) for label in seen}
        if positions:
            found.append(
                NamedPart(
                    index=entry,
                    name=_entry_name(entry, called),
                    share=sum(own.values()) / len(own) if own else None,
                    shares={label: own[label] for label in positions if label in own},
                    positions=positions,
                )
            )
    return sorted(found, key=lambda part: (-len(part.positions or ()), part.index))


def entry_title(network: PrototypeNetwork, label: int, index: int) -> str | None:
    """Return what a prototype is called in a network with a vocabulary; None without one."""
    said = network.certificate.get("vocabulary")
    if said is None:
        return None
    own = said["uses"].get(str(label), [])
    if index < len(own):
        return _entry_name(own[index], said.get("names"))
    return network.part_names[index] if network.part_names else "remainder"


def flagged(network: PrototypeNetwork, results: Results) -> list[Flagged]:
    """Return the prototypes that deserve a second look, as `metrics.json` has them."""

    def title(label: int, index: int) -> str:
        return entry_title(network, label, index) or part_title(index, network.part_names)

    return [
        Flagged(
            flag.label,
            network.class_names[flag.label],
            flag.number - 1,
            title(flag.label, flag.number - 1),
            flag.kind,
            flag.value,
            None if flag.other is None else title(flag.label, flag.other - 1),
        )
        for flag in network_flags(network, results)
    ]


def _uses(network: PrototypeNetwork) -> dict[int, dict[int, int]]:
    """Which prototype each entry is in the classes that use it: {entry: {label: index}}."""
    found: dict[int, dict[int, int]] = {}
    for label, own in (network.certificate.get("vocabulary") or {"uses": {}})["uses"].items():
        for index, entry in enumerate(own):
            found.setdefault(entry, {})[int(label)] = index
    return found


def _entry_name(entry: int, called: Sequence[str] | None) -> str:
    return f"Entry {entry + 1}" if called is None else called[entry]


def _mean_contributions(
    network: PrototypeNetwork, data: FineGrainedDataModule, split: Split, labels: Sequence[int]
) -> dict[int, Tensor]:
    """(C, k) of each class, the mean over a few of its images."""
    view = data.view(split)
    sums: dict[int, list[Tensor]] = {}
    chosen = [view.indices[view.labels == label][:SEPARATING] for label in labels]
    some = view.at(np.concatenate(chosen)) if chosen else view.at([])
    for first in range(0, len(some), data.batch_size):
        batch = [some[at] for at in range(first, min(first + data.batch_size, len(some)))]
        images = torch.stack([item["image"] for item in batch]).to(network.device)
        contributions = network.head(network.tokens(images)).contributions.double().cpu()
        for item, own in zip(batch, contributions, strict=True):
            sums.setdefault(int(item["label"]), []).append(own)
    return {label: torch.stack(each).mean(0) for label, each in sums.items()}


def _separations(
    network: PrototypeNetwork, means: dict[int, Tensor], index: int
) -> list[Separation]:
    """The classes that a part tells from their strongest rival, those it tells best first."""
    bias = network.head.bias.double().cpu()
    known = (network.dictionary.found == 1).cpu()
    found = []
    for label, mean in means.items():
        logits = (mean.sum(1) + bias).masked_fill(~known, -torch.inf)
        logits[label] = -torch.inf
        if not bool(torch.isfinite(logits).any()):  # a single class has no rival
            continue
        rival = int(logits.argmax())
        gap = float(mean[label].sum() + bias[label] - logits[rival])
        own = float(mean[label, index] - mean[rival, index])
        names = network.class_names
        found.append(Separation(names[label], names[rival], own, gap))
    found.sort(key=lambda one: -one.part)
    return [one for one in found if one.part > 0][:_SHOWN]

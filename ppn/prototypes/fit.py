"""The one pipeline: from a stream of patch tokens to a fitted network."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice, repeat
from typing import TYPE_CHECKING

import torch

from ppn.classifier.running import without_autocast
from ppn.discovery.nmf import NMF
from ppn.errors import DataError, DiscoveryError
from ppn.explanation.attribute import maps_account
from ppn.prototypes.certificate import CertificateSample, certify, remainder_share
from ppn.prototypes.diagnostics import record
from ppn.prototypes.dictionary import merge_ranks
from ppn.prototypes.looks import Looks
from ppn.prototypes.stream import GROUP, class_by_class
from ppn.refinement.base import ClassProblem, Refined, exact_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor

    from ppn.discovery.base import ClassTokens, Discoverer
    from ppn.prototypes.certificate import Certificate
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.prototypes.stream import TokenBatch
    from ppn.refinement.base import Refinement

FEW = 2
"""Images on which complete maps are measured for the certificate."""


class Fit:
    """Fills a network with the prototypes of its classes, some classes at a time.

    Call `run` with the classes' tokens (several times, if they come in pieces), and `finish` when
    all are done. Between the two, processes that each ran some classes call `merge`.

    Args:
        network: The network to fill; what it held before is deleted.
        refinements: How rows are split, one for each of the network's heads.
        discoverer: How parts are found; None: `NMF()`.
        labels: The classes that have images; None: all; empty: not known.
    """

    def __init__(
        self,
        network: PrototypeNetwork,
        refinements: Sequence[Refinement],
        discoverer: Discoverer | None = None,
        labels: Sequence[int] | None = None,
    ) -> None:
        self.network = network
        self.refinements = list(refinements)
        self.discoverer = NMF() if discoverer is None else discoverer
        self.weight, self.bias = network.classifier.effective_head()
        classes, width = self.weight.shape
        sample = CertificateSample(classes, width, labels=labels)
        self.sample = sample.to(self.weight.device)
        looked_at = network.k if self.discoverer.looks_earlier() else 0
        self.looks = Looks(classes, looked_at).to(self.weight.device)
        for module in (network.dictionary, network.heads):
            for buffer in module.buffers():
                buffer.zero_()
        network.head.originals = {}
        network.note_edits(())

    @torch.no_grad()
    @without_autocast()
    def learn(
        self, batches: Iterable[TokenBatch], names: Sequence[str], sort: bool = False
    ) -> None:
        """Let a discoverer whose dictionary is shared see all classes, or what it has chosen.

        Args:
            batches: Tokens of all classes, each class in one piece, or of the chosen images.
            sort: Whether they come in any order.
            names: Name of each class.
        """
        classes = class_by_class(batches, names, sort=sort)
        with self._looking():
            self.discoverer.fit(classes, self.weight, self.network.k)

    @torch.no_grad()
    @without_autocast()
    def run(
        self,
        batches: Iterable[TokenBatch],
        names: Sequence[str],
        sizes: Iterable[int] | None = None,
        sort: bool = False,
        finished: Callable[[list[int]], None] | None = None,
        seen: Callable[[ClassTokens], None] | None = None,
    ) -> None:
        """Find and refine the prototypes of classes.

        Args:
            batches: Their tokens, each class in one piece.
            names: Name of each class.
            sizes: How many classes are kept in memory and factorised together, for each such
                group; None: eight each.
            sort: Whether batches come in any order; then all tokens are kept in memory at once.
            finished: Called with the labels of each group when it is done.
            seen: Called with each class before that.

        Raises:
            DiscoveryError: If features are not finite, or a class has fewer tokens than k.
        """
        network = self.network
        remaining = class_by_class(batches, names, self.sample, sort)
        # Batches are read, and go through the classifier, as they are asked for.
        with self._looking():
            for size in repeat(GROUP) if sizes is None else sizes:
                group = list(islice(remaining, size))
                if not group:
                    break
                problems = find_parts(group, self.weight, network.k, self.discoverer)
                for item, problem in zip(group, problems, strict=True):
                    refined = [refine(problem, item.name, way) for way in self.refinements]
                    for head, found in zip(network.each_head(), refined, strict=True):
                        head.prototypes[item.label] = found.prototypes
                    record(network.dictionary, item, problem, refined[0], network.input_config.size)
                    self.looks.take(item, problem.coefficients)
                    if seen is not None:
                        seen(item)
                if finished is not None:
                    finished([item.label for item in group])

    def _looking(self) -> AbstractContextManager[None]:
        """While batches are read: the classifier gives what the discoverer looks at."""
        if self.discoverer.looks_earlier():
            return self.network.classifier.looking_earlier()
        return nullcontext()

    def merge(self) -> None:
        """Take over what other processes have found; a collective call."""
        merge_ranks(self.network.dictionary, self.sample, self.looks, self.network.heads)

    @torch.no_grad()
    @without_autocast()
    def finish(
        self,
        names: Sequence[str],
        image_name: Callable[[int], str],
        images: Tensor | None = None,
    ) -> Certificate:
        """Complete the network and measure its exactness.

        A class without images keeps its row, split evenly, so that logits stay exact; it has no
        parts and cannot be explained.

        Args:
            names: Name of each class.
            image_name: Gives the name of a training image by its index.
            images: (B, C, H, W) training images, on some of which complete maps are measured where
                maps of cells are not exact; None: they are not.

        Raises:
            DataError: If no class had an image.
        """
        network = self.network
        found = network.dictionary.found == 1
        if not bool(found.any()):
            raise DataError("There is no training image of any class: check the loader.")
        network.dictionary.patch_score[~found] = -torch.inf
        network.dictionary.weight[~found] = self.weight[~found].float()
        for head in network.each_head():
            for label in (~found).nonzero()[:, 0].tolist():
                row = self.weight[label]
                head.prototypes[label] = exact_sum((row / network.k).expand(network.k, -1), row)
            head.bias.copy_(self.bias)
        output, logits = self.sample.outputs(network.head)
        certificate = certify(network.dictionary, output.logits, logits)
        network.certificate = {"level": network.level, **asdict(certificate)}
        if images is not None and not network.classifier.inspection.averages:
            maps = maps_account(network.classifier, network.head, images[:FEW])
            network.certificate["maps"] = maps
        network.take_names(self.discoverer)
        if network.part_names:
            share = remainder_share(output.contributions, logits) if network.remainder else 0.0
            account = {**self.discoverer.account, "remainder_share": share}
            network.certificate["named_parts"] = account
        elif self.discoverer.account:
            share = (
                remainder_share(output.contributions, logits) if self.discoverer.remainder else 0.0
            )
            account = {**self.discoverer.account, "remainder_share": share}
            network.certificate[self.discoverer.key] = account
        looks = self.looks.looks if self.looks.looks.any() else network.dictionary.parts
        joined = self.discoverer.joined(looks, found.nonzero()[:, 0].tolist())
        if joined:
            network.certificate["vocabulary"] = joined
        network.settings = {
            "discoverer": {"name": self.discoverer.key, **self.discoverer.options},
            "refinement": {"name": self.refinements[0].key, **self.refinements[0].options},
        }
        network.class_names = list(names)
        network.name_images(image_name)
        return certificate


def find_parts(
    group: Sequence[ClassTokens], weight: Tensor, k: int, discoverer: Discoverer
) -> list[ClassProblem]:
    """Find the parts of some classes, as problems for a refinement.

    Args:
        group: Tokens of the classes.
        weight: (C, D) float64, the effective head.
        k: Parts per class.
        discoverer: How they are found.
    """
    return [
        ClassProblem(
            item.tokens.float().flatten(0, 1),
            found.coefficients,
            found.parts,
            weight[item.label],
            item.grid,
            remainder=found.remainder,
        )
        for item, found in zip(group, discoverer.discover(group, weight, k), strict=True)
    ]


def refine(problem: ClassProblem, class_name: str, refinement: Refinement) -> Refined:
    """Split the row of one class.

    Raises:
        DiscoveryError: If prototypes are not finite.
    """
    refined = refinement.refine(problem)
    if not bool(torch.isfinite(refined.prototypes).all()):
        raise DiscoveryError(
            f"Refinement '{refinement.name}' of class {class_name} gives values that are not "
            "finite: choose another one, or other options."
        )
    return refined

"""Compute the cells that are missing: any number of processes, stopped and started at any time."""

from __future__ import annotations

import time
import traceback
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.utils.data import DataLoader

from ppn.benchmark.cells import Cell, cell_key, common_key, read_cell, write_cell
from ppn.benchmark.memory import peak_memory
from ppn.benchmark.tokens import StoredInterventions, StoredTraining, TokenStore
from ppn.classifier.build import build_classifier, freeze
from ppn.classifier.record import classifier_record, expect_classes
from ppn.data.class_names import expect_same_names, names_in_checkpoint
from ppn.discovery.nmf import NMF
from ppn.errors import DataError, PPNError
from ppn.explainers.training import learn_again
from ppn.metrics.evaluate import annotations_of, moved
from ppn.metrics.score import Images, score
from ppn.prototypes.fit import Fit
from ppn.prototypes.network import PrototypeNetwork
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ppn.benchmark.config import Benchmark
    from ppn.classifier import Classifier
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.data.dataset import ImageView
    from ppn.explainers.base import Explainer

    Progress = Callable[[str, int, int], None]
    """Is told the cell that is worked on, how many of its images are done, and of how many."""

CELLS = "cells"
TOKENS = "tokens"


class Job(NamedTuple):
    """A cell to compute: `path` of its file."""

    name: str
    seed: int
    path: Path


class Setting:
    """What the cells of one seed share: data, black box, and prototypes that levels refer to.

    Args:
        benchmark: What is compared.
        seed: The seed.
        folder: The benchmark's directory.
        device: Where to compute.
    """

    def __init__(self, benchmark: Benchmark, seed: int, folder: Path, device: torch.device) -> None:
        self.benchmark = benchmark
        self.seed = seed
        self.data: FineGrainedDataModule = deepcopy(benchmark.data)
        self.data.split_seed += seed
        classifier = _classifier(benchmark, seed, self.data).to(device)
        self.data.input_config = classifier.config
        self.network = PrototypeNetwork(classifier, benchmark.k, {CompactSplit().name: True}, 1)
        self.network.class_names = list(self.data.class_names)
        self.view = _scored(self.data, benchmark.images_per_class)
        views = [self.data.view("train"), self.view]
        self.key = common_key(benchmark, classifier.model, views)
        self.jobs = [
            Job(
                one.name,
                seed,
                folder / CELLS / f"{cell_key(benchmark, one.name, seed, self.key)}.json",
            )
            for one in benchmark.explainers
        ]
        tokens = folder / TOKENS / f"{self.key}-{seed}"
        self.tokens = TokenStore(self.network, tokens / "scored")
        self.changes = StoredInterventions.of(self.view, tokens / "changed")
        labels = np.unique(self.data.view("train").labels).tolist()
        loader = self.data.class_loader()
        self.training = StoredTraining(self.network, loader, labels, tokens / "training")
        self._fitted = False

    def images(self) -> Images:
        """Return the scored images."""
        data = self.data
        loader = DataLoader(self.view, data.batch_size, num_workers=data.num_workers)
        batches = moved(loader, self.network)
        return Images(batches, data.part_names, annotations_of(data), self.changes)

    def fit(self) -> None:
        """Find the prototypes that floors and controls refer to, unless that was done."""
        if self._fitted:
            return
        network = self.network
        fit = Fit(network, [CompactSplit()], NMF())
        names = network.class_names
        seen = self.training.classes()
        fit.run(((t, b["label"].tolist(), b["index"]) for b, t in seen), names)
        fit.finish(names, self.data.train_source.name)
        self._fitted = True


def work(
    benchmark: Benchmark, folder: Path, first: Setting, progress: Progress | None = None
) -> Iterator[Cell]:
    """Compute what is missing, and yield every cell, in the order in which they are done.

    Several processes may do so in one folder at once, also of several machines that share it: each
    takes the cells that nobody has taken, and waits at the end for those of the others.

    Args:
        benchmark: What is compared.
        folder: The benchmark's directory.
        first: The setting of the first seed, which also says where to compute.
        progress: Is told what goes on.
    """
    device = first.network.device
    for seed in benchmark.seeds:
        known = seed == first.seed
        setting = first if known else Setting(benchmark, seed, folder, device)
        waiting = setting.jobs
        for patience in (0, -1):  # first what is free, then what others have taken
            taken = []
            for job in waiting:
                cell = _taken(job, setting, patience, progress)
                if cell is None:
                    taken.append(job)
                else:
                    yield cell
            waiting = taken


def compute(job: Job, setting: Setting, progress: Progress | None = None) -> Cell:
    """Compute one cell.

    What the explainer cannot do, for want of a package, of annotations or of a kind of classifier,
    leaves the cell empty, with its own sentence.
    """
    device, total = setting.network.device, len(setting.view)
    explainer, untouched = (setting.benchmark.explainer(job.name, job.seed) for _ in range(2))
    (template,) = (one for one in setting.benchmark.explainers if one.name == job.name)
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(f"{job.name}, seed {job.seed}", done, total)

    try:
        setting.fit()
        tell(0)
        with peak_memory(device) as peak:
            began = time.perf_counter()
            explainer.prepare(setting.network)
            if explainer.needs_training_images:
                with torch.no_grad():
                    explainer.fit(setting.training)
            seconds = time.perf_counter() - began
            found = score(
                explainer,
                setting.network,
                setting.images(),
                setting.benchmark.metrics,
                job.seed,
                setting.tokens,
                tell,
                partial(learn_again, untouched, setting.training),
            )
    except PPNError as error:
        return Cell(job.name, job.seed, None, str(error))
    except (
        Exception
    ) as error:  # the others go on; a mistake in the code of one is no reason to stop
        traceback.print_exc()
        return Cell(job.name, job.seed, None, f"It failed: {type(error).__name__}: {error}.")
    about = {**found.about, "title": template.title or job.name}
    cost = {
        "fit_seconds": seconds if explainer.needs_training_images else 0.0,
        "seconds_per_image": found.seconds,
        "peak_mib": peak.mib,
        "parameters": float(parameters(explainer)),
    }
    return Cell(job.name, job.seed, replace(found, name=job.name, about=about), "", cost)


def parameters(explainer: Explainer) -> int:
    """Return how many numbers an explainer holds beside the classifier's own."""
    held: dict[int, Tensor] = {}
    for value in (*explainer.state().values(), *vars(explainer).values()):
        if isinstance(value, Tensor):
            held[id(value)] = value
    return sum(tensor.numel() for tensor in held.values())


def forget_empty(folder: Path) -> None:
    """Delete the cells that are empty, so that they are tried again; and what is damaged."""
    for path in (folder / CELLS).glob("*.json"):
        try:
            empty = read_cell(path).evaluated is None
        except DataError:
            empty = True
        if empty:
            path.unlink(missing_ok=True)


def _taken(job: Job, setting: Setting, patience: float, progress: Progress | None) -> Cell | None:
    """Read a cell or compute it; None if another process is at it."""
    if job.path.is_file():
        return read_cell(job.path, (job.name, job.seed))
    job.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job.path.with_suffix(".lock"), timeout=patience):
            if not job.path.is_file():
                write_cell(job.path, compute(job, setting, progress))
    except Timeout:
        return None
    return read_cell(job.path, (job.name, job.seed))


def _classifier(benchmark: Benchmark, seed: int, data: FineGrainedDataModule) -> Classifier:
    path = benchmark.classifier_ckpt.replace("{seed}", str(seed))
    architecture, options = benchmark.architecture, benchmark.model_options
    size = benchmark.image_size
    if architecture is None:
        record = classifier_record(path)
        expect_classes(path, record, data.num_classes)
        made = record.structure
        architecture, options = made["architecture"], made["model_options"]
        size = size or made["image_size"]
    found = build_classifier(architecture, data.num_classes, path, False, size, options, whole=True)
    freeze(found)
    names = names_in_checkpoint(path, data.num_classes)
    expect_same_names(f"Checkpoint {path}", names, data.class_names)
    return found


def _scored(data: FineGrainedDataModule, most: int | None) -> ImageView:
    """The test images, the first `most` of each class."""
    view = data.view("test")
    if len(view) == 0:
        raise DataError(f"The test split has no images: {data.empty_test}.")
    if most is None:
        return view
    labels = view.labels
    chosen = [np.flatnonzero(labels == label)[:most] for label in np.unique(labels)]
    return view.at(view.indices[np.sort(np.concatenate(chosen))])

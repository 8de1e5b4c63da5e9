"""Images per second of our training loader and of torchvision's ImageFolder, with the same work.

Usage: python experiments/loading_speed.py --data.root ROOT [--data cub] [--num_workers 0 2]
    [--repeats 5] [--processor_time]

Both read the same files, a random resized crop, colour jitter and flip of torchvision's v2 with the
same parameters, and collate with as many workers; ours moves boxes and keypoints along besides.
Epochs alternate in one run, after one of each to fill the disk cache; the table has their medians.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from experiments.arguments import add_root
from ppn.data.catalog import CATALOG, data_module
from ppn.types import InputConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.data.datamodule import FineGrainedDataModule


def bare_loader(data: FineGrainedDataModule) -> DataLoader[Any]:
    """Return torchvision's loader of the same training images with the "standard" augmentation."""
    config = data.input_config
    view = data.view("train")
    source: Any = view.source
    mode = v2.InterpolationMode(config.interpolation)
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(list(config.size), scale=(0.35, 1.0), interpolation=mode),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(config.mean), list(config.std)),
        ]
    )
    root = source.root / "images" if (source.root / "images").is_dir() else source.root

    class Listed(ImageFolder):  # type: ignore[misc] # torchvision has no types
        """ImageFolder over given files; its own search would find test images as well."""

        def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
            return source.class_names, {name: i for i, name in enumerate(source.class_names)}

        @staticmethod
        def make_dataset(*_: object, **__: object) -> list[tuple[str, int]]:
            return [(str(root / source.name(int(i))), int(source.labels[i])) for i in view.indices]

    return DataLoader(
        Listed(root, transform),
        batch_size=data.batch_size,
        shuffle=True,
        num_workers=data.num_workers,
        persistent_workers=data.num_workers > 0,
    )


def rates(
    loaders: dict[str, DataLoader[Any]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Measure epochs of several loaders in turn.

    Args:
        loaders: What to measure.
        repeats: Epochs of each, after one that does not count.
        clock: Returns seconds.

    Returns:
        Images per second of each epoch.
    """
    found: dict[str, list[float]] = {name: [] for name in loaders}
    for repeat in range(repeats + 1):
        for name, loader in loaders.items():
            start = clock()
            count = sum(len(batch["image"] if "image" in batch else batch[0]) for batch in loader)
            if repeat:
                found[name].append(count / (clock() - start))
    return found


def compare(
    data: FineGrainedDataModule, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float, float]:
    """Return the median images per second of ours and of the bare loader, and of their ratio."""
    loaders = {"ours": data.train_dataloader(), "bare": bare_loader(data)}
    found = rates(loaders, repeats, clock)
    pairs = zip(found["ours"], found["bare"], strict=True)
    ratio = median(ours / bare for ours, bare in pairs)
    return median(found["ours"]), median(found["bare"]), ratio


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_root(parser, "folder of the data set", required=True)
    parser.add_argument("--data", default="cub", choices=list(CATALOG), help="which data set")
    parser.add_argument("--num_workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--processor_time",
        action="store_true",
        help="count this process's processor time, for 0 workers on a busy machine",
    )
    given = parser.parse_args()
    if given.processor_time and given.num_workers != [0]:
        parser.error("--processor_time needs --num_workers 0: it does not see other processes")
    clock = time.process_time if given.processor_time else time.perf_counter
    print("| data set | images | workers | ours, 1/s | ImageFolder, 1/s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for workers in given.num_workers:
        data = data_module(given.data)(root=given.root, num_workers=workers, val_fraction=0.0)
        data.input_config = InputConfig()
        ours, bare, ratio = compare(data, given.repeats, clock)
        count = len(data.view("train"))
        print(f"| {given.data} | {count} | {workers} | {ours:.1f} | {bare:.1f} | {ratio:.3f} |")


if __name__ == "__main__":
    main()

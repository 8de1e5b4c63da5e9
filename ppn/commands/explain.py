"""`ppn explain IMAGE...`: pictures, files, JSON lines or a page, of one image or thousands."""

from __future__ import annotations

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import PositiveFloat  # noqa: TC002 - the parser reads the signature

from ppn.commands.explained_files import FORMATS, find_images, names_in, own_name, place_of
from ppn.commands.explained_text import tell
from ppn.configured import expect_least
from ppn.errors import PPNError, nearest
from ppn.explanation.versus import Versus, expect_two
from ppn.io.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ppn.explanation.record import Explanation
    from ppn.prototypes.network import PrototypeNetwork

    Explained = Explanation | Versus

_TOLD = 20
"""Most images that are told one by one; of more there is a summary."""


def explain(
    images: list[str],
    *,
    ckpt: str,
    out: str | None = None,
    target: str | None = None,
    versus: str | None = None,
    top: int = 1,
    format: list[str] = [],  # noqa: B006 - the parser copies it
    fiftyone: str | None = None,
    json: bool = False,
    batch_size: int = 32,
    num_workers: int = -1,
    gallery: str | None = None,
    architecture: str | None = None,
    maps: Literal["cells", "complete", "pixels"] | None = None,
    tolerance: PositiveFloat = 0.01,
    baseline: Literal["blurred", "grey", "colour"] = "blurred",
    cut: str | None = None,
) -> int:
    """Explain images: the logit of a class as a sum of parts.

    Args:
        images: Image files, folders of them, or patterns in quotes such as 'birds/**/*.jpg'.
        ckpt: Checkpoint of a prototype network.
        out: Folder for pictures and JSON files; left out, it is "explanations", or none with
            --json.
        target: Class to explain instead of the predicted one: its name, or its index where no
            class has that name.
        versus: Another class, by name or index, that the explained one is held against.
        top: Explain so many of the most likely classes of each image.
        format: png (the default), pdf, svg, html for one page with all pictures, or none for JSON
            files alone; can be repeated.
        fiftyone: Name of a FiftyOne dataset that is made of the explanations.
        json: Print one line of JSON for each explanation, and nothing else.
        batch_size: Images that run through the classifier together.
        num_workers: Threads that read images; -1 takes some where there are many images.
        gallery: Folder of the nearest training patches, if it was moved.
        architecture: module:factory, if the model is your own code.
        maps: cells of the last features; complete: add up behind every head; pixels: add up to the
            picture itself. Cells where they are exact, else complete, unless given.
        tolerance: Completeness error allowed for complete and pixels.
        baseline: What an image is compared with for these.
        cut: Name of the module whose output complete maps are of.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If an image could not be explained; the others are written all the same.
    """
    import torch

    from ppn.prototypes.load import load

    kinds = _formats(format)
    expect_least(1, PPNError, top=top, batch_size=batch_size)
    if target is not None and top > 1:
        raise PPNError("--target names one class and --top asks for several: leave one out.")
    if fiftyone is not None and versus is not None:
        raise PPNError("A FiftyOne sample has one explained class: leave --versus out.")
    samples = None
    if fiftyone is not None:
        from ppn.explanation.fiftyone import FiftyOneSamples

        samples = FiftyOneSamples(fiftyone, Path(out or "explanations") / "fiftyone")
    network = load(ckpt, gallery, architecture)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    chosen = None if target is None else _class(target, network.class_names)
    rival = None if versus is None else _class(versus, network.class_names)
    files = find_images(images)
    folder = None if json and out is None else Path(out or "explanations")
    keep = None if folder is None else _Writer(folder, kinds, top)
    failures: list[str] = []
    told: Counter[str] = Counter()
    look = {"maps": maps, "tolerance": tolerance, "baseline": baseline, "cut": cut}
    wanted = partial(_explain, network, target=chosen, rival=rival, top=top, look=look)
    # On a terminal, in a bar of its own; elsewhere nobody watches.
    for number, (file, found) in enumerate(
        _tracked(_run(network, files, wanted, batch_size, num_workers, failures), len(files))
    ):
        for rank, one in enumerate(found):
            place = keep(file, one, rank) if keep else None
            first = one.first if isinstance(one, Versus) else one
            told[first.class_name] += rank == 0
            if samples is not None:
                samples.add(first)
            if json:
                print(_line(file, one), flush=number % batch_size == 0)
            elif len(files) <= _TOLD:
                tell(file, one, place)
    if samples is not None and told:
        samples.finish()
    if keep is not None:
        page = keep.finish()
        if not json and len(files) > _TOLD:
            classes = ", ".join(f"{count} {name}" for name, count in told.most_common(5))
            more = f" and {len(told) - 5} other classes" if len(told) > 5 else ""
            print(f"{sum(told.values())} images explained: {classes}{more} -> {page or folder}")
        elif page is not None and not json:
            print(f"-> {page}")
    if len(failures) == 1:
        raise PPNError(failures[0])
    if failures:
        raise PPNError(f"{len(failures)} images could not be explained; the first: {failures[0]}")
    return 0


def _formats(given: Sequence[str]) -> list[str]:
    known = (*FORMATS, "html", "none")
    for kind in given:
        if kind not in known:
            raise PPNError(f"There is no format '{kind}': choose one of {', '.join(known)}.")
    kinds = list(dict.fromkeys(given or ["png"]))
    if "none" in kinds:
        return []
    if kinds == ["html"]:  # a page needs pictures
        kinds.insert(0, "png")
    return kinds


def _class(target: str, names: Sequence[str]) -> str | int:
    """The name of a class, or else an index."""
    if target in names:
        return target
    if target.isascii() and target.isdigit() and int(target) < len(names):
        return int(target)
    known = f"the first ones are {', '.join(names[:3])}."
    raise PPNError(f"There is no class '{target}': {nearest(target, names) or known}")


def _run(
    network: PrototypeNetwork,
    files: Sequence[Path],
    wanted: Any,  # noqa: ANN401 - of a batch of images and names
    batch_size: int,
    num_workers: int,
    failures: list[str],
) -> Iterator[tuple[Path, list[Explained]]]:
    """Yield what explains each image; a sentence for each that cannot be explained goes aside."""
    from ppn.commands.image_files import image_batches

    for batch in image_batches(network, files, batch_size, num_workers):
        failures += batch.refused
        if batch.images is None:
            continue
        waiting = [list(range(len(batch.files)))]
        while waiting:
            rows = waiting.pop(0)
            some = [batch.files[row] for row in rows]
            images = batch.images if len(rows) == len(batch.images) else batch.images[rows]
            try:
                explained = wanted(images, [str(file) for file in some])
            except PPNError as error:  # of one class, which has no prototypes: the others have
                if len(rows) > 1:
                    waiting += [[row] for row in rows]
                else:
                    failures.append(f"{some[0]}: {error}")
                continue
            yield from zip(some, explained, strict=True)


def _explain(
    network: PrototypeNetwork,
    pixels: Any,  # noqa: ANN401 - a tensor, which is imported late
    names: list[str],
    *,
    target: str | int | None,
    rival: str | int | None,
    top: int,
    look: dict[str, Any],
) -> list[list[Explained]]:
    """Explain a batch, by one run of the classifier; `look` says which maps are shown."""
    from ppn.explanation.explain import explain as explain_batch
    from ppn.explanation.terms import MapOptions
    from ppn.prototypes.arguments import class_index

    tokens = network.classifier(network.classifier.accept(pixels), patches=False)
    logits = tokens.logits.float() + network.head.change(tokens)
    count = min(top, logits.shape[1])
    labels = logits.topk(count, 1).indices.T.tolist()
    if target is not None:
        labels = [[class_index(target, network.class_names)] * len(names)]
    found: list[list[Explained]] = [[] for _ in names]
    for ranked in labels:
        for label in set(ranked):
            network.expect_prototypes(label)
        options = MapOptions(**look)
        again = partial(
            explain_batch,
            network,
            pixels,
            names,
            patch=network.patch,
            tokens=tokens,
            options=options,
        )
        explained = again(target=ranked)
        if rival is None:
            pairs: list[Explained] = list(explained)
        else:
            other = class_index(rival, network.class_names)
            network.expect_prototypes(other)
            others = again(target=[other] * len(names))
            pairs = []
            for first, second in zip(explained, others, strict=True):
                expect_two(first, second)
                pairs.append(Versus(first, second))
        for place, one in zip(found, pairs, strict=True):
            place.append(one)
    return found


def _tracked(items: Iterator[Any], total: int) -> Iterator[Any]:
    """Show a bar on standard error where it is a terminal and there is something to wait for."""
    if total <= _TOLD or not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import track

    from ppn.io.terminal import console

    yield from track(items, "Explaining", total, console=console(stderr=True))


def _line(file: Path, one: Explained) -> str:
    return json.dumps({**one.to_dict(), "file": place_of(file)})


class _Writer:
    """Writes pictures and JSON files, and the page at the end."""

    def __init__(self, folder: Path, kinds: list[str], top: int) -> None:
        self.folder = folder
        self.top = top
        self.kinds = kinds
        self.names, self.given = names_in(folder), set[str]()
        self.name = ""
        self.shown: list[tuple[str, Explained]] = []

    def __call__(self, file: Path, one: Explained, rank: int) -> Path:
        """Write one explanation, and return its picture, or its JSON file where there is none."""
        if rank == 0:
            self.name = own_name(file, self.folder, self.names, self.given, self.top)
        name = f"{self.name}.top{rank + 1}" if rank else self.name
        pictures = [
            one.save(self.folder / f"{name}.{kind}") for kind in self.kinds if kind != "html"
        ]
        content = self.folder / f"{name}.json"
        write_json(content, {**one.to_dict(), "file": place_of(file)})
        if "html" in self.kinds:
            self.shown.append((pictures[0].name, one))
        return pictures[0] if pictures else content

    def finish(self) -> Path | None:
        """Write the page, and return where it is; None where none is wanted."""
        if not self.shown:
            return None
        from ppn.commands.contact_page import write_page

        return write_page(self.folder, self.shown)

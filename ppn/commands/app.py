"""`ppn app`: a page that shows an image's logit as a sum of parts, and takes parts out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt  # noqa: TC002 - the parser reads the signature

from ppn.errors import PPNError
from ppn.io.files import user_path
from ppn.io.terminal import console
from ppn.types import Split  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.app.bench_set import BenchSet
    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.explanation.record import Patch
    from ppn.prototypes.network import PrototypeNetwork


def app(
    *,
    ckpt: str,
    data: str | None = None,
    root: str | None = None,
    split: Split = "test",
    set: tuple[str, ...] = (),
    gallery: str | None = None,
    architecture: str | None = None,
    out: str | None = None,
    clicks: str | None = None,
    parts: str | None = None,
    host: str = "127.0.0.1",
    port: PositiveInt = 7860,
) -> int:
    """Explain images and edit parts on a page in a browser; ends with Ctrl+C.

    Args:
        ckpt: Checkpoint of a prototype network; it is left as it is.
        data: The data it was fitted on, as a file of configs/data or a short name: the page then
            counts what edits do to accuracy, and offers images and more training patches.
        root: Folder of the data set, or one that holds it; $PPN_DATA, or ./data, unless given.
        split: On which of its images accuracy is counted: train, val or test.
        set: Any argument of the data set, such as --data.crop box; can be repeated.
        gallery: Folder of the nearest training patches; the run's own, unless given.
        architecture: module:factory, if the model is your own code.
        out: Folder in which edited networks are saved, as 1, 2 and so on; edited, unless given,
            and nothing is saved where others can open the page.
        clicks: A CSV file of clicks; the page of `ppn annotate`, which writes it, becomes a tab.
        parts: Names of the parts that it asks for, separated by commas; those of the file, or else
            of the data set, unless given.
        host: Address to listen on; others can open the page where it is not this machine's own.
        port: Port to listen on.

    Returns:
        Exit code 0.

    Raises:
        PPNError: After a mistake in the input.
    """
    from ppn.app.serve import LOOPBACK, expect_gradio, serve

    expect_gradio()

    import torch

    from ppn.app.pages import pages
    from ppn.app.saving import Saving
    from ppn.app.workbench import Workbench
    from ppn.commands.annotate import begin_clicks, expect_csv
    from ppn.data.build import build_config, parse_options
    from ppn.prototypes.load import load

    if clicks is not None and data is None:
        raise PPNError("--clicks needs the images that are clicked on: add --data.")
    if clicks is not None:
        expect_csv("--clicks", clicks)
    module = None if data is None else build_config(data, root, parse_options(set))
    network = load(ckpt, gallery, architecture)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    if module is not None and list(module.class_names) != network.class_names:
        raise PPNError(f"{data} has other classes than {ckpt}: give the data it was fitted on.")
    local = host in LOOPBACK
    folder = user_path(out) if out is not None else Path("edited") if local else None
    clicked = None
    if module is not None and clicks is not None:  # first: the file may be another page's
        clicked = begin_clicks(module, clicks, parts, network.classifier)
    terminal = console()

    def ready(address: str) -> None:
        terminal.print(f"Open {address} in a browser. Ctrl+C ends it.")
        if not local:
            terminal.print("Whoever can reach this machine can open the page.")

    try:
        work = Workbench(
            network,
            ckpt,
            None if module is None else _images(network, module, split),
            None if folder is None else Saving(ckpt, folder, architecture),
            None if module is None else _patches(network, module),
        )
        serve("ppn app", lambda: pages(work, clicked), host, port, ready)
    finally:
        if clicked is not None:
            clicked.close()
    return 0


def _images(
    network: PrototypeNetwork, module: FineGrainedDataModule, split: Split
) -> BenchSet | None:
    """The images on which effects are counted; None where no class is predicted alone."""
    from torch.utils.data import DataLoader

    from ppn.app.bench_set import BenchSet

    if network.independent:
        return None
    module.input_config = network.input_config
    view = module.view(split)
    if not len(view):
        raise PPNError(f"There are no {split} images in {module.title}: choose another --split.")
    cached = network.cache(DataLoader(view, module.batch_size, num_workers=module.num_workers))
    return BenchSet(view, cached, f"{split} images of {module.title}")


def _patches(
    network: PrototypeNetwork, module: FineGrainedDataModule
) -> Callable[[int, int, int], Patch | None]:
    """The patches of the training images themselves, where they are those of `fit`."""
    from ppn.data.source import Source
    from ppn.prototypes.patches import SourcePatches

    source = Source(module, network.input_config)
    own = SourcePatches(network.dictionary, source, network.input_config)

    def patch(label: int, part: int, rank: int) -> Patch | None:
        names = network.image_names[label][part] if network.image_names else []
        index = int(network.dictionary.patch_index[label, part, rank])
        same = rank < len(names) and index < len(module.train_source)
        if same and source.name(index) == names[rank]:
            return own(label, part, rank)
        return network.patch(label, part, rank)

    return patch

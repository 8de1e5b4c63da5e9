"""`ppn annotate`: a page on which a person clicks where parts are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt  # noqa: TC002 - the parser reads the signature

from ppn.errors import PPNError
from ppn.io.terminal import console

if TYPE_CHECKING:
    from ppn.app.annotation import Annotation
    from ppn.classifier.model import Classifier
    from ppn.data.datamodule import FineGrainedDataModule


def annotate(
    *,
    data: str,
    out: str,
    parts: str | None = None,
    ckpt: str | None = None,
    architecture: str | None = None,
    root: str | None = None,
    set: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    port: PositiveInt = 7860,
) -> int:
    """Click where named parts are on a few images, in a browser; ends with Ctrl+C.

    Args:
        data: A file of configs/data, or a short name, as `ppn data list` shows it.
        out: The CSV file of clicks; goes on with what is in it.
        parts: Names of the parts, separated by commas; those of the file, or else of the data set,
            unless given.
        ckpt: A checkpoint of `ppn fit`: what its classifier is least sure of comes first, and the
            page shows what the parts look like.
        architecture: Needed only if the checkpoint's model is made by your own code, as
            module:factory.
        root: Folder of the data set, or one that holds it; $PPN_DATA, or ./data, unless given.
        set: Any argument of the data set, such as --data.crop box; can be repeated.
        host: Address to listen on; others can open the page where it is not this machine's own.
        port: Port to listen on.

    Returns:
        Exit code 0.

    Raises:
        PPNError: After a mistake in the input.
    """
    from ppn.app.serve import LOOPBACK, expect_gradio, serve

    expect_gradio()

    from ppn.app.annotate_page import annotate_page
    from ppn.data.build import build_config, parse_options

    expect_csv("--out", out)
    module = build_config(data, root, parse_options(set))
    path = Path(out).expanduser()
    classifier = None if ckpt is None else _classifier(ckpt, architecture)
    work = begin_clicks(module, out, parts, classifier)
    terminal = console()

    def ready(address: str) -> None:
        terminal.print(f"Open {address} in a browser; answers go to {path}. Ctrl+C ends it.")
        if host not in LOOPBACK:
            terminal.print("Whoever can reach this machine can open the page and answer.")
        if work.torn:
            terminal.print(
                f"The last line of {path} was cut off and is dropped: it is asked again."
            )

    try:
        serve("ppn annotate", lambda: annotate_page(work), host, port, ready)
    finally:
        work.close()
    return 0


def expect_csv(option: str, path: str) -> None:
    """Refuse a file of clicks that is no CSV file.

    Raises:
        PPNError: If its name does not end so.
    """
    if not path.lower().endswith(".csv"):
        raise PPNError(f"{option} {path} does not end in .csv: clicks are a CSV file.")


def begin_clicks(
    module: FineGrainedDataModule, out: str, parts: str | None, classifier: Classifier | None
) -> Annotation:
    """Return what a page of clicks asks and writes.

    Args:
        module: The images.
        out: The CSV file.
        parts: Names of the parts, separated by commas, or None; see `annotate`.
        classifier: Learns along; None: images come class by class.

    Raises:
        PPNError: If `out` cannot be used, or parts have no names.
    """
    from ppn.app.annotation import Annotation, draw_pool
    from ppn.app.learner import Learner

    path = Path(out).expanduser()
    names = _parts(parts, path, module)
    pool = draw_pool(module)
    learner = None if classifier is None else Learner(module, classifier, names, pool)
    return Annotation(module, names, path, pool, learner)


def _parts(given: str | None, path: Path, data: FineGrainedDataModule) -> list[str]:
    """Names of the parts that are asked for."""
    from ppn.data.clicks import parse_clicks

    if given is not None:
        names = [name.strip() for name in given.split(",")]
        wrong = next((n for n in names if not n or names.count(n) > 1 or not n.isprintable()), None)
        if wrong is not None:
            raise PPNError(
                f"--parts {given!r} has {'an empty name' if not wrong else f'{wrong!r} twice'}: "
                "give each part one name, separated by commas."
            )
        return names
    clicked = parse_clicks(path)[0].values() if path.is_file() and path.stat().st_size else []
    names = list(dict.fromkeys(click.part for click in clicked)) or data.part_names
    if not names:
        raise PPNError("The data set names no parts: add --parts, such as --parts head,wing,tail.")
    return names


def _classifier(ckpt: str, architecture: str | None) -> Classifier:
    """The classifier in a checkpoint of either stage."""
    import torch

    from ppn.classifier.build import build_classifier, freeze
    from ppn.classifier.record import expect_trusted, read_record
    from ppn.prototypes.load import load

    record = read_record(ckpt)
    if record.model == "PrototypeTask":
        classifier = load(ckpt, architecture=architecture).classifier
    else:
        expect_trusted(ckpt, record, architecture)
        made = record.structure
        classifier = build_classifier(
            made["architecture"],
            record.num_classes,
            ckpt,
            image_size=made.get("image_size"),
            model_options=made.get("model_options"),
            whole=True,
        )
    freeze(classifier)
    return classifier.to("cuda" if torch.cuda.is_available() else "cpu")

"""The whole main job on the built-in birds: `make demo`.

Runs of the command line, each skipped when it is already done with the same configuration.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

from rich.table import Table

from ppn.__main__ import main as ppn
from ppn.discovery import NMF
from ppn.io.files import write_json
from ppn.io.terminal import console
from ppn.refinement import CompactSplit
from ppn.report.measured import Measured, measured
from ppn.version import __version__

HERE = Path(__file__).parent
RUN = Path("runs/demo")
CLASSIFIER = HERE / "synthetic/classifier.yaml"
PROTOTYPES = HERE / "synthetic/prototypes.yaml"
NAMED = HERE / "synthetic/named.yaml"
BLACK_BOX = RUN / "classifier/checkpoints/best.ckpt"
NETWORK = RUN / "prototypes/checkpoints/prototypes.ckpt"
NAMED_NETWORK = RUN / "named/checkpoints/prototypes.ckpt"

_REPORT = {"class_path": "HTMLReport", "init_args": {"samples": 6, "patches": 1}}


def fingerprint() -> str:
    """Return a hash of the configuration and the defaults that the results depend on."""
    files = sorted([*(HERE.parent / "configs").rglob("*.yaml"), CLASSIFIER, PROTOTYPES, NAMED])
    content = "\n".join(file.read_text() for file in files)
    content += __version__ + repr((NMF().options, CompactSplit().options))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def stage(title: str, run_dir: Path, args: list[str], made: Path) -> None:
    """Run one command unless it has already finished with this configuration.

    Raises:
        SystemExit: If the command fails, with its exit code.
    """
    marker = run_dir / "done.json"
    key = {"fingerprint": fingerprint()}
    if marker.is_file() and made.is_file() and json.loads(marker.read_text()) == key:
        print(f"== {title}: done before ({run_dir}; `make clean` starts afresh)", flush=True)
        return
    print(f"== {title}", flush=True)
    if run_dir != RUN:
        shutil.rmtree(run_dir, ignore_errors=True)
    began = time.monotonic()
    code = ppn([*args, "--trainer.default_root_dir", str(run_dir)])
    if code:
        sys.exit(code)
    write_json(marker, key)
    print(f"== {title}: {time.monotonic() - began:.0f} s", flush=True)


def summary(found: Measured) -> Table:
    """Return the table of explainers, floors among them."""
    table = Table(title="Built-in birds, test images", title_justify="left")
    for column in ("maps", "exact"):
        table.add_column(column)
    for metric in found.map_metrics:
        table.add_column(metric.heading, justify="right")
    for explainer in found.explainers.values():
        exact = "" if explainer.kind == "floor" else "yes" if explainer.exact else "no"
        scores = []
        for metric in found.map_metrics:
            value = explainer.scores.get(metric.key)
            shown = "" if value is None else f"{value:.{1 if metric.unit == '%' else 3}f}"
            scores.append(shown)
        table.add_row(explainer.title, exact, *scores)
    return table


def main() -> None:
    """Train the black box, find its prototypes, test them, and print what came out."""
    stage(
        "1/5 train the black box",
        RUN / "classifier",
        ["fit", "--config", str(CLASSIFIER), "--trainer.max_epochs", "3"],
        BLACK_BOX,
    )
    stage(
        "2/5 discover and refine its prototypes",
        RUN / "prototypes",
        ["fit", "--config", str(PROTOTYPES), "--model.init_args.classifier_ckpt", str(BLACK_BOX)],
        NETWORK,
    )
    stage(
        "3/5 find parts with names from thirty annotated images",
        RUN / "named",
        ["fit", "--config", str(NAMED), "--model.init_args.classifier_ckpt", str(BLACK_BOX)],
        NAMED_NETWORK,
    )
    beside = {"class_path": "FittedPrototypes"}
    options = {"folder": str(RUN / "named"), "title": "named parts, from thirty images"}
    stage(
        "4/5 evaluate and write the report",
        RUN,
        [
            *("test", "--config", str(PROTOTYPES), "--ckpt_path", str(NETWORK)),
            *("--verbose=false", "--model.init_args.explainers"),
            json.dumps([{**beside, "init_args": options}]),
        ],
        RUN / "report/index.html",
    )
    stage(
        "5/5 write the report of the named parts, on validation images",
        RUN / "named/validation",
        [
            *("validate", "--config", str(NAMED), "--ckpt_path", str(NAMED_NETWORK)),
            *("--verbose=false", "--trainer.callbacks", json.dumps([_REPORT])),
        ],
        RUN / "named/validation/report/index.html",
    )
    figures = json.loads((RUN / "metrics.json").read_text())
    terminal = console()
    terminal.print(summary(measured(figures, str(RUN / "metrics.json"))))
    terminal.print(
        f"accuracy: black box {figures['blackbox_accuracy']:.2%}, prototypes "
        f"{figures['accuracy']:.2%}; agreement {figures['agreement']:.2%}; largest logit error "
        f"{figures['max_logit_error']:.1e}"
    )
    told = json.loads((RUN / "named/prototypes.json").read_text())["certificate"]["named_parts"]
    terminal.print(
        f"named parts: {told['accuracy']:.0%} of held-out points get their name; no name holds "
        f"{told['remainder_share']:.0%} of a logit"
    )
    print(f"report: {RUN / 'report' / 'index.html'}")
    print(f"report of named parts: {RUN / 'named/validation/report' / 'index.html'}")


if __name__ == "__main__":
    main()

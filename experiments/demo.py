"""The whole main job on the built-in birds: `make demo`.

Three runs of the command line, each skipped when it is already done with the same configuration.
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
from ppn.io.files import write_json
from ppn.io.terminal import console
from ppn.prototypes.decompose import DiscoverySettings
from ppn.version import __version__

HERE = Path(__file__).parent
RUN = Path("runs/demo")
CLASSIFIER = HERE / "synthetic/classifier.yaml"
PROTOTYPES = HERE / "synthetic/prototypes.yaml"
BLACK_BOX = RUN / "classifier/checkpoints/best.ckpt"
NETWORK = RUN / "prototypes/checkpoints/prototypes.ckpt"


def fingerprint() -> str:
    """Return a hash of the configuration and the defaults that the results depend on."""
    files = sorted([*(HERE.parent / "configs").rglob("*.yaml"), CLASSIFIER, PROTOTYPES])
    content = "\n".join(file.read_text() for file in files)
    content += __version__ + repr(DiscoverySettings())
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


def summary(figures: dict[str, object]) -> Table:
    """Return the table of strategies beside chance."""
    table = Table(title="Built-in birds, test images", title_justify="left")
    for column in ("maps", "exact", "consistency %", "stability %", "distinct_peaks"):
        table.add_column(column, justify="left" if column in ("maps", "exact") else "right")
    groups = (("strategies", ""), ("chance", "chance: "))
    for group, prefix in groups:
        rows = figures[group]
        assert isinstance(rows, dict)
        for name, row in rows.items():
            exact = "" if prefix else "no" if name == "unrefined" else "yes"
            label = "unrefined NMF" if name == "unrefined" else prefix + name
            scores = (row["consistency"], row["stability"], row["distinct_peaks"])
            table.add_row(label, exact, f"{scores[0]:.1f}", f"{scores[1]:.1f}", f"{scores[2]:.3f}")
    return table


def main() -> None:
    """Train the black box, find its prototypes, test them, and print what came out."""
    stage(
        "1/3 train the black box",
        RUN / "classifier",
        ["fit", "--config", str(CLASSIFIER), "--trainer.max_epochs", "3"],
        BLACK_BOX,
    )
    stage(
        "2/3 discover and refine its prototypes",
        RUN / "prototypes",
        ["fit", "--config", str(PROTOTYPES), "--model.init_args.classifier_ckpt", str(BLACK_BOX)],
        NETWORK,
    )
    stage(
        "3/3 evaluate and write the report",
        RUN,
        ["test", "--config", str(PROTOTYPES), "--ckpt_path", str(NETWORK), "--verbose=false"],
        RUN / "report/index.html",
    )
    figures = json.loads((RUN / "metrics.json").read_text())
    terminal = console()
    terminal.print(summary(figures))
    terminal.print(
        f"accuracy: black box {figures['blackbox_accuracy']:.2%}, prototypes "
        f"{figures['accuracy']:.2%}; agreement {figures['agreement']:.2%}; largest logit error "
        f"{figures['max_logit_error']:.1e}"
    )
    print(f"report: {RUN / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()

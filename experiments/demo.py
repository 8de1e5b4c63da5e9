"""The whole main job on the built-in birds: `make demo`.

Runs of the command line, each skipped when it is already done with the same configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import yaml

from ppn.__main__ import main as ppn
from ppn.commands.results_table import show
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.discovery import NMF
from ppn.io.files import write_json
from ppn.io.terminal import console
from ppn.refinement import CompactSplit
from ppn.version import __version__

HERE = Path(__file__).parent
RUN = Path("runs/demo")
CLASSIFIER = HERE / "synthetic/classifier.yaml"
PROTOTYPES = HERE / "synthetic/prototypes.yaml"
NAMED = HERE / "synthetic/named.yaml"
BIRDS = HERE.parent / "configs/data/synthetic_birds.yaml"
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


def birds(folder: Path) -> list[Path]:
    """Write a test image of each class as a file, and return the files."""
    shown = yaml.safe_load(BIRDS.read_text())["init_args"]
    split = SyntheticBirdsDataModule(**shown).read_split("test")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for label, name in enumerate(split.class_names):
        files.append(folder / f"{name.lower().replace(' ', '-')}.png")
        index = int(np.flatnonzero(split.labels == label)[0])
        split.read(index).image.save(files[-1])
    return files


def command() -> str:
    """Return what to type for `ppn` in the shell that has started this."""
    beside = Path(sys.executable).parent / "ppn"
    if str(beside.parent) in os.environ.get("PATH", "").split(os.pathsep):
        return "ppn"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


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
    show(RUN / "metrics.json")
    told = json.loads((RUN / "named/prototypes.json").read_text())["certificate"]["named_parts"]
    console().print(
        f"named parts: {told['accuracy']:.0%} of held-out points get their name; no name holds "
        f"{told['remainder_share']:.0%} of a logit"
    )
    print(f"report: {RUN / 'report' / 'index.html'}")
    print(f"report of named parts: {RUN / 'named/validation/report' / 'index.html'}")
    one, another = birds(RUN / "birds")[:2]
    picture = ["--ckpt", str(NETWORK), "--out", str(RUN / "explanations")]
    print("one explained image:")
    if ppn(["explain", str(one), *picture]):
        sys.exit(2)
    print(f"another: {shlex.join([command(), 'explain', str(another), *picture])}")


if __name__ == "__main__":
    main()

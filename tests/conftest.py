"""Nothing heavy is imported here: the process that hands out tests to others needs none of it."""

import os
import shutil
from pathlib import Path

import pytest

from ppn.allocator import keep_memory

keep_memory()
# Beside the project, unless the variable says where.
SHARED = Path(os.environ.get("PPN_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def _full_precision():
    """A GPU's convolutions round to ten bits otherwise, and the CPU's do not."""
    import torch

    torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(autouse=True)
def _steady(monkeypatch):
    """Every test starts from the same random state, and none reaches a server."""
    import torch

    from ppn.callbacks.tracking import STAGING

    torch.manual_seed(0)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    for name in ("PPN_RUN_DIR", STAGING):  # a command line that was only built leaves them
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def cub_root():
    """The real CUB-200-2011 subset beside the project."""
    root = SHARED / "CUB10" / "CUB_200_2011"
    if not root.is_dir():
        pytest.skip("the real data beside the project is absent")
    return root


@pytest.fixture(scope="session")
def funnybirds_root():
    """The real FunnyBirds subset beside the project."""
    root = SHARED / "FunnyBirds_mini" / "FunnyBirds"
    if not root.is_dir():
        pytest.skip("the real data beside the project is absent")
    return root


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, driven by playwright."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    chromium = next(found, None)
    if chromium is None:
        pytest.skip("no Chromium on the PATH")
    arguments = ["--disable-gpu", "--disable-background-networking"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to run as root with its sandbox
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield opened
        opened.close()

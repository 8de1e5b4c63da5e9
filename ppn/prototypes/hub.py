"""Networks on the Hugging Face Hub: safetensors, JSON and pictures, never code or a pickle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.errors import CheckpointError, DataError
from ppn.prototypes.card import model_card, read_metrics
from ppn.prototypes.files import DESCRIPTION, TENSORS
from ppn.prototypes.patches import FOLDER
from ppn.prototypes.whole import WEIGHTS

if TYPE_CHECKING:
    from ppn.prototypes.network import PrototypeNetwork

SCHEME = "hf://"
_FILES = (DESCRIPTION, TENSORS, WEIGHTS, f"{FOLDER}/*.jpg", "README.md")
"""All that is ever sent or fetched."""


def push(
    network: PrototypeNetwork,
    repo_id: str,
    run: str | Path | None = None,
    classifier: bool = True,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Write a network to the Hub; see `PrototypeNetwork.push_to_hub`."""
    hub = _package()
    metrics = None if run is None else read_metrics(Path(run) / "metrics.json")
    with tempfile.TemporaryDirectory() as temporary:
        folder = network.save(temporary, classifier=classifier)
        card = model_card(network, repo_id, classifier, metrics)
        (folder / "README.md").write_text(card, encoding="utf-8")
        try:
            api = hub.HfApi(token=token)
            api.create_repo(repo_id, private=private, exist_ok=True)
            made = api.upload_folder(
                repo_id=repo_id, folder_path=folder, allow_patterns=list(_FILES),
                commit_message="Prototypes by ppn",
            )  # fmt: skip
        except Exception as error:  # of the network, of the server, of a token that is missing
            raise DataError(f"{repo_id} could not be written ({_reason(error)}).") from None
    return str(getattr(made, "commit_url", made))


def pull(path: str) -> Path:
    """Fetch a network from the Hub, and return the folder that it is in.

    Args:
        path: `hf://USER/NAME`, or `hf://USER/NAME@REVISION`.

    Raises:
        CheckpointError: If it is not there, or huggingface_hub is missing.
    """
    hub = _package()
    repo_id, _, revision = path.removeprefix(SCHEME).strip("/").partition("@")
    try:
        found = hub.snapshot_download(
            repo_id, revision=revision or None, allow_patterns=list(_FILES)
        )
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be fetched ({_reason(error)}): check the name, and log in with "
            "`hf auth login` where it is private."
        ) from None
    return Path(found)


def _package() -> Any:  # noqa: ANN401 - a module
    try:
        import huggingface_hub
    except ImportError:
        raise DataError(
            "The Hub needs the package huggingface_hub: pip install 'ppn[hub]'."
        ) from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")

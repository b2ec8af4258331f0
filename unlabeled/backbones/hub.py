"""Models on the Hugging Face Hub: from its cache, else from the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm

from unlabeled.backbones.create import check_name
from unlabeled.core.errors import UserError
from unlabeled.core.extras import extra

TIMM = ("config.json", "model.safetensors")
"""A timm model's files."""
ANY = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
"""Those of any model."""


def hub_folder(hub_id: str, called: str, files: Sequence[str] = TIMM) -> Path:
    """The folder in the hub's cache that holds a model; it is downloaded where it is not there yet.

    Args:
        hub_id: ``OWNER/NAME``.
        called: what the user called it.
        files: patterns of the files that are needed.

    Raises:
        UserError: no such model, no network, or the package is missing.
    """
    extra("huggingface_hub", "hub", called)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except (OSError, HfHubHTTPError, RepositoryNotFoundError, LocalEntryNotFoundError, ValueError) as error:
        raise UserError(
            f"{called} is not in the hub's cache and cannot be downloaded ({type(error).__name__}); check the name and "
            f"the network. Where there is one, this fetches it for later: hf download {hub_id} {' '.join(files)}"
        ) from error


def timm_folder(name: str) -> Path:
    """The folder in the hub's cache with timm's pretrained weights of a model.

    Args:
        name: a timm model, with or without a tag: ``resnet50``, ``resnet50.a1_in1k``.

    Raises:
        UserError: timm does not know it, has no weights of it, or they cannot be had.
    """
    check_name(name)
    cfg: Any = timm.get_pretrained_cfg(name, allow_unregistered=True)
    hub_id = getattr(cfg, "hf_hub_id", None)
    if not hub_id:
        raise UserError(f"timm has no pretrained weights of '{name}'; random:{name} is the network with random ones.")
    return hub_folder(str(hub_id), f"timm:{name}")

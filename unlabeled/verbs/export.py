"""A trained backbone for other people's tools: timm folder, safetensors, TorchScript, ONNX, or a Hub repository."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from safetensors.torch import save_file

from unlabeled import backbones
from unlabeled.backbones import Backbone, Origin, deploy, digest_of, read_lineage, write_lineage
from unlabeled.core.errors import UserError, first_line, nearest
from unlabeled.core.extras import extra
from unlabeled.core.files import atomic_folder, atomic_write_text, expect_file
from unlabeled.report.card import model_card
from unlabeled.runs.folder import Run
from unlabeled.runs.image_classifier import open_classifier
from unlabeled.runs.models import backbone_folder

NAMES: dict[str, str] = {
    "timm": "timm",
    "safetensors": "backbone.safetensors",
    "torchscript": "backbone.torchscript.pt",
    "onnx": "backbone.onnx",
    "hub": "hub",
}


def export(
    source: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    classifier: bool = False,
    layer: str | None = None,
    pool: str | None = None,
    repo: str | None = None,
    push: bool = False,
    private: bool = True,
    licence: str = "unknown",
) -> Path:
    """Write a trained backbone in another format, checked against torch where it computes.

    Args:
        source: a run folder, or what ``load_backbone`` takes.
        to: ``timm`` (a folder for ``timm.create_model("local-dir:…")``), ``safetensors`` (weights in one file),
            ``torchscript`` and ``onnx`` (take float images in [0, 1] of any batch size, normalise them inside),
            ``hub`` (the timm folder with a model card written from the run).
        out: the file or folder; default: ``export/`` in the run's folder.
        classifier: with the classifier that was trained on it and its class names: logits instead of embeddings, and a
            folder that ``timm.create_model("local-dir:…", pretrained=True)`` classifies with (not ``safetensors``).
        layer, pool: an inner stage of the backbone (``torchscript`` and ``onnx`` only).
        repo: ``NAME`` or ``OWNER/NAME`` on the Hugging Face Hub.
        push: upload the ``hub`` folder to ``repo``; nothing touches the network before.
        private: whether a newly made repository is private.
        licence: of the weights, for the card, e.g. ``apache-2.0``.

    Returns:
        What was written.

    Raises:
        UserError: nothing to export, an unknown format, a missing package, a model that the format cannot express, a
            result that differs from torch, or a refused upload.
    """
    if to not in NAMES:
        raise UserError(f"cannot export to '{to}'.{nearest(to, NAMES)}")
    if push and (to != "hub" or not repo):
        raise UserError("--push needs --to hub and --repo OWNER/NAME.")
    if (layer or pool) and to not in ("torchscript", "onnx"):
        raise UserError(f"--layer and --pool are for torchscript and onnx; '{to}' keeps the whole backbone.")
    if classifier and (layer or pool or to == "safetensors"):
        what = "safetensors holds the backbone alone" if to == "safetensors" else "it reads the whole backbone"
        raise UserError(f"--classifier: {what}; leave one of them out.")
    folder = backbone_folder(source)
    whole = open_classifier(source).cpu() if classifier else None
    path = Path(out) if out is not None else _home(source) / _name(to, classifier)
    if to in ("timm", "hub"):
        if path.exists() and not (path / "config.json").is_file() and (path.is_file() or any(path.iterdir())):
            raise UserError(f"{path} exists and is not an exported backbone; choose another --out.")
        with atomic_folder(path) as new:
            if whole is None:
                for name in ("config.json", "model.safetensors"):
                    shutil.copyfile(folder / name, new / name)
                backbones.load(new)
            else:
                backbones.save_with_classifier(folder, whole.head, whole.classes, new)
            step = Origin(did="export", source=str(source), digest=digest_of(new / "model.safetensors"), name=to)
            write_lineage((*read_lineage(folder), step), new)
            if to == "hub":
                classes = whole.classes if whole is not None else ()
                card = model_card(source, folder, repo=repo, licence=licence, classes=classes)
                atomic_write_text(new / "README.md", card)
        if push and repo:
            push_folder(path, repo, private=private)
        return path
    expect_file(path, NAMES[to])
    model = backbones.load(folder)
    if to == "safetensors":
        weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
        came = [step.model_dump(exclude_defaults=True) for step in read_lineage(folder)]
        about = {"format": "pt", "config": json.dumps(backbones.load_config(folder)), "lineage": json.dumps(came)}
        deploy.written(path, lambda temporary: save_file(weights, temporary, metadata=about))
        return path
    reads = Backbone(model, layer, pool)
    deployed = deploy.Deployed(reads if whole is None else whole, reads, whole.classes if whole else ()).eval()
    {"torchscript": deploy.torchscript, "onnx": deploy.onnx}[to](deployed, path)
    return path


def _name(to: str, classifier: bool) -> str:
    name = NAMES[to]
    if not classifier:
        return name
    return name.replace("backbone", "classifier") if "backbone" in name else f"{name}-classifier"


def _home(source: str | Path) -> Path:
    run = Run(source)
    if not run.exists():
        raise UserError(f"{source} is no run, in whose folder the export would lie; say where with --out.")
    return run.folder / "export"


def push_folder(folder: Path, repo: str, *, private: bool) -> str:
    """Upload a ``hub`` folder; the only step that needs the network.

    Returns:
        The repository's address.

    Raises:
        UserError: no huggingface_hub, not logged in, no such owner, or no network.
    """
    extra("huggingface_hub", "hub", "--push")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        raise UserError(f"--push: HF_HUB_OFFLINE is set; {folder} is ready to be pushed without it.")
    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=folder, commit_message="Backbone exported by unlabeled")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError, ValueError) as error:
        reason = first_line(error)
        raise UserError(
            f"'{repo}' could not be pushed ({reason}); {folder} is complete. Log in with `hf auth login`, check the "
            "name and the network, and push again."
        ) from error
    return str(address)

"""A trained backbone for other people's tools: timm folder, safetensors, TorchScript, ONNX, or a Hub repository."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unlabeled import backbones
from unlabeled.backbones import Backbone, Origin, digest_of, read_lineage, write_lineage
from unlabeled.core import rng
from unlabeled.core.errors import UserError, first_line, nearest
from unlabeled.core.extras import extra
from unlabeled.core.files import atomic_folder, atomic_write, atomic_write_text, expect_file, explained
from unlabeled.report.card import model_card
from unlabeled.runs.folder import Run
from unlabeled.runs.models import backbone_folder

NAMES: dict[str, str] = {
    "timm": "timm",
    "safetensors": "backbone.safetensors",
    "torchscript": "backbone.torchscript.pt",
    "onnx": "backbone.onnx",
    "hub": "hub",
}
TOLERANCE = 1e-4
"""How far an exported model's embeddings may lie from torch's, relative to the largest value where that exceeds 1."""
CHECKED_BATCHES = (1, 3, 8)
OPSET = 18


class Deployed(nn.Module):
    """The backbone as it is exported: pixels in [0, 1] in, embeddings out, the normalisation inside."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` float in [0, 1] to ``(B, D)``."""
        embedding: Tensor = self.backbone((images - self.backbone.mean) / self.backbone.std)
        return embedding


def export(
    source: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
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
    folder = backbone_folder(source)
    path = Path(out) if out is not None else _home(source) / NAMES[to]
    if to in ("timm", "hub"):
        if path.exists() and not (path / "config.json").is_file() and (path.is_file() or any(path.iterdir())):
            raise UserError(f"{path} exists and is no exported backbone; choose another --out.")
        with atomic_folder(path) as new:
            for name in ("config.json", "model.safetensors"):
                shutil.copyfile(folder / name, new / name)
            backbones.load(new)
            step = Origin(did="export", source=str(source), digest=digest_of(new / "model.safetensors"), name=to)
            write_lineage((*read_lineage(folder), step), new)
            if to == "hub":
                atomic_write_text(new / "README.md", model_card(source, folder, repo=repo, licence=licence))
        if push and repo:
            push_folder(path, repo, private=private)
        return path
    expect_file(path, NAMES[to])
    model = backbones.load(folder)
    if to == "safetensors":
        weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
        came = [step.model_dump(exclude_defaults=True) for step in read_lineage(folder)]
        about = {"format": "pt", "config": json.dumps(backbones.load_config(folder)), "lineage": json.dumps(came)}
        _written(path, lambda temporary: save_file(weights, temporary, metadata=about))
        return path
    deployed = Deployed(Backbone(model, layer, pool)).eval()
    {"torchscript": _torchscript, "onnx": _onnx}[to](deployed, path)
    return path


def _home(source: str | Path) -> Path:
    run = Run(source)
    return run.folder / "export" if run.exists() else Path("export")


def _written(path: Path, write: Callable[[str], object]) -> None:
    """Let a library write to a name of its own and put the result in place whole."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / path.name
        with explained(path):
            write(str(temporary))
        with temporary.open("rb") as source:
            atomic_write(path, lambda target: shutil.copyfileobj(source, target))


def _example(deployed: Deployed, batch: int) -> Tensor:
    backbone = deployed.backbone
    size = (batch, backbone.in_chans, backbone.image_size, backbone.image_size)
    return torch.rand(size, generator=rng.torch_generator("export", batch))


@torch.inference_mode()
def _check(deployed: Deployed, run: Callable[[Tensor], Tensor], name: str) -> None:
    for batch in CHECKED_BATCHES:
        images = _example(deployed, batch)
        wanted = deployed(images)
        try:
            got = run(images)
        except Exception as error:  # whatever a runtime refuses is for the user to know
            reason = first_line(error)
            raise UserError(
                f"the {name} model does not run on a batch of {batch} ({reason}); export to timm."
            ) from error
        scale = max(1.0, float(wanted.abs().max()))
        gap = float((got - wanted).abs().max()) / scale if got.shape == wanted.shape else float("inf")
        if not gap <= TOLERANCE:
            raise UserError(
                f"the {name} model differs from torch by {gap:.1e} (allowed: {TOLERANCE:g}) on a batch of {batch}; "
                "nothing was written. Export to timm or safetensors instead."
            )


def _torchscript(deployed: Deployed, path: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of every Python branch; the check below is what counts
        traced: Any = torch.jit.trace(deployed, _example(deployed, 2), check_trace=False)  # type: ignore[no-untyped-call]

    def write(temporary: str) -> None:
        traced.save(temporary)
        _check(deployed, torch.jit.load(temporary), "TorchScript")  # type: ignore[no-untyped-call]

    _written(path, write)


def _onnx(deployed: Deployed, path: Path) -> None:
    for name in ("onnx", "onnxscript"):  # torch imports them in its own time
        extra(name, "onnx", "--to onnx")
    onnxruntime: Any = extra("onnxruntime", "onnx", "--to onnx")

    def write(temporary: str) -> None:
        batch = torch.export.Dim("batch", min=1, max=1 << 20)
        try:
            with _silent(), torch.no_grad():
                program: Any = torch.onnx.export(
                    deployed,
                    (_example(deployed, 2),),
                    dynamo=True,
                    dynamic_shapes={"images": {0: batch}},
                    input_names=["images"],
                    output_names=["embedding"],
                    opset_version=OPSET,
                    verbose=False,
                )
                program.save(temporary, external_data=False)
        except Exception as error:  # the exporter raises many kinds, all of which mean the same to the user
            reason = first_line(error)
            raise UserError(f"this backbone cannot be written as ONNX ({reason}); export to timm.") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(temporary, options, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> Tensor:
            return torch.from_numpy(np.asarray(session.run(["embedding"], {"images": images.numpy()})[0]))

        _check(deployed, run, "ONNX")

    _written(path, write)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter's chatter off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


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

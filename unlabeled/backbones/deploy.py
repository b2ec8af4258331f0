"""A network for programs without Python's libraries: TorchScript and ONNX, checked against torch before they are kept.

Both take pixels in [0, 1] of any batch size; the normalisation is inside.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packaging.version import Version
from torch import Tensor, nn

from unlabeled.backbones.agreement import TOLERANCE, gap
from unlabeled.backbones.features import Backbone
from unlabeled.core import rng
from unlabeled.core.errors import UserError, first_line
from unlabeled.core.extras import extra
from unlabeled.core.files import atomic_write, explained

CHECKED_BATCHES = (1, 3, 8)
OPSET = 18
OLD_EXPORTER = Version(torch.__version__) < Version("2.7")
"""Before, the exporter of whole programs cannot express a batch normalisation."""


class Deployed(nn.Module):
    """A network as it is exported: pixels in [0, 1] in, embeddings or logits out, the normalisation inside.

    Args:
        model: takes normalised images: the backbone itself, or a classifier over it.
        backbone: whose size, channels and normalisation the images have.
        classes: the names of the logits, which travel with the file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, backbone: Backbone, classes: Sequence[str] = ()) -> None:
        super().__init__()
        self.model, self.classes = model, tuple(classes)
        self.register_buffer("mean", backbone.mean.cpu().clone())
        self.register_buffer("std", backbone.std.cpu().clone())
        self.shape = (backbone.in_chans, backbone.image_size, backbone.image_size)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` float in [0, 1] to ``(B, D)`` embeddings or ``(B, K)`` logits."""
        found: Tensor = self.model((images - self.mean) / self.std)
        return found


def written(path: Path, write: Callable[[str], object]) -> None:
    """Let a library write to a name of its own and put the result in place whole."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / path.name
        with explained(path):
            write(str(temporary))
        with temporary.open("rb") as source:
            atomic_write(path, lambda target: shutil.copyfileobj(source, target))


def _example(deployed: Deployed, batch: int) -> Tensor:
    return torch.rand((batch, *deployed.shape), generator=rng.torch_generator("export", batch))


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
        apart = gap(got, wanted)
        if not apart <= TOLERANCE:
            raise UserError(
                f"the {name} model differs from torch by {apart:.1e} (allowed: {TOLERANCE:g}) on a batch of {batch}; "
                "nothing was written. Export to timm or safetensors instead."
            )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Tracing warns of every Python branch, and TorchScript of its successor; that both agree is what counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def torchscript(deployed: Deployed, path: Path) -> None:
    """Write a TorchScript file; the names of the classes are its extra file ``classes.json``.

    Raises:
        UserError: it does not agree with torch.
    """
    with _without_warnings(), torch.no_grad():
        traced: Any = torch.jit.trace(deployed, _example(deployed, 2), check_trace=False)  # type: ignore[no-untyped-call]

    names = json.dumps(deployed.classes, ensure_ascii=False)

    def write(temporary: str) -> None:
        traced.save(temporary, _extra_files={"classes.json": names} if deployed.classes else {})
        with _without_warnings():
            _check(deployed, torch.jit.load(temporary), "TorchScript")  # type: ignore[no-untyped-call]

    written(path, write)


def _exported_onnx(deployed: Deployed, file: str, output: str) -> None:
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    program: Any = torch.onnx.export(
        deployed,
        (_example(deployed, 2),),
        dynamo=True,
        dynamic_shapes={"images": {0: batch}},
        input_names=["images"],
        output_names=[output],
        opset_version=OPSET,
        verbose=False,
    )
    if deployed.classes:
        program.model.metadata_props["classes"] = json.dumps(deployed.classes, ensure_ascii=False)
    program.save(file, external_data=False)


def _traced_onnx(deployed: Deployed, file: str, output: str) -> None:
    import onnx as format

    torch.onnx.export(
        deployed,
        (_example(deployed, 2),),
        file,
        dynamo=False,
        dynamic_axes={"images": {0: "batch"}, output: {0: "batch"}},
        input_names=["images"],
        output_names=[output],
        opset_version=OPSET,
    )
    if deployed.classes:
        model = format.load(file)
        format.helper.set_model_props(model, {"classes": json.dumps(deployed.classes, ensure_ascii=False)})
        format.save(model, file)


def onnx(deployed: Deployed, path: Path) -> None:
    """Write an ONNX file (``images`` to ``embedding`` or ``logits``); the names of the classes are in its metadata.

    Raises:
        UserError: a package is missing, the network cannot be expressed, or it does not agree with torch.
    """
    for name in ("onnx", "onnxscript"):  # torch imports them in its own time
        extra(name, "onnx", "--to onnx")
    output = "logits" if deployed.classes else "embedding"
    onnxruntime: Any = extra("onnxruntime", "onnx", "--to onnx")

    def write(temporary: str) -> None:
        try:
            with _silent(), torch.no_grad():
                if OLD_EXPORTER:
                    _traced_onnx(deployed, temporary, output)
                else:
                    _exported_onnx(deployed, temporary, output)
        except Exception as error:  # the exporter raises many kinds, all of which mean the same to the user
            reason = first_line(error)
            raise UserError(f"this network cannot be written as ONNX ({reason}); export to timm.") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(temporary, options, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> Tensor:
            return torch.from_numpy(np.asarray(session.run([output], {"images": images.numpy()})[0]))

        _check(deployed, run, "ONNX")

    written(path, write)


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

"""The feature bank: a backbone's embeddings of a data set, extracted once and shared by every probe."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unlabeled.core.errors import UserError
from unlabeled.core.files import cache_dir
from unlabeled.core.model_input import normalised, sized
from unlabeled.probes.store import Store

Rows = npt.NDArray[np.int64]
DTYPES = {"float16": np.float16, "float32": np.float32}


class Images(Protocol):
    """What :func:`extract` needs of a data set; ``unlabeled.data.ImageSet`` has it."""

    @property
    def labels(self) -> npt.NDArray[np.int64] | None: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    def __len__(self) -> int: ...
    def gather(self, rows: Rows) -> Tensor: ...


@dataclass(frozen=True)
class FeatureBank:
    """Features of N samples, and their labels where there are any.

    Attributes:
        features: (N, D) float array, usually a read-only memory map.
        labels: (N,) labels of any type, or None.
        fingerprint: hash of what the features were made from.
        classes: names of the classes, if known.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None = None
    fingerprint: str = ""
    classes: tuple[str, ...] | None = None

    @classmethod
    def from_arrays(cls, X: Any, y: Any = None, *, classes: Sequence[str] | None = None) -> FeatureBank:
        """A bank of features made elsewhere.

        Args:
            X: (N, D) numpy array, memory map or torch tensor.
            y: (N,) labels, or None.
            classes: names of the classes.

        Raises:
            UserError: not two-dimensional, empty, not of real numbers, or of another length than the labels.

        >>> len(FeatureBank.from_arrays([[0.0, 1.0], [1.0, 0.0]], ["cat", "dog"]))
        2
        """
        if isinstance(X, Tensor):  # numpy has no bfloat16
            X = X.detach().cpu()
            X = X.float() if X.dtype == torch.bfloat16 else X
        try:
            features = np.asanyarray(X)
            if features.dtype.kind not in "fc":
                features = features.astype(np.float32)
        except (ValueError, TypeError) as error:
            raise UserError(f"a feature bank needs (N, D) features that are numbers ({error}).") from error
        if features.dtype.kind == "c":
            raise UserError("a feature bank needs (N, D) features that are real numbers, not complex ones.")
        if features.ndim != 2 or 0 in features.shape:
            raise UserError(f"a feature bank needs (N, D) features with N, D >= 1, not shape {features.shape}.")
        labels = y.detach().cpu().numpy() if isinstance(y, Tensor) else None if y is None else np.asarray(y)
        if labels is not None and labels.shape != (len(features),):
            raise UserError(f"a bank of {len(features)} features needs ({len(features)},) labels, not {labels.shape}.")
        digest = hashlib.blake2b(str((features.dtype, features.shape)).encode(), digest_size=16)
        for start in range(0, len(features), 65536):
            digest.update(np.ascontiguousarray(features[start : start + 65536]).data)
        return cls(features, labels, digest.hexdigest(), tuple(classes) if classes else None)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def dim(self) -> int:
        """D, the length of a feature vector."""
        return int(self.features.shape[1])

    def subset(self, rows: Rows) -> FeatureBank:
        """The bank of some rows, in their order (copied into memory)."""
        digest = hashlib.blake2b(self.fingerprint.encode() + np.ascontiguousarray(rows).tobytes(), digest_size=16)
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, features=self.features[rows], labels=labels, fingerprint=digest.hexdigest())

    def without_labels(self) -> FeatureBank:
        """The same features, labels dropped."""
        return replace(self, labels=None, classes=None)


def extract(
    model: nn.Module,
    images: Images,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    size: int | None = None,
    layer: str | None = None,
    pool: str | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    autocast: Literal["bfloat16", "float16"] | None = None,
    batch_size: int = 256,
    cache: str | Path | Literal["default"] | None = None,
    device: str | torch.device | None = None,
) -> FeatureBank:
    """Run ``model`` once over all images and keep its embeddings in a memory-mapped bank.

    The model runs in evaluation mode without gradients and is left in the mode it was in. Under torch.distributed
    each rank extracts its share of the batches into the same file (the folder must be shared); all get the whole bank.

    Args:
        model: maps float images (B, C, H, W) to (B, D).
        images: the data set; pixels are uint8.
        mean, std: per channel, in units of 0..1, subtracted and divided by.
        size: cut images to ``size`` x ``size`` as files are (``unlabeled.core.fit``); default: as they are.
        layer, pool: an inner layer of the backbone and how to pool it (``unlabeled.backbones.Backbone``).
        forward: what to call instead of ``model``; then name it by ``layer`` so that the cache can tell it apart.
        dtype: how features are stored.
        autocast: compute in mixed precision.
        batch_size: images of one forward pass.
        cache: folder of banks (``"default"``: the user's cache); None keeps the bank in a temporary file.
            A bank found there is returned at once; an interrupted one is finished.
        device: where to run; default: where the model is.

    Raises:
        UserError: no images, an output that is not (B, D), NaN or infinite features, a full disk.
    """
    if not len(images):
        raise UserError("there are no images to extract features from; check the data set and its split.")
    channels = images.shape[0]
    if not len(mean) == len(std) == channels:
        raise UserError(f"mean and std need {channels} values, one a channel, not {len(mean)} and {len(std)}.")
    if forward is not None and layer is None and cache is not None:
        raise UserError("extract(forward=...) needs layer='a name for it': the cache must tell banks apart.")
    first = next(model.parameters(), torch.empty(0))
    place = torch.device(device) if device is not None else first.device
    run: Callable[[Tensor], Tensor] = forward or model
    prepare = _Normalise(mean, std, size, place)

    def embed(pixels: Tensor) -> Tensor:
        with torch.autocast(place.type, getattr(torch, autocast or "bfloat16"), enabled=autocast is not None):
            out: Tensor = run(prepare(pixels))
        if out.ndim != 2:
            raise UserError(f"the model gives shape {tuple(out.shape)}, not (B, D); choose a layer or a pool.")
        return out.float()

    transform = ([float(m) for m in mean], [float(s) for s in std], size)
    chosen = (layer, pool, getattr(model, "layer", None), getattr(model, "pool", None))
    key = _key(fingerprint(model), images.fingerprint, transform, str(chosen), dtype, autocast)
    folder = None if cache is None else (cache_dir() / "features" if cache == "default" else Path(cache))
    modes = [(module, module.training) for module in model.modules()]
    moved = first.device != place
    try:
        if forward is None and (layer is not None or pool is not None):
            from unlabeled.backbones import Backbone  # timm takes seconds to import; plain arrays need none of it

            run = Backbone(model, layer, pool)
        if moved:
            model.to(place)
        model.eval()
        with torch.inference_mode():
            store = Store(folder, key, len(images), DTYPES[dtype], batch_size, origin=getattr(images, "origin", ""))
            features = store.fill(images.gather, embed, place)
    finally:
        if moved:
            model.to(first.device)
        for module, training in modes:
            module.training = training
    return FeatureBank(features, images.labels, key, getattr(images, "classes", None))


def fingerprint(model: nn.Module) -> str:
    """Hash of a model's structure, parameters and buffers."""
    digest = hashlib.blake2b(repr(model).encode(), digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _key(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


class _Normalise:
    """Stored uint8 pixels to the network's input, on the device."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], size: int | None, device: torch.device) -> None:
        self.mean, self.std = (torch.tensor(values, device=device) for values in (mean, std))
        self.size = size

    def __call__(self, pixels: Tensor) -> Tensor:
        return normalised(sized(pixels, self.size), self.mean, self.std)

"""A loaded backbone: any layer, any pooling, any kind of image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from unlabeled.core.errors import UserError, first_line, nearest
from unlabeled.core.fit import fit_array, fit_image
from unlabeled.core.model_input import normalised
from unlabeled.core.pixels import BY_TYPE, Array, DecodeError, PixelRule, Pixels, channels_lead
from unlabeled.core.progress import say

POOLS = ("avg", "max", "flat", "cls", "mean")


def layer_names(model: nn.Module) -> list[str]:
    """Names of the intermediate stages of a timm model, from input to output; empty where it has none."""
    info = getattr(model, "feature_info", None)
    entries = getattr(info, "info", info) or []
    return [str(entry["module"]) for entry in entries]


class Backbone(nn.Module):
    """A frozen-ready feature extractor around a timm model.

    Args:
        model: a timm model with ``num_classes=0``.
        layer: ``None`` for the model's own embedding, or a stage: its name (see :func:`layer_names`) or number
            (negative counts from the end).
        pool: how a map or token sequence becomes a vector: ``avg``, ``max``, ``flat`` (maps), ``cls``, ``mean``
            (patch tokens); ``None`` is the model's own, and ``avg`` for a stage.

    Raises:
        UserError: the model has no such layer, or the pooling does not fit it.
    """

    mean: Tensor
    std: Tensor
    rule: PixelRule
    """What the numbers of the images that it learned from mean; those it embeds are read alike."""

    def __init__(self, model: nn.Module, layer: str | int | None = None, pool: str | None = None) -> None:
        super().__init__()
        if pool is not None and pool not in POOLS:
            raise UserError(f"features.pool: unknown pooling '{pool}'.{nearest(pool, POOLS)}")
        cfg: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        self.model = model
        self.pool = pool
        self.rule = getattr(model, "pixel_rule", BY_TYPE)
        self.layer = self._number(layer)
        self.in_chans, self.image_size = int(cfg["input_size"][0]), int(cfg["input_size"][1])
        place = next((p.device for p in model.parameters()), None)  # the model may be on a GPU already
        for name in ("mean", "std"):
            values = torch.tensor(_per_channel(cfg[name], self.in_chans), device=place)
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)
        self.training = model.training
        self.num_features = self._width()

    def _number(self, layer: str | int | None) -> int | None:
        if layer is None:
            return None
        names = layer_names(self.model)
        number = int(layer) if str(layer).lstrip("-").isdigit() else names.index(layer) if layer in names else None
        if number is None or not -len(names) <= number < len(names):
            raise UserError(f"features.layer: the backbone has no layer '{layer}'.{nearest(str(layer), names)}")
        return number % len(names)

    @torch.no_grad()
    def _width(self) -> int:
        training = self.training
        shape = (self.in_chans, self.image_size, self.image_size)
        try:
            width = self.eval()(self.mean.new_zeros(2, *shape)).shape[1]
        except UserError:
            raise
        except Exception as error:
            reason = first_line(error)
            raise UserError(
                f"the backbone cannot take the {'×'.join(map(str, shape))} images that its configuration names "
                f"({reason}); export it again."
            ) from error
        self.train(training)
        return int(width)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images ``(B, C, H, W)`` to embeddings ``(B, D)``."""
        model: Any = self.model
        if self.layer is not None and self.pool == "cls" and int(getattr(model, "num_prefix_tokens", 0)):
            [(_, prefix)] = model.forward_intermediates(
                images, indices=[self.layer], return_prefix_tokens=True, intermediates_only=True
            )
            return self._pooled(prefix, "cls")
        if self.layer is not None:
            output = model.forward_intermediates(images, indices=[self.layer], intermediates_only=True)[-1]
            return self._pooled(output, self.pool or "avg")
        if self.pool is None:
            embedding: Tensor = model(images)
            return embedding
        output = model.forward_features(images)
        if output.ndim == 4 and getattr(model, "output_fmt", "NCHW") == "NHWC":  # Swin and its kin
            output = output.permute(0, 3, 1, 2)
        return self._pooled(output, self.pool)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """What each stage makes of normalised images ``(B, C, H, W)``: ``(B, D)`` by name, from input to output.

        From one pass, maps and tokens averaged; empty for a model without stages.
        """
        model: Any = self.model
        names = layer_names(model)
        if not names or not hasattr(model, "forward_intermediates"):
            return {}
        outputs = model.forward_intermediates(images, intermediates_only=True)
        return {name: self._pooled(output, "avg") for name, output in zip(names, outputs, strict=True)}

    def _pooled(self, output: Tensor, pool: str) -> Tensor:
        if output.ndim == 3:
            prefix = int(getattr(self.model, "num_prefix_tokens", 0))
            if pool == "cls":
                if prefix == 0:
                    raise UserError("features.pool=cls: this backbone has no class token; use pool=mean.")
                return output[:, 0]
            output = output[:, prefix:].transpose(1, 2).unsqueeze(-1)
        elif pool == "cls":
            raise UserError("features.pool=cls: only transformers have a class token; use pool=avg.")
        if pool == "flat":
            return output.flatten(1)
        return output.amax((2, 3)) if pool == "max" else output.mean((2, 3))

    @torch.inference_mode()
    def embed(self, images: Any, batch_size: int = 256) -> Tensor:
        """Embed images of any kind, without gradients and in eval mode.

        They are treated as in training (``unlabeled.core.fit``): numbers are read as the data set that the backbone
        learned from was (``rule``), turned upright, made gray or colour, and cut to the backbone's size.

        Args:
            images: a tensor or array ``(B, C, H, W)`` or ``(B, H, W, C)``, or one image without the batch dimension,
                uint8, or in the range that the rule says (without one: uint16, or floats in 0..1); a PIL image; or a
                list of any of these, of any sizes. Everything becomes 8 bits, as files are stored to train on; only
                float tensors in 0..1 of the network's own size are taken as they are, as exported networks take them.
            batch_size: how many images are computed at once.

        Returns:
            ``(B, D)`` float32 on the CPU.

        Raises:
            UserError: they have other channels than the backbone takes, or are no pixels.
        """
        pixels = self.pixels(images)
        training, device = self.training, self.mean.device
        self.eval()
        parts = [
            self(normalised(part.to(device), self.mean, self.std)).float().cpu()
            for part in torch.split(pixels, batch_size)
            if len(part)
        ]
        self.train(training)
        return torch.cat(parts) if parts else torch.empty(0, self.num_features)

    def pixels(self, images: Any) -> Tensor:
        """What the network sees of ``images`` (see :meth:`embed`), before the normalisation: ``(B, C, H, W)``."""
        if isinstance(images, Sequence) and not isinstance(images, str):
            parts = [self.pixels(image) for image in images]
            floats = any(part.is_floating_point() for part in parts)
            parts = [part / 255 if floats and not part.is_floating_point() else part for part in parts]
            return torch.cat(parts) if parts else torch.empty(0, *self._shape, dtype=torch.uint8)
        if isinstance(images, Tensor) and self._is_input(images):
            return images.reshape(-1, *self._shape)
        said: set[str] = set()
        try:
            # of a copy: a file that is still to be read would be closed for its owner
            fitted = (
                fit_image(images.copy(), self.image_size, self.image_size, self.in_chans, self.rule, said)[None]
                if isinstance(images, Image.Image)
                else self._fitted(_array(images), said)
            )
        except DecodeError as error:
            raise UserError(f"embed: an image cannot be used: {error}. This backbone takes {self._takes()}.") from error
        if "cut" in said:
            say(f"embed: values beyond those of the training images were cut off; this backbone takes {self._takes()}")
        return torch.from_numpy(np.array(fitted.transpose(0, 3, 1, 2), order="C"))  # never a view of the user's own

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.in_chans, self.image_size, self.image_size

    def _is_input(self, images: Tensor) -> bool:
        if not images.is_floating_point() or images.ndim not in (3, 4) or images.shape[-3:] != self._shape:
            return False
        return bool(((images >= 0) & (images <= 1)).all())  # NaN is neither

    def _fitted(self, array: Array, said: set[str]) -> Pixels:
        """uint8 (B, H, W, C) of (B, C, H, W), (B, H, W, C), or one image of either or (H, W)."""
        if array.ndim in (2, 3):
            array = array[None]
        if array.ndim not in (3, 4) or 0 in array.shape[1:]:
            raise DecodeError(f"an array of shape {array.shape} is not an image")
        first = False
        if array.ndim == 4 and self.rule.bands is None:
            if self.in_chans not in (array.shape[1], array.shape[3]) and not self.rule.alpha:
                raise DecodeError(f"an array of shape {array.shape} has other channels")
            first = channels_lead([array.shape[1:]], self.in_chans)
        elif array.ndim == 4:
            first = bool(self.rule.channels_first)
        rule = replace(self.rule, channels_first=first)
        if array.dtype == np.uint8 and array.ndim == 4 and rule == replace(BY_TYPE, channels_first=first):
            array, ready = array.transpose(0, 2, 3, 1) if first else array, (self.image_size, self.image_size)
            if array.shape[1:] == (*ready, self.in_chans):
                return array
            first, rule = False, BY_TYPE
        out = np.empty((len(array), self.image_size, self.image_size, self.in_chans), dtype=np.uint8)
        for image, place in zip(array, out, strict=True):
            place[:] = fit_array(image, self.image_size, self.image_size, self.in_chans, rule, said)
        return out

    def _takes(self) -> str:
        floats = self.rule.floats or (0, 1)
        integers = (
            f"integers in {self.rule.integers[0]:g}..{self.rule.integers[1]:g}" if self.rule.integers else "uint16"
        )
        return f"uint8, {integers} or float in [{floats[0]:g}, {floats[1]:g}], of {self.in_chans} channels"


def _array(images: Any) -> Array:
    if isinstance(images, np.ndarray):
        return images
    try:
        tensor = torch.as_tensor(images).detach().cpu()
    except (TypeError, RuntimeError, ValueError) as error:
        raise UserError(
            f"embed: {type(images).__name__} is not an image; give tensors, arrays or PIL images, or a folder to "
            "unlabeled.embed."
        ) from error
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())


def _per_channel(values: Sequence[float], channels: int) -> list[float]:
    return list(values) if len(values) == channels else [float(np.mean(values))] * channels

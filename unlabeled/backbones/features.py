"""A loaded backbone: any layer, any pooling, any kind of image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.core.errors import UserError, first_line, nearest
from unlabeled.core.fit import fit_image
from unlabeled.core.pixels import DecodeError

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

    def __init__(self, model: nn.Module, layer: str | int | None = None, pool: str | None = None) -> None:
        super().__init__()
        if pool is not None and pool not in POOLS:
            raise UserError(f"features.pool: unknown pooling '{pool}'.{nearest(pool, POOLS)}")
        cfg: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        self.model = model
        self.pool = pool
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

        They are treated as in training: turned upright, made gray or colour, cropped to the largest centred square
        and resized to the backbone's size with an antialiased bicubic filter.

        Args:
            images: uint8, uint16, or float in [0, 1]: a tensor or array ``(B, C, H, W)`` or ``(B, H, W, C)``, or one
                image without the batch dimension; a PIL image; or a list of any of these, of any sizes.
            batch_size: how many images are computed at once.

        Returns:
            ``(B, D)`` float32 on the CPU.

        Raises:
            UserError: they have other channels than the backbone takes, or are no pixels.
        """
        pixels = self._pixels(images)
        training, device = self.training, self.mean.device
        self.eval()
        parts = []
        for part in torch.split(pixels, batch_size):
            x = part.to(device).float() / (255 if part.dtype == torch.uint8 else 1)
            parts.append(self((x - self.mean) / self.std).float().cpu())
        self.train(training)
        return torch.cat(parts) if parts else torch.empty(0, self.num_features)

    def _pixels(self, images: Any) -> Tensor:
        if isinstance(images, Sequence) and not isinstance(images, str):
            parts = [self._pixels(image) for image in images]
            floats = any(part.is_floating_point() for part in parts)
            parts = [part / 255 if floats and not part.is_floating_point() else part for part in parts]
            return torch.cat(parts) if parts else torch.empty(0, self.in_chans, self.image_size, self.image_size)
        if isinstance(images, Image.Image):
            try:
                # of a copy: a file that is still to be read would be read at a fraction of its size, for good
                images = fit_image(images.copy(), self.image_size, self.image_size, self.in_chans)
            except DecodeError as error:
                raise UserError(f"embed: a picture cannot be used: {error}.") from error
        if isinstance(images, np.ndarray) and (not images.flags.writeable or min(images.strides, default=0) < 0):
            images = images.copy()  # torch has no read-only tensors, and warns; nor any that run backwards
        try:
            pixels = torch.as_tensor(images)
        except (TypeError, RuntimeError, ValueError) as error:
            raise UserError(
                f"embed: {type(images).__name__} is no image; give tensors, arrays or PIL images, or a folder to "
                "unlabeled.embed."
            ) from error
        if pixels.ndim == 2:
            pixels = pixels.unsqueeze(-1)
        if pixels.ndim == 3:
            pixels = pixels.unsqueeze(0)
        if pixels.ndim == 4 and pixels.shape[1] != self.in_chans and pixels.shape[3] == self.in_chans:
            pixels = pixels.permute(0, 3, 1, 2)
        if pixels.ndim != 4 or pixels.shape[1] != self.in_chans or 0 in pixels.shape[2:]:
            raise UserError(
                f"embed: this backbone takes images of {self.in_chans} channels, not an array of shape "
                f"{tuple(torch.as_tensor(images).shape)}."
            )
        if pixels.dtype == torch.uint16:
            pixels = ((pixels.int() * 255 + 32767) // 65535).to(torch.uint8)
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise UserError(f"embed: images must be uint8, uint16 or float in [0, 1], not {pixels.dtype}.")
        if pixels.is_floating_point() and not ((pixels >= 0) & (pixels <= 1)).all():  # NaN is neither
            raise UserError("embed: images of floats must lie in [0, 1] and be finite; others make them uint8 first.")
        return self._sized(pixels)

    def _sized(self, pixels: Tensor) -> Tensor:
        """The largest centred square, resized as the images of a data set are."""
        side = self.image_size
        if pixels.shape[-2:] == (side, side) or not len(pixels):
            return pixels
        height, width = pixels.shape[-2:]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = pixels[..., top : top + short, left : left + short]
        if short == side:
            return square
        full = 255 if pixels.dtype == torch.uint8 else 1
        resized = F.interpolate(square.float(), (side, side), mode="bicubic", antialias=True).clamp(0, full)
        return resized.round().to(torch.uint8) if full == 255 else resized


def _per_channel(values: Sequence[float], channels: int) -> list[float]:
    return list(values) if len(values) == channels else [float(np.mean(values))] * channels

"""Tensors made for other images: position tables of another size, first layers of other channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from timm.models import adapt_input_conv
from torch import Tensor, nn

TABLES = ("pos_embed", "position_embedding")
RELATIVE = "relative_position_bias_table"


def fits(name: str, value: Tensor, wanted: Tensor, model: nn.Module) -> bool:
    """Whether :func:`fit_tensor` can make ``value`` a tensor of ``wanted``'s shape; nothing is computed."""
    if value.shape == wanted.shape:
        return True
    return (
        _table(name, value, wanted, model) is not None
        or _relative(name, value, wanted)
        or _stem(name, value, wanted, model)
    )


def fit_tensor(name: str, value: Tensor, wanted: Tensor, model: nn.Module) -> Tensor | None:
    """``value`` in the shape of ``wanted``, or ``None`` where it was made for another network.

    Args:
        name: of the tensor in ``model``: only position tables and the first layer may differ in shape.
        value: from a file.
        wanted: of the model.
        model: a timm model.
    """
    if value.shape == wanted.shape:
        return value
    sides = _table(name, value, wanted, model)
    if sides is not None:
        prefix = _prefix_places(model)
        resized: Tensor = resample_abs_pos_embed(value, [*sides[1]], [*sides[0]], num_prefix_tokens=prefix)
        return resized
    if _relative(name, value, wanted):
        side = round(wanted.shape[0] ** 0.5)
        table: Tensor = resize_rel_pos_bias_table(value, ((side + 1) // 2,) * 2, tuple(wanted.shape))
        return table
    return _recoloured(value, wanted) if _stem(name, value, wanted, model) else None


def fit_weights(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A folder's tensors for ``model``, which may be built for other images; what cannot be fitted stays as it is."""
    target = model.state_dict()
    fitted = {}
    for name, value in weights.items():
        found = fit_tensor(name, value, target[name], model) if name in target else None
        fitted[name] = value if found is None else found
    return fitted


def _prefix_places(model: nn.Module) -> int:
    """Places of a position table before the patches': class token and registers, where the table has them."""
    if getattr(model, "no_embed_class", False):
        return 0
    return int(getattr(model, "num_prefix_tokens", 0))


def _table(
    name: str, value: Tensor, wanted: Tensor, model: nn.Module
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Rows and columns of patches in a position table ``(1, N, D)`` and in the one that is wanted."""
    if (
        name.rpartition(".")[2] not in TABLES
        or value.ndim != 3
        or wanted.ndim != 3
        or value.shape[2] != wanted.shape[2]
    ):
        return None
    prefix = _prefix_places(model)
    side = round(max(value.shape[1] - prefix, 0) ** 0.5)
    grid: Any = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    own = round(max(wanted.shape[1] - prefix, 0) ** 0.5)
    rows, columns = (int(grid[0]), int(grid[1])) if grid is not None else (own, own)
    if side**2 + prefix != value.shape[1] or rows * columns + prefix != wanted.shape[1]:
        return None
    return (side, side), (rows, columns)


def _relative(name: str, value: Tensor, wanted: Tensor) -> bool:
    """Swin's tables ``((2·window − 1)², heads)``."""
    sides = [round(table.shape[0] ** 0.5) for table in (value, wanted)]
    square = all(side**2 == table.shape[0] for side, table in zip(sides, (value, wanted), strict=True))
    return name.endswith(RELATIVE) and value.ndim == wanted.ndim == 2 and value.shape[1] == wanted.shape[1] and square


def _stem(name: str, value: Tensor, wanted: Tensor, model: nn.Module) -> bool:
    cfg: Any = getattr(model, "pretrained_cfg", None) or {}
    first = cfg.get("first_conv") or ()
    names = [f"{layer}.weight" for layer in ([first] if isinstance(first, str) else first)]
    same = value.ndim == wanted.ndim == 4 and value.shape[0] == wanted.shape[0] and value.shape[2:] == wanted.shape[2:]
    return name in names and same and value.shape[1] in (1, 3)


def _recoloured(value: Tensor, wanted: Tensor) -> Tensor:
    """Kernels for colour summed over it for gray images; repeated, and scaled by the share of bands, for others."""
    channels = wanted.shape[1]
    if value.shape[1] == 1:
        return value.repeat(1, channels, 1, 1) / channels
    adapted: Tensor = adapt_input_conv(channels, value)
    return adapted.to(torch.promote_types(value.dtype, torch.float32))

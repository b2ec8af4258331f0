"""The one door to a new backbone: a timm model without classifier, fitted to the data's shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import timm
import torch
from torch import nn

import unlabeled.backbones.small  # noqa: F401  (registers the small networks)
from unlabeled.core.errors import UserError, first_line, nearest

RESERVED = (
    "cache_dir", "checkpoint_path", "exportable", "no_jit", "num_classes", "pretrained", "pretrained_cfg",
    "pretrained_cfg_overlay", "scriptable",
)  # fmt: skip
"""Arguments of ``timm.create_model`` that no recipe and no ``config.json`` may set: some read any file."""


def refuse_reserved(arguments: Iterable[str], where: str) -> None:
    """Make sure that a model is built of numbers and names alone.

    Raises:
        UserError: an argument would make timm read a file or take weights from elsewhere.
    """
    for name in arguments:
        if name in RESERVED:
            raise UserError(
                f"{where}: '{name}' is not an argument of a backbone; start from weights with backbone.weights."
            )


def check_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        UserError: it is unknown; the nearest known one is named.
    """
    if not timm.is_model(name):
        raise UserError(f"backbone.name: timm has no model '{name}'.{nearest(name, timm.list_models())}")


def create(
    name: str,
    *,
    in_chans: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int | None = None,
    **model_args: Any,
) -> nn.Module:
    """Create a randomly initialised timm model that maps ``(B, in_chans, image_size, image_size)`` to ``(B, D)``.

    Args:
        name: any name of ``timm.list_models()``, or one of :data:`unlabeled.backbones.SMALL`.
        in_chans: channels of the images.
        image_size: side of the images in pixels; transformers build their position table for it.
        mean: per-channel mean of the normalisation, kept in the model's configuration.
        std: per-channel standard deviation, likewise.
        seed: fixes the initial weights; the global random state is left as it was.
        model_args: further arguments of the timm model (``patch_size=4``, ``stem_stride=2``).

    Raises:
        UserError: the name is unknown, an argument is not taken, or the images do not fit the model.
    """
    check_name(name)
    refuse_reserved(model_args, "backbone.args")
    overlay = {"mean": tuple(mean), "std": tuple(std), "input_size": (in_chans, image_size, image_size)}
    own = {"global_pool": "token"} if "dinov3" in name and name.startswith("vit") else {}  # as DINOv3 is evaluated
    arguments = {"in_chans": in_chans, **own, **model_args}
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = _build(name, {"img_size": image_size, **arguments}, arguments, overlay)
    cfg: Any = model.pretrained_cfg
    cfg["architecture"] = name
    check_patches(model, name, image_size)
    _try(model, name, in_chans, image_size)
    return model


def _build(name: str, sized: dict[str, Any], unsized: dict[str, Any], overlay: dict[str, Any]) -> nn.Module:
    error: Exception | None = None
    # convolutional networks refuse ``img_size``, transformers need it: no list of which is which exists
    for arguments in (sized, unsized):
        try:
            model: nn.Module = timm.create_model(
                name, pretrained=False, num_classes=0, pretrained_cfg_overlay=overlay, **arguments
            )
        except Exception as problem:  # arguments that no network has fail anywhere in timm, in any way
            error = error if error is not None and "img_size" not in str(error) else problem
            continue
        return remember_arguments(model, arguments)
    raise UserError(f"backbone.args: timm's '{name}' cannot be built with {sized}: {error}") from error


def check_patches(model: nn.Module, name: str, image_size: int) -> None:
    """Make sure that a transformer's patches cover the whole image.

    Raises:
        UserError: a rest of the image would not be seen; the next sizes that fit are named.
    """
    patch: Any = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if patch is None:
        return
    side = max(patch) if isinstance(patch, tuple) else int(patch)
    rest = image_size % side
    if rest:
        smaller, larger = image_size - rest, image_size - rest + side
        sizes = f"data.size={smaller} or data.size={larger}" if smaller else f"data.size={larger}"
        raise UserError(
            f"'{name}' cuts images into patches of {side} pixels and would not see {rest} of {image_size} rows and "
            f"columns; set {sizes} (or backbone.args.patch_size to a divisor of {image_size})."
        )


def remember_arguments(model: nn.Module, arguments: Mapping[str, Any]) -> nn.Module:
    """Note on ``model`` the arguments it was built with: with those it must be built again when it is loaded."""
    model.unlabeled_args = {k: v for k, v in arguments.items() if k != "in_chans"}  # type: ignore[assignment]
    return model


@torch.no_grad()
def _try(model: nn.Module, name: str, channels: int, size: int) -> None:
    training = model.training
    try:
        output = model.eval()(torch.zeros(2, channels, size, size))
    except Exception as error:
        reason = first_line(error)
        raise UserError(
            f"backbone.name: '{name}' cannot take {channels}×{size}×{size} images ({reason}); "
            "choose another data.size or backbone (a *_small network for small images)."
        ) from error
    finally:
        model.train(training)
    if output.ndim != 2:
        raise UserError(
            f"backbone.name: '{name}' gives embeddings of shape {tuple(output.shape)}, not (B, D); "
            "set backbone.args.global_pool=avg or choose another."
        )

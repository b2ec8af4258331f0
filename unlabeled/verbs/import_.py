"""A checkpoint of another project becomes a backbone folder like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlabeled import backbones
from unlabeled.backbones import LoadReport
from unlabeled.core.errors import UserError
from unlabeled.recipes.load import apply_overrides


def adopt(
    file: str | Path,
    architecture: str,
    out: str | Path,
    *,
    image_size: int | None = None,
    in_chans: int = 3,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    model_args: Sequence[str] = (),
) -> LoadReport:
    """Read a foreign checkpoint and write a timm folder that everything here, and timm, loads.

    Args:
        file: safetensors or torch weights of timm, torchvision, lightly, MAE, SwAV, DINO, MoCo, …
        architecture: timm's name of what it was trained as.
        out: the folder; replaced if it holds a backbone.
        image_size, in_chans: of the images; default: the architecture's own size, in colour.
        mean, std: of the normalisation the weights were trained with, per channel; default: ImageNet's.
        model_args: ``"key=value"`` arguments of the timm model.

    Returns:
        What matched.

    Raises:
        UserError: nothing fits, the architecture is unknown, or ``out`` is something else.
    """
    out = Path(out)
    if out.exists() and not (out / "config.json").is_file() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"{out} exists and is no backbone; choose another --out.")
    for name, values in (("mean", mean), ("std", std)):
        if values and len(values) not in (1, in_chans):
            raise UserError(f"--{name} needs one number or {in_chans}, not {len(values)}.")
    arguments = apply_overrides({}, model_args)
    usual = backbones.IMAGENET if in_chans == 3 else ((0.5,) * in_chans, (0.5,) * in_chans)
    model, report = backbones.adopt(
        file,
        architecture,
        in_chans=in_chans,
        image_size=image_size,
        mean=_each(mean, in_chans) or usual[0],
        std=_each(std, in_chans) or usual[1],
        **arguments,
    )
    backbones.save(model, out)
    return report


def _each(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) * (channels if len(values) == 1 else 1)

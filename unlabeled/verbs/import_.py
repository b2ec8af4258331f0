"""A checkpoint of another project becomes a backbone folder like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlabeled import backbones
from unlabeled.backbones import LoadReport, Origin, digest_of, remember_lineage
from unlabeled.backbones.hub import ANY as HUB_FILES
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
    partial: bool = False,
) -> LoadReport:
    """Read a foreign checkpoint and write a timm folder that everything here, and timm, loads.

    Args:
        file: safetensors or torch weights of timm, torchvision, transformers, lightly, MAE, SwAV, DINO, MoCo, CLIP, …:
            a file, the index of several, a model's folder, or ``hf-hub:ID``.
        architecture: timm's name of what it was trained as.
        out: the folder; replaced if it holds a backbone.
        image_size, in_chans: of the images; default: the architecture's own size, in colour.
        mean, std: of the normalisation the weights were trained with, per channel; default:
            :func:`unlabeled.backbones.normalisation`.
        model_args: ``"key=value"`` arguments of the timm model.
        partial: take what fits, although the file and the architecture are not the same network.

    Returns:
        What matched.

    Raises:
        UserError: the file is of another architecture, the architecture is unknown, or ``out`` is something else.
    """
    out = Path(out)
    if out.exists() and not (out / "config.json").is_file() and (out.is_file() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a backbone; choose another --out.")
    for name, values in (("mean", mean), ("std", std)):
        if values and len(values) not in (1, in_chans):
            raise UserError(f"--{name} needs one number or {in_chans}, not {len(values)}.")
    called = str(file)
    place = Path(called).expanduser()
    if called.startswith("hf-hub:"):
        place = backbones.hub_folder(called.removeprefix("hf-hub:"), called, HUB_FILES)
    stated = backbones.stated_normalisation(place)
    model, report = backbones.adopt(
        place,
        architecture,
        in_chans=in_chans,
        image_size=image_size,
        mean=_each(mean, in_chans) or (stated[0] if in_chans == 3 else ()),
        std=_each(std, in_chans) or (stated[1] if in_chans == 3 else ()),
        partial=partial,
        classifier=True,
        **apply_overrides({}, model_args),
    )
    came_from = Origin(did="import", source=called, digest=digest_of(place), name=architecture)
    backbones.save(remember_lineage(model, [came_from]), out)
    return report


def _each(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) * (channels if len(values) == 1 else 1)


def taken(folder: str | Path) -> str:
    """One line on the images that a backbone's folder wants: size, channels, normalisation."""
    cfg = backbones.load_config(folder)["pretrained_cfg"]
    channels, *sides = cfg["input_size"]
    mean, std = (", ".join(f"{value:.3g}" for value in cfg[name]) for name in ("mean", "std"))
    return f"images: {channels}×{sides[0]}×{sides[1]}, mean {mean}, std {std} (other weights: --mean, --std)"

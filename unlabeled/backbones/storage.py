"""Backbones on disk: a folder that plain timm loads as ``local-dir:`` and that never executes anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import timm
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import unlabeled.backbones.small  # noqa: F401  (registers the small networks)
from unlabeled.backbones.create import refuse_reserved, remember_arguments
from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_folder, atomic_write_json

Channels = Annotated[int, Field(ge=1, le=1024)]
Side = Annotated[int, Field(ge=1, le=4096)]


class _Images(BaseModel):
    """What a ``config.json`` says of the images, for it may come from anywhere."""

    model_config = ConfigDict(strict=True)

    input_size: Annotated[tuple[Channels, Side, Side], Field(strict=False)]
    mean: list[FiniteFloat] = Field(min_length=1)
    std: list[Annotated[FiniteFloat, Field(gt=0)]] = Field(min_length=1)


def save(model: nn.Module, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors``; the folder appears whole or not at all.

    Args:
        model: a backbone made by :func:`unlabeled.backbones.create` or :func:`load`.
        folder: replaced if it exists.
    """
    cfg: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    size = list(cfg["input_size"])
    config = {
        "architecture": cfg["architecture"],
        "num_classes": 0,
        "num_features": model.num_features,
        "model_args": {"in_chans": size[0], **dict(getattr(model, "unlabeled_args", {}))},
        "pretrained_cfg": {
            "input_size": size,
            "mean": list(cfg["mean"]),
            "std": list(cfg["std"]),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "num_classes": 0,
            "first_conv": cfg.get("first_conv"),
            "classifier": cfg.get("classifier"),
            "custom_load": False,
        },
    }
    with atomic_folder(folder) as new:
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
        atomic_write_json(new / "config.json", config)


def load_config(folder: str | Path) -> dict[str, Any]:
    """Read and check the ``config.json`` of a timm folder.

    Raises:
        UserError: the file is missing, is no JSON object, or names no architecture timm knows.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise UserError(
            f"{folder} holds no config.json; a backbone is a folder with config.json and model.safetensors."
        )
    try:
        config = json.loads(path.read_text())
        name, cfg = config["architecture"], config.get("pretrained_cfg", {})
        valid = isinstance(name, str) and isinstance(cfg, dict) and isinstance(config.get("model_args", {}), dict)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no timm configuration ({error}); export the backbone again.") from error
    if not valid:
        raise UserError(f"{path} is no timm configuration; export the backbone again.")
    if not timm.is_model(name):
        raise UserError(f"{path}: timm has no model '{name}'.{nearest(name, timm.list_models())}")
    try:
        _Images.model_validate(cfg)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("pretrained_cfg", *first["loc"])))
        raise UserError(f"{path}: {where}: {first['msg']}; export the backbone again.") from error
    return dict(config)


def load(folder: str | Path) -> nn.Module:
    """Load a backbone folder; only tensors and JSON are read.

    Returns:
        The timm model with ``num_classes=0``, in eval mode.

    Raises:
        UserError: a file is missing or broken, or the weights are not those of the architecture.
    """
    folder = Path(folder)
    config = load_config(folder)
    weights_file = folder / "model.safetensors"
    if not weights_file.is_file():
        raise UserError(f"{folder} holds no model.safetensors; weights in other formats are not read from a run.")
    arguments = dict(config.get("model_args", {}))
    refuse_reserved(arguments.keys() - {"num_classes"}, f"{folder / 'config.json'}: model_args")
    cfg = config.get("pretrained_cfg", {})
    known = {"input_size", "mean", "std", "interpolation", "crop_pct", "first_conv", "classifier"}
    overlay = {key: value for key, value in cfg.items() if key in known}
    try:
        weights = load_file(weights_file)
        model: nn.Module = timm.create_model(
            config["architecture"], pretrained=False, **{**arguments, "num_classes": 0}, pretrained_cfg_overlay=overlay
        )
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights_file} is broken ({error}); export the backbone again.") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise UserError(f"{folder}: the weights do not fit '{config['architecture']}' ({reason}).") from error
    classifier = str(cfg.get("classifier") or "head")
    unexpected = [name for name in unexpected if not name.startswith(classifier)]
    if missing or unexpected:
        raise UserError(
            f"{folder}: the weights do not fit '{config['architecture']}': "
            f"{len(missing)} missing and {len(unexpected)} unknown tensors, e.g. '{(missing + unexpected)[0]}'."
        )
    loaded_cfg: Any = model.pretrained_cfg
    loaded_cfg["architecture"] = config["architecture"]
    return remember_arguments(model, arguments).eval()

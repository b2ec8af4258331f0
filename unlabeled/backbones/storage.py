"""Backbones on disk: a folder that plain timm loads as ``local-dir:`` and that never executes anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import timm
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import unlabeled.backbones.small  # noqa: F401  (registers the small networks)
from unlabeled.backbones.create import check_patches, refuse_reserved, remember_arguments
from unlabeled.backbones.fitting import fit_weights
from unlabeled.backbones.lineage import lineage_of, read_lineage, remember_lineage, write_lineage
from unlabeled.core.errors import UserError, first_line, nearest
from unlabeled.core.files import atomic_folder, atomic_write_json
from unlabeled.core.pixels import PixelRule

Channels = Annotated[int, Field(ge=1, le=1024)]
Side = Annotated[int, Field(ge=1, le=4096)]


class _Images(BaseModel):
    """What a ``config.json`` says of the images, which may come from anywhere."""

    model_config = ConfigDict(strict=True)

    input_size: Annotated[tuple[Channels, Side, Side], Field(strict=False)]
    mean: list[FiniteFloat] = Field(min_length=1)
    std: list[Annotated[FiniteFloat, Field(gt=0)]] = Field(min_length=1)


def save(model: nn.Module, folder: str | Path) -> None:
    """Write ``config.json``, ``model.safetensors`` and where the weights come from; whole or not at all.

    A classifier that the model has is kept, too: plain timm loads it, :func:`load` leaves it out unless asked.

    Args:
        model: a backbone made by :func:`unlabeled.backbones.create`, :func:`unlabeled.backbones.adopt` or :func:`load`.
        folder: replaced if it exists.
    """
    cfg: dict[str, Any] = dict(model.pretrained_cfg)  # type: ignore[arg-type]
    size = list(cfg["input_size"])
    classes = int(getattr(model, "num_classes", 0))
    config = {
        "architecture": cfg["architecture"],
        "num_classes": classes,
        "num_features": model.num_features,
        "model_args": {"in_chans": size[0], **dict(getattr(model, "unlabeled_args", {}))},
        "pretrained_cfg": {
            "input_size": size,
            "mean": list(cfg["mean"]),
            "std": list(cfg["std"]),
            "interpolation": "bicubic",  # what images are resized with here, whatever timm's own weights want
            "crop_pct": 1.0,
            "crop_mode": "center",
            "num_classes": classes,
            "first_conv": cfg.get("first_conv"),
            "classifier": cfg.get("classifier"),
            "custom_load": False,
        },
    }
    rule: PixelRule | None = getattr(model, "pixel_rule", None)
    if rule is not None:
        config["pixels"] = rule.asdict()
    with atomic_folder(folder) as new:
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
        atomic_write_json(new / "config.json", config)
        write_lineage(lineage_of(model), new)


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
        config = json.loads(path.read_text(encoding="utf-8"))
        name, cfg = config["architecture"], config.get("pretrained_cfg", {})
        valid = isinstance(name, str) and isinstance(cfg, dict) and isinstance(config.get("model_args", {}), dict)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, KeyError) and "model_type" in config:
            raise UserError(
                f"{folder} is a '{config['model_type']}' of transformers; make a backbone of it first: "
                f"unlabeled import {folder} --architecture NAME --out FOLDER."
            ) from error
        raise UserError(f"{path} is not a timm configuration ({error}); export the backbone again.") from error
    if not valid:
        raise UserError(f"{path} is not a timm configuration; export the backbone again.")
    if not timm.is_model(name):
        raise UserError(f"{path}: timm has no model '{name}'.{nearest(name, timm.list_models())}")
    try:
        _Images.model_validate(cfg)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("pretrained_cfg", *first["loc"])))
        raise UserError(f"{path}: {where}: {first['msg']}; export the backbone again.") from error
    return dict(config)


def load(
    folder: str | Path, *, image_size: int | None = None, classifier: bool = False, **model_args: Any
) -> nn.Module:
    """Load a backbone folder; only tensors and JSON are read.

    Args:
        folder: as :func:`save` writes it, or as timm's models lie on the hub.
        image_size: side of the images, where it is to be another than the folder's: position tables are resampled.
        classifier: also load the classifier that the folder holds; the model then gives its logits.
        model_args: arguments of the timm model that leave its weights as they are, e.g. ``drop_path_rate=0.1``.

    Returns:
        The timm model in eval mode, with ``num_classes=0`` unless ``classifier`` is true.

    Raises:
        UserError: a file is missing or broken, the weights are not those of the architecture, or the images do not fit.
    """
    folder = Path(folder)
    config = load_config(folder)
    weights_file = folder / "model.safetensors"
    if not weights_file.is_file():
        raise UserError(f"{folder} holds no model.safetensors; weights in other formats are not read from a run.")
    cfg = dict(config.get("pretrained_cfg", {}))
    known = {"input_size", "mean", "std", "interpolation", "crop_pct", "first_conv", "classifier"}
    overlay = {key: value for key, value in cfg.items() if key in known}
    arguments = {**config.get("model_args", {}), **model_args, "num_classes": 0}
    refuse_reserved(arguments.keys() - {"num_classes"}, f"{folder / 'config.json'}: model_args")
    if classifier:
        arguments["num_classes"] = int(config.get("num_classes") or 0)
        if not arguments["num_classes"]:
            raise UserError(f"{folder} holds no classifier; unlabeled finetune makes one.")
    channels, *native = cfg["input_size"]
    side = image_size or int(native[0])
    if side != native[0]:
        overlay["input_size"] = [channels, side, side]
        arguments["img_size"] = side
    arguments.setdefault("in_chans", int(channels))
    try:
        weights = load_file(weights_file)
        model = _built(config["architecture"], arguments, overlay)
        missing, unexpected = _filled(model, weights)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights_file} is broken ({error}); export the backbone again.") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise UserError(f"{folder}: the weights do not fit '{config['architecture']}' ({reason}).") from error
    head = str(cfg.get("classifier") or "head")
    unexpected = [name for name in unexpected if classifier or not name.startswith(head)]
    if missing or unexpected:
        raise UserError(
            f"{folder}: the weights do not fit '{config['architecture']}': "
            f"{len(missing)} missing and {len(unexpected)} unknown tensors, e.g. '{(missing + unexpected)[0]}'."
        )
    check_patches(model, config["architecture"], side)
    _read_rule(model, config.get("pixels"), folder)
    loaded_cfg: Any = model.pretrained_cfg
    loaded_cfg["architecture"] = config["architecture"]
    kept = {key: value for key, value in arguments.items() if key != "num_classes"}
    return remember_lineage(remember_arguments(model, kept), read_lineage(folder)).eval()


def remember_rule(model: nn.Module, rule: PixelRule) -> nn.Module:
    """Note on ``model`` what the numbers of the images mean that it learned from; :func:`save` writes it."""
    model.pixel_rule = rule  # type: ignore[assignment]
    return model


def _read_rule(model: nn.Module, held: Any, folder: Path) -> None:
    if held is None:
        return
    try:
        remember_rule(model, PixelRule.fromdict(held))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'}: pixels: {first_line(error)}; export the backbone again.") from error


def _built(architecture: str, arguments: dict[str, Any], overlay: dict[str, Any]) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(
            architecture, pretrained=False, **arguments, pretrained_cfg_overlay=overlay
        )
    except Exception as error:
        if "img_size" not in arguments or "img_size" not in str(error):
            raise
        del arguments["img_size"]  # convolutional networks take images of any size, and no such argument
        return _built(architecture, arguments, overlay)
    return model


def _filled(model: nn.Module, weights: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Load ``weights``, resampled where the images have another size; return missing and unexpected names."""
    found = model.load_state_dict(fit_weights(weights, model), strict=False)
    if not found.missing_keys:
        return found.missing_keys, found.unexpected_keys
    convert: Any = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is not None:  # some of timm's weights lie on the hub as their authors named them
        found = model.load_state_dict(convert(weights, model), strict=False)
    return found.missing_keys, found.unexpected_keys

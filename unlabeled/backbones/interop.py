"""Weights that others trained: timm, torchvision, lightly, and the official files of MAE, SwAV, DINO and MoCo."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from unlabeled.backbones.create import create
from unlabeled.core.errors import UserError, first_line, nearest

Weights = dict[str, Tensor]
CONTAINERS = (
    "state_dict",
    "model",
    "teacher",
    "model_state_dict",
    "model_ema",
    "student",
    "backbone",
    "encoder",
    "net",
)
"""Under which keys checkpoints keep their weights; DINO is evaluated with its teacher, hence before the student."""
SECOND_CHOICE = ("momentum", "teacher", "target", "encoder_k", "ema")
"""Copies that follow the trained network: taken only where nothing else matches as well."""
DEPTH = 4
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the normalisation that torchvision's, MAE's, SwAV's, DINO's and MoCo's files want."""


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_weights` did, by names of the model's tensors.

    Attributes:
        layout: how the file's names were read, e.g. ``"torchvision ViT under 'module.'"``.
        matched: loaded.
        resized: loaded after the position table was resampled.
        missing: in the model but not in the file; they keep their values.
        mismatched: in both, of different shapes; they keep their values.
        unused: the file's names that the model has no place for (heads, decoders, prototypes, …).
    """

    layout: str
    matched: tuple[str, ...]
    resized: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors loaded ({self.layout})"]
        for name in ("resized", "missing", "mismatched", "unused"):
            found = getattr(self, name)
            if found:
                parts.append(f"{len(found)} {name}: {', '.join(found[:3])}{', …' if len(found) > 3 else ''}")
        return "; ".join(parts)


def load_weights(model: nn.Module, path: str | Path) -> LoadReport:
    """Load a foreign checkpoint into a timm model, in place.

    The file may be safetensors or a torch file; nothing in it is executed. Its names are tried under every prefix
    (``module.``, ``backbone.``, ``encoder_q.``, …) and in every known layout; the reading that matches most is taken.

    Args:
        model: a timm model, e.g. from :func:`unlabeled.backbones.create`.
        path: the file.

    Returns:
        What matched and what did not.

    Raises:
        UserError: the file cannot be read, holds more than tensors, or nothing in it fits the model.
    """
    path = Path(path).expanduser()
    target = {name: value for name, value in model.state_dict().items() if value.ndim}
    best: tuple[tuple[int, int], str, Weights] | None = None
    containers = _containers(_read(path))
    for rank, (container, weights) in enumerate(containers):
        for prefix in _prefixes(weights):
            inside = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
            second = any(word in prefix.lower() for word in SECOND_CHOICE)
            for layout, rename in LAYOUTS.items():
                renamed = {rename(name): value for name, value in inside.items()}
                renamed = _final_norm(renamed, target)
                score = sum(name in target and value.shape == target[name].shape for name, value in renamed.items())
                key = (score, -2 * rank - second)
                if score and (best is None or key > best[0]):
                    where = ".".join(part for part in (container, prefix.rstrip(".")) if part)
                    best = key, layout + (f" under '{where}'" if where else ""), renamed
    if best is None:
        example = next((name for _, weights in containers for name in weights), "no tensor at all")
        raise UserError(
            f"{path}: nothing in it fits this {type(model).__name__} (the file has '{example}', the model "
            f"'{next(iter(target), '')}'); choose the architecture that the file was made for."
        )
    return _load(model, target, best[1], best[2])


def adopt(
    path: str | Path,
    architecture: str,
    *,
    in_chans: int = 3,
    image_size: int | None = None,
    mean: Sequence[float] = IMAGENET[0],
    std: Sequence[float] = IMAGENET[1],
    **model_args: Any,
) -> tuple[nn.Module, LoadReport]:
    """Make a backbone of a foreign checkpoint; :func:`unlabeled.backbones.save` then makes a timm folder of it.

    Args:
        path: the file; see :func:`load_weights`.
        architecture: the timm name of what it was trained as, e.g. ``resnet50`` or ``vit_base_patch16_224``.
        in_chans: channels of the images.
        image_size: their side in pixels; default: the architecture's own. A position table is resampled for another.
        mean, std: of the normalisation the weights were trained with, per channel; default: ImageNet's.
        model_args: further arguments of the timm model.

    Returns:
        The model in eval mode, and what matched.

    Raises:
        UserError: the architecture is unknown, or nothing in the file fits it.
    """
    if not timm.is_model(architecture):
        raise UserError(f"timm has no model '{architecture}'.{nearest(architecture, timm.list_models())}")
    if image_size is None:
        cfg = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
        image_size = int(cfg.input_size[1]) if cfg is not None else 224
    model = create(architecture, in_chans=in_chans, image_size=image_size, mean=mean, std=std, seed=0, **model_args)
    return model.eval(), load_weights(model, path)


def _load(model: nn.Module, target: Mapping[str, Tensor], layout: str, weights: Weights) -> LoadReport:
    fitting, resized = {}, []
    for name, value in weights.items():
        wanted = target.get(name)
        if wanted is None:
            continue
        if name == "pos_embed" and value.shape != wanted.shape:
            value = _resample(value, wanted, int(getattr(model, "num_prefix_tokens", 0)))
            resized += [name] if value.shape == wanted.shape else []
        if value.shape == wanted.shape:
            fitting[name] = value
    model.load_state_dict(fitting, strict=False)
    return LoadReport(
        layout,
        tuple(fitting),
        tuple(resized),
        tuple(name for name in target if name not in weights),
        tuple(name for name in target if name in weights and name not in fitting),
        tuple(name for name, value in weights.items() if value.ndim and name not in target),
    )


def _resample(table: Tensor, wanted: Tensor, prefix: int) -> Tensor:
    """A position table (1, N, D) of another number of patches, where both are square grids."""
    if table.ndim != 3 or wanted.ndim != 3 or table.shape[2] != wanted.shape[2]:
        return table
    sides = [round((t.shape[1] - prefix) ** 0.5) for t in (table, wanted)]
    if any(side**2 + prefix != t.shape[1] for side, t in zip(sides, (table, wanted), strict=True)):
        return table
    resized: Tensor = resample_abs_pos_embed(table, [sides[1]] * 2, [sides[0]] * 2, num_prefix_tokens=prefix)
    return resized


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path} is no file; give a .safetensors, .pth, .pt or .ckpt file of weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors and plain values, and reading those would run code; save its state_dict "
            "alone, best as safetensors."
        ) from error
    except Exception as error:  # a damaged pickle calls torch's own functions with whatever it holds
        reason = first_line(error)
        raise UserError(f"{path} cannot be read as weights ({reason}); download it again.") from error


def _containers(content: Any, name: str = "") -> list[tuple[str, Weights]]:
    """Every state dict in a checkpoint with its key, the likeliest first."""
    if not isinstance(content, Mapping):
        return []
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    found = [(name, tensors)] if tensors else []
    for key in CONTAINERS if name.count(".") < DEPTH else ():  # a file may hold itself
        if isinstance(content.get(key), Mapping):
            found += _containers(content[key], f"{name}.{key}" if name else key)
    return found


def _prefixes(weights: Weights) -> list[str]:
    """Beginnings of names that could be a wrapper's, the shortest first."""
    counts: Counter[str] = Counter()
    for name in weights:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(DEPTH, len(parts) - 1) + 1))
    # a stage of a network is no wrapper, and numbers in a Sequential are read by the layouts
    return ["", *(prefix for prefix in counts if counts[prefix] >= 4 and not re.search(r"\.\d+\.$|^\d+\.$", prefix))]


def _final_norm(weights: Weights, target: Mapping[str, Tensor]) -> Weights:
    """A transformer that averages its patches normalises after (``fc_norm``) instead of before (``norm``)."""
    if "fc_norm.weight" in target and "norm.weight" not in target and "fc_norm.weight" not in weights:
        return {re.sub(r"^norm\.", "fc_norm.", name): value for name, value in weights.items()}
    return weights


def _torchvision_vit(name: str) -> str:
    name = re.sub(r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1.", name)
    for pattern, replacement in _VIT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


_VIT_NAMES = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)


def _sequential(first_stage: int) -> Callable[[str], str]:
    """A ResNet's children in a ``Sequential``: 0 the stem, 1 its norm, and four stages from ``first_stage`` on."""
    places = {0: "conv1", 1: "bn1", **{first_stage + i: f"layer{i + 1}" for i in range(4)}}

    def rename(name: str) -> str:
        number, dot, rest = name.partition(".")
        if not dot or not number.isdigit() or int(number) not in places:
            return name
        return f"{places[int(number)]}.{rest.replace('shortcut.', 'downsample.')}"

    return rename


LAYOUTS: dict[str, Callable[[str], str]] = {
    "timm or torchvision names": lambda name: name,
    "torchvision ViT names": _torchvision_vit,
    "a torchvision ResNet in a Sequential": _sequential(4),
    "lightly's ResNet in a Sequential": _sequential(2),
}

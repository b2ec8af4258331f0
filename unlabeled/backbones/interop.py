"""Weights that others trained, as backbones: which of the file's tensors are the network's, and whether all are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from unlabeled.backbones.create import create
from unlabeled.backbones.fitting import fit_tensor
from unlabeled.backbones.foreign import read_weights
from unlabeled.backbones.kin import likely_architecture
from unlabeled.backbones.layouts import Weights
from unlabeled.backbones.readings import SECOND_CHOICE, Reading, best_reading, containers
from unlabeled.core.errors import UserError, nearest

CLASSIFIERS = ("classifier", "classifier.1", "head", "fc", "head.fc", "heads.head", "_fc")
"""What a last layer that names classes is called."""
PROJECTING = (*SECOND_CHOICE, "encoder_q", "base_encoder", "student", "visual", "vision_model")
"""Parts of checkpoints in which a last layer is a projection and names no classes."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of the normalisation that torchvision's, MAE's, SwAV's, DINO's and MoCo's files want."""


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_weights` did, by names of the model's tensors.

    Attributes:
        layout: how the file's names were read, e.g. ``"torchvision ViT under 'module.'"``.
        matched: loaded.
        resized: loaded after the position table was resampled, or the first layer was fitted to other channels.
        missing: in the model but not in the file; they keep their values.
        mismatched: in both, of different shapes; they keep their values.
        beyond: the file's blocks of the same kind that the model has no place for: it was made for a larger network.
        unused: the file's other names that the model has no place for (heads, decoders, prototypes, …).
        classes: how many classes the classifier names that was kept; 0: none.
    """

    layout: str
    matched: tuple[str, ...]
    resized: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    beyond: tuple[str, ...]
    unused: tuple[str, ...]
    classes: int = 0

    @property
    def whole(self) -> bool:
        """Whether the file and the model are the same network."""
        return not (self.missing or self.mismatched or self.beyond)

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors loaded ({self.layout})"]
        for name in ("resized", "missing", "mismatched", "beyond", "unused"):
            found = getattr(self, name)
            if found:
                parts.append(f"{len(found)} {name}: {', '.join(found[:3])}{', …' if len(found) > 3 else ''}")
        return "; ".join([*parts, *([f"classifier of {self.classes} classes kept"] if self.classes else [])])


def load_weights(model: nn.Module, path: str | Path, *, partial: bool = False, classifier: bool = False) -> LoadReport:
    """Load a foreign checkpoint into a timm model, in place.

    The file may be safetensors or a torch file, whole or in parts; nothing in it is executed. Its names are tried under
    every prefix (``module.``, ``backbone.``, ``encoder_q.``, …) and in every known layout; the reading that matches
    most is taken. Position tables of another image size are resampled; first layers for colour are summed for gray
    images and repeated for more bands.

    Args:
        model: a timm model, e.g. from :func:`unlabeled.backbones.create`.
        path: the file, its ``*.index.json``, or a folder with either.
        partial: take what fits, although the file and the model are not the same network.
        classifier: also give the model the file's classifier, where it has one that reads the model's embedding.

    Returns:
        What matched and what did not.

    Raises:
        UserError: the file cannot be read, holds more than plain values, or is of another network.
    """
    path = Path(path).expanduser()
    target = {name: value for name, value in model.state_dict().items() if value.ndim}
    content = read_weights(path)
    reading = best_reading(content, model, target)
    if reading is None:
        example = next((name for _, weights in containers(content) for name in weights), "no tensor at all")
        raise UserError(
            f"{path}: nothing in it fits this {type(model).__name__} (the file has '{example}', the model "
            f"'{next(iter(target), '')}'); choose the architecture that the file was made for."
        )
    fitted = {
        name: fit_tensor(name, value, target[name], model) for name, value in reading.weights.items() if name in target
    }
    fitting = {name: value for name, value in fitted.items() if value is not None}
    report = _compare(str(reading), reading.weights, fitting, target)
    if not report.whole and not partial:
        raise UserError(_refusal(path, model, report, reading.weights))
    model.load_state_dict(fitting, strict=False)
    return _with_classifier(model, report, reading) if classifier else report


def adopt(
    path: str | Path,
    architecture: str,
    *,
    in_chans: int = 3,
    image_size: int | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    partial: bool = False,
    classifier: bool = False,
    **model_args: Any,
) -> tuple[nn.Module, LoadReport]:
    """Make a backbone of a foreign checkpoint; :func:`unlabeled.backbones.save` then makes a timm folder of it.

    Args:
        path: the file; see :func:`load_weights`.
        architecture: the timm name of what it was trained as, e.g. ``resnet50`` or ``vit_base_patch16_224``.
        in_chans: channels of the images.
        image_size: their side in pixels; default: the architecture's own. A position table is resampled for another.
        mean, std: of the normalisation the weights were trained with, per channel; default: :func:`normalisation`.
        partial: take what fits, although the file is of another network.
        classifier: keep the file's classifier, where it has one; the model then gives its logits.
        model_args: further arguments of the timm model.

    Returns:
        The model in eval mode, and what matched.

    Raises:
        UserError: the architecture is unknown, or the file is of another one.
    """
    if not timm.is_model(architecture):
        raise UserError(f"timm has no model '{architecture}'.{nearest(architecture, timm.list_models())}")
    if image_size is None:
        cfg = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
        image_size = int(cfg.input_size[1]) if cfg is not None else 224
    usual = normalisation(architecture, in_chans)
    mean, std = mean or usual[0], std or usual[1]
    model = create(architecture, in_chans=in_chans, image_size=image_size, mean=mean, std=std, seed=0, **model_args)
    return model.eval(), load_weights(model, path, partial=partial, classifier=classifier)


def normalisation(architecture: str, in_chans: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that weights of ``architecture`` most likely want, per channel.

    They are timm's own for it, except of plain ViTs: timm's weights for those want (0.5, 0.5), and nearly all others'
    (MAE, DINO, MoCo, I-JEPA, torchvision) want ImageNet's. For other than three channels, their mean over colours.
    """
    cfg = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    plain = re.fullmatch(r"(vit|deit3?)_(tiny|small|base|large|huge)_patch\d+_\d+", architecture)
    mean, std = IMAGENET if cfg is None or plain else (cfg.mean, cfg.std)
    if in_chans == 3:
        return tuple(mean), tuple(std)
    return (sum(mean) / len(mean),) * in_chans, (sum(std) / len(std),) * in_chans


def _compare(layout: str, weights: Weights, fitting: Weights, target: Mapping[str, Tensor]) -> LoadReport:
    kinds = {_kind(name) for name in target}
    modules = {name.rpartition(".")[0] for name in target if "." in name}
    left = [name for name, value in weights.items() if value.ndim and name not in target]
    beyond = [
        name
        for name in left
        if _kind(name) in kinds or (name.endswith((".weight", ".bias")) and name.rpartition(".")[0] in modules)
    ]
    return LoadReport(
        layout,
        tuple(fitting),
        tuple(name for name, value in fitting.items() if value is not weights[name]),
        tuple(name for name in target if name not in weights),
        tuple(name for name in target if name in weights and name not in fitting),
        tuple(beyond),
        tuple(name for name in left if name not in set(beyond)),
    )


def _kind(name: str) -> str:
    """A tensor's name whatever block it belongs to."""
    return re.sub(r"\d+", "#", name)


def _refusal(path: Path, model: nn.Module, report: LoadReport, weights: Weights) -> str:
    cfg: Any = model.pretrained_cfg
    asked = cfg["architecture"]
    total = len(report.matched) + len(report.missing) + len(report.mismatched)
    found = [f"{len(report.missing)} are missing" if report.missing else ""]
    found += [f"{len(report.mismatched)} have other shapes" if report.mismatched else ""]
    found += [f"the file has {len(report.beyond)} more of the same kind" if report.beyond else ""]
    example = (*report.missing, *report.mismatched, *report.beyond)[0]
    kin = likely_architecture(weights, asked)
    advice = f"it fits '{kin}': --architecture {kin}" if kin else "name the --architecture that it was made for"
    return (
        f"{path} is not the whole of '{asked}': {len(report.matched)} of {total} tensors fit, "
        f"{', '.join(part for part in found if part)} (e.g. '{example}'); {advice}, or take what fits with --partial."
    )


def _with_classifier(model: nn.Module, report: LoadReport, reading: Reading) -> LoadReport:
    """Give ``model`` the classifier that the file has for its embedding, if it has one."""
    body: Any = model
    if any(word in part for part in reading.where.lower().split(".") for word in PROJECTING) or not report.whole:
        return report
    width = int(getattr(body, "head_hidden_size", None) or body.num_features)
    beside = [
        (f"{p}{name}", w) for w in (reading.weights, reading.around) for name in CLASSIFIERS for p in ("", "module.")
    ]
    for name, place in beside:
        weight, bias = place.get(f"{name}.weight"), place.get(f"{name}.bias")
        if weight is None or bias is None or weight.numel() != len(weight) * width or len(weight) != len(bias):
            continue
        body.reset_classifier(len(weight))
        layer = body.get_classifier()
        if not hasattr(layer, "weight") or layer.weight.numel() != weight.numel() or layer.bias is None:
            body.reset_classifier(0)
            return report
        layer.load_state_dict({"weight": weight.reshape(layer.weight.shape), "bias": bias})
        unused = tuple(n for n in report.unused if n not in (f"{name}.weight", f"{name}.bias"))
        return LoadReport(**{**vars(report), "unused": unused, "classes": len(weight)})
    return report

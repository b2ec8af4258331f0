"""From what a user calls a model (a run, a folder, a name) to something that embeds images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.core.progress import say
from unlabeled.core.words import command
from unlabeled.data import ImageSet
from unlabeled.recipes.schema import FeaturesConfig, Recipe
from unlabeled.runs.classifier import load_classifier
from unlabeled.runs.folder import Run
from unlabeled.ssl.frozen import FrozenTeacher
from unlabeled.ssl.method import Asked


class Pixels(nn.Module):
    """No model at all: the pixels themselves, the floor every representation must beat."""

    image_size: int | None = None
    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.in_chans = channels
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C·H·W)``."""
        return images.flatten(1)


def unlearned(source: str | Path) -> bool:
    """Whether a name means something that has learned nothing: ``pixels``, or a network with random weights."""
    return str(source) == "pixels" or str(source).startswith("random:")


def backbone_folder(source: str | Path) -> Path:
    """The timm folder behind a run folder, ``timm:NAME``, ``hf-hub:ID``, ``local-dir:PATH`` or a path.

    Raises:
        UserError: nothing is there, or the run has not finished.
    """
    text = str(source)
    if text.startswith("hf-hub:"):
        return backbones.hub_folder(text.removeprefix("hf-hub:"), text)
    if text.startswith("timm:"):
        return backbones.timm_folder(text.removeprefix("timm:"))
    if unlearned(text):
        raise UserError(
            f"'{text}' has not learned anything and can only be probed; give a run folder, timm:NAME or local-dir:PATH."
        )
    folder = Path(text.removeprefix("local-dir:")).expanduser()
    if not folder.exists():
        kinds = "a run folder, timm:NAME, hf-hub:ID or local-dir:PATH"
        raise UserError(f"there is no model '{text}'; give {kinds} (to probe, random:NAME or pixels, too).")
    if folder.is_file():
        raise UserError(
            f"{text} is a file; make a backbone of it first: unlabeled import {text} --architecture NAME --out FOLDER "
            "(where NAME is timm's name of what it was trained as, e.g. resnet50)."
        )
    run = Run(folder)
    if run.exists():
        if not run.finished():
            raise UserError(f"the run {folder} has not finished; go on with: {command('pretrain', folder, '--resume')}")
        return run.backbone
    return folder


def input_size(source: str | Path) -> list[int]:
    """``[C, H, W]`` of the images that a backbone folder takes, without loading it."""
    return [int(number) for number in backbones.load_config(backbone_folder(source))["pretrained_cfg"]["input_size"]]


def load_backbone(
    source: str | Path,
    *,
    layer: str | int | None = None,
    pool: str | None = None,
    architecture: str | None = None,
) -> Backbone:
    """Load a pretrained backbone: its ``embed(images)`` takes tensors, arrays or PIL images of any size.

    Args:
        source: a run folder, ``timm:NAME`` (timm's pretrained weights), ``hf-hub:ID``, ``local-dir:PATH`` or a timm
            folder; with ``architecture``, a checkpoint of another project.
        layer: an inner stage instead of the last (``unlabeled.backbones.layer_names``).
        pool: how a map or token sequence becomes a vector: avg, max, flat, cls, mean.
        architecture: the timm name of what a foreign checkpoint was trained as; what matched and what did not is
            printed. For other sizes, channels or normalisations see :func:`unlabeled.backbones.adopt`.

    Raises:
        UserError: nothing is there, it is broken, nothing in it fits, or it has no such layer.
    """
    if architecture is not None:
        model, matched = backbones.adopt(source, architecture)
        say(f"{source}: {matched}")
        return Backbone(model, layer, pool).eval()
    return Backbone(backbones.load(backbone_folder(source)), layer, pool).eval()


def features_of(source: str | Path) -> FeaturesConfig:
    """The layer and pooling that are read of a run where nobody names others, as its recipe says; else the model's own.

    Rotation, for one, is read one stage early.
    """
    run = Run(source)
    return run.recipe().features if run.exists() else FeaturesConfig()


def check_model(source: str) -> None:
    """Refuse what :func:`open_model` could not find, without opening it.

    Raises:
        UserError: there is no such run, folder or timm model.
    """
    if source.startswith("random:"):
        backbones.check_name(source.removeprefix("random:"))
    elif source != "pixels":
        backbone_folder(source)


def open_model(source: str, images: ImageSet, *, layer: str | None, pool: str | None, seed: int) -> Backbone | Pixels:
    """A model to probe on ``images``: what :func:`load_backbone` takes, ``random:NAME``, or ``pixels``."""
    if source == "pixels":
        return Pixels(images.shape[0])
    if source.startswith("random:"):
        channels, height, _ = images.shape
        mean, std = images.statistics()
        name = source.removeprefix("random:")
        seed = rng.derive(seed, "backbone")
        model = backbones.create(name, in_chans=channels, image_size=height, mean=mean, std=std, seed=seed)
        return Backbone(model, layer, pool).eval()
    return load_backbone(source, layer=layer, pool=pool)


def open_teachers(asked: Asked) -> list[FrozenTeacher]:
    """The networks that a method learns from, frozen.

    Raises:
        UserError: there is no such model, or it has no classifier where one is needed.
    """
    found = []
    for name in asked.models:
        folder = backbone_folder(name)
        whole = asked.classifiers and int(backbones.load_config(folder).get("num_classes") or 0) > 0
        reads = Backbone(backbones.load(folder, image_size=asked.size, classifier=whole)).eval()
        model: nn.Module = reads
        if asked.classifiers and not whole:
            classifier = load_classifier(Path(name))
            if classifier is None:
                raise UserError(f"method.teacher: {name} has no classifier; make one with: unlabeled finetune {name}")
            model = nn.Sequential(reads, classifier[0])
        found.append(FrozenTeacher(model, reads, name, backbones.digest_of(folder / "model.safetensors")))
    return found


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the backbone that will be trained: where there are ``backbone.weights``, theirs.

    Raises:
        UserError: the weights are not there, or another architecture was asked for beside them.
    """
    chosen = recipe.backbone
    if chosen.weights is None:
        return recipe
    config = backbones.load_config(backbone_folder(chosen.weights))
    if "name" in chosen.model_fields_set and chosen.name != config["architecture"]:
        raise UserError(
            f"backbone: '{chosen.name}' was asked for, and backbone.weights={chosen.weights} is a "
            f"'{config['architecture']}'; leave one of them out."
        )
    of_images = ("in_chans", "img_size", "num_classes")
    known = {key: value for key, value in config.get("model_args", {}).items() if key not in of_images}
    actual = {"name": config["architecture"], "args": {**known, **chosen.args}}
    return recipe.model_copy(update={"backbone": type(chosen).model_validate(chosen.model_dump() | actual)})


def starting_backbone(
    recipe: Recipe, channels: int, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> nn.Module:
    """The backbone before training: ``recipe.backbone.weights`` where given, else initialised from the seed.

    Position tables of weights for images of another size are resampled.

    Raises:
        UserError: there is no such backbone, or its weights were made for other channels.
    """
    weights = recipe.backbone.weights
    if weights is None:
        return backbones.create(
            recipe.backbone.name,
            in_chans=channels,
            image_size=size,
            mean=mean,
            std=std,
            seed=rng.derive(recipe.seed, "backbone"),
            **recipe.backbone.args,
        )
    taken, native, _ = input_size(weights)
    if taken != channels:
        raise UserError(
            f"backbone.weights: {weights} takes images of {taken} channels, the data has {channels}; set "
            f"data.channels={taken}."
        )
    if native != size:
        say(f"{weights} was trained on images of {native} pixels and is fitted to {size}; data.size={native} keeps it")
    arguments: dict[str, Any] = dict(recipe.backbone.args)
    model = backbones.load(backbone_folder(weights), image_size=size, **arguments)
    backbones.freeze_first(model, recipe.backbone.freeze)
    if recipe.backbone.lora:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.derive(recipe.seed, "adapters"))
            backbones.add_adapters(model, recipe.backbone.lora)
    return model.train()

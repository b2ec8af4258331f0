"""From a recipe to everything that training needs, built and checked before anything is written."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import nn

from unlabeled.backbones import Backbone
from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.core.precision import smaller_than_a_stride
from unlabeled.core.progress import say
from unlabeled.data import ImageSet
from unlabeled.data.views import Views
from unlabeled.engine.loop import Hardware, best_precision
from unlabeled.engine.recompute import blocks_of
from unlabeled.recipes.schema import Recipe
from unlabeled.recipes.training_data import training_images
from unlabeled.runs.loggers import check_logger
from unlabeled.runs.models import open_teachers, starting_backbone
from unlabeled.ssl.method import DataInfo, Method
from unlabeled.ssl.methods import METHODS


@dataclasses.dataclass
class Prepared:
    """Everything training needs, built and checked."""

    images: ImageSet
    info: DataInfo
    method: Method
    views: Views
    hardware: Hardware


def prepare(recipe: Recipe) -> Prepared:
    """Open the data and build the model, checking everything that can be checked before training."""
    hardware = hardware_of(recipe)
    hardware.require()
    check_logger(recipe.output.logger)
    if recipe.hardware.threads:
        torch.set_num_threads(recipe.hardware.threads)
    data, images = recipe.data, training_images(recipe)
    method_class = METHODS[recipe.method.name]
    if method_class.needs_labels and images.labels is None:
        raise UserError(
            f"method '{recipe.method.name}' needs labels, and '{data.name}' has none; "
            "sort the images into one folder per class, or choose a method that needs no labels."
        )
    if recipe.epochs and recipe.batch_size > len(images):
        raise UserError(
            f"batch_size {recipe.batch_size} is larger than the data ({len(images)} images in '{data.name}'); "
            f"set batch_size={1 << (len(images).bit_length() - 1)} or less."
        )
    channels, height, width = images.shape
    mean, std = images.statistics()
    classes = images.classes
    backbone = starting_backbone(recipe, channels, recipe.views[0].size or height, mean, std)
    if recipe.backbone.weights is not None:  # a trained backbone wants the normalisation it was trained with
        loaded = Backbone(backbone)
        mean, std = (tuple(values.flatten().tolist()) for values in (loaded.mean, loaded.std))
    info = DataInfo(len(images), channels, height, width, len(classes) if classes else None, mean, std)
    smallest = min(view.size or height for view in recipe.views)
    hardware = _without_broken_precision(hardware, recipe, backbone, (channels, smallest, smallest))
    asked = method_class.asks(recipe.method)
    others: dict[str, Any] = {} if asked is None else {"teachers": open_teachers(asked)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive(recipe.seed, "method"))
        given = copy.deepcopy(backbone.state_dict()) if recipe.backbone.weights is not None else None
        method = method_class(recipe.method, backbone, info, **others)
    if given is not None:
        backbone.load_state_dict(given)  # instead of what MAE initialises by itself
    method.check(recipe.batch_size)
    if hardware.checkpoint_activations:
        if not method.recomputes:
            raise UserError(
                f"the method '{recipe.method.name}' cannot compute blocks again; leave hardware.checkpoint_activations "
                "out, and split batches with optimizer.accumulate if memory is short."
            )
        blocks_of(method.backbone)
    return Prepared(images, info, method, Views(recipe.views, mean, std), hardware)


def hardware_of(recipe: Recipe) -> Hardware:
    """Lightning's settings for a recipe."""
    chosen = recipe.hardware
    precision = best_precision(chosen.accelerator) if chosen.precision == "auto" else chosen.precision
    return Hardware(chosen.accelerator, precision, chosen.compile, chosen.checkpoint_activations)


def _without_broken_precision(
    hardware: Hardware, recipe: Recipe, backbone: nn.Module, shape: tuple[int, int, int]
) -> Hardware:
    if "bf16" not in hardware.precision or hardware.device() != "cpu" or not smaller_than_a_stride(backbone, shape):
        return hardware
    why = f"{recipe.backbone.name} shrinks {'×'.join(map(str, shape))} images below a stride; bfloat16 is broken there"
    if recipe.hardware.precision != "auto":
        raise UserError(f"{why} on CPU; set hardware.precision=32-true, or larger images with data.size.")
    say(f"{why} on CPU: computing in float32. Larger images (data.size) or a smaller stride would serve it better.")
    return dataclasses.replace(hardware, precision="32-true")

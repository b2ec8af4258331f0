"""The contract between a method and the one training loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from unlabeled.core import rng
from unlabeled.core.config import Config
from unlabeled.core.errors import UserError

Beside = Literal["teacher", "student"]
"""Names of networks that a method may keep beside its backbone."""


@dataclass(frozen=True)
class Batch:
    """This rank's share of a global batch.

    Attributes:
        views: one ``(B, C, h, w)`` normalised float tensor per view, in the order of the view specs.
        rows: ``(B,)`` int64, the images' row numbers in the data set.
        labels: ``(B,)`` int64 for methods that declare ``needs_labels``, else ``None``.
    """

    views: list[Tensor]
    rows: Tensor
    labels: Tensor | None = None

    def expect_views(self, count: int, method: str) -> list[Tensor]:
        """Return the views, or raise a :class:`UserError` when there are not exactly ``count``."""
        if len(self.views) != count:
            raise UserError(
                f"the method '{method}' learns from {count} view{'s' * (count > 1)} of each image, the recipe's "
                f"'views' make {len(self.views)}; set the counts in 'views' so that they add up to {count}."
            )
        return self.views


@dataclass(frozen=True)
class Step:
    """Where training stands: all a method may base its randomness and schedules on."""

    number: int
    """Optimiser steps done so far."""
    per_epoch: int
    total: int
    seed: int
    batch_size: int
    """Images in the global batch."""
    first: int = 0
    """Position of this rank's first image in the global batch."""

    @property
    def epoch(self) -> int:
        return self.number // self.per_epoch

    def generator(self, *keys: int | str) -> torch.Generator:
        """A CPU generator fixed by (seed, step, ``keys``), the same on every rank.

        Draw for the whole global batch and slice ``[first : first + B]``: then any number of ranks sees
        the same numbers.
        """
        return rng.torch_generator(self.seed, self.number, *keys)


@dataclass(frozen=True)
class DataInfo:
    """What a method may know of the data when it is built."""

    num_images: int
    channels: int
    height: int
    width: int
    num_classes: int | None = None
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def pixels(self, views: Tensor) -> Tensor:
        """Normalised images ``(…, C, h, w)`` as they were before, in [0, 1]."""
        std, mean = (views.new_tensor(values).view(-1, 1, 1) for values in (self.std, self.mean))
        return (views * std + mean).clamp(0, 1)

    def classes_for(self, method: str) -> int:
        """K, the number of classes, for a method that reads labels.

        Raises:
            UserError: the data has no labels.
        """
        if self.num_classes is None:
            raise UserError(
                f"the method '{method}' needs labels and the data has none; sort the images into one folder per class, "
                "or choose a method that needs none (unlabeled recipes)."
            )
        return self.num_classes


class Images(Protocol):
    """The images a preparing stage may read: rows of uint8 ``(B, C, H, W)``, never labels."""

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def gather(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor: ...


class BatchSampler(Protocol):
    """Which rows form the *global* batches of an epoch; a pure function of (seed, epoch)."""

    def batches_per_epoch(self) -> int: ...

    def epoch(self, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return ``(batches_per_epoch, batch_size)`` row numbers."""
        ...


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share optimiser settings; ``adapt`` is LARS's trust ratio, ``lr_scale`` multiplies lr."""

    parameters: Sequence[nn.Parameter]
    weight_decay: bool = True
    adapt: bool = True
    lr_scale: float = 1.0
    constant_rate: bool = False
    """Keep the learning rate that warm-up reaches, whatever the schedule (SimSiam's predictor)."""


def grouped(parameters: Iterable[nn.Parameter], apart: Sequence[nn.Parameter] = ()) -> list[ParameterGroup]:
    """The usual groups of all that is trained: matrices and kernels; biases and norms, neither decayed nor adapted.

    Args:
        parameters: all of them.
        apart: matrices that get a group of their own, because they are held still at first: torch's fused SGD wants a
            group to start its momentum together.
    """
    alone = {id(p) for p in apart}
    trained = [p for p in parameters if p.requires_grad and id(p) not in alone]
    groups = [
        ParameterGroup([p for p in trained if p.ndim > 1]),
        ParameterGroup([p for p in trained if p.ndim <= 1], weight_decay=False, adapt=False),
    ]
    return [*groups, ParameterGroup(list(apart))] if apart else groups


class MethodConfig(Config):
    """A method's own settings; subclasses add a ``name: Literal[...]`` and their fields."""

    name: str


@dataclass
class Picture:
    """A picture a method offers to look at: rows of images in [0, 1], ``(rows, columns, C, H, W)``."""

    title: str
    images: Tensor
    row_names: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kept:
    """What of a method is worth keeping when training ends; heads and predictors are thrown away.

    Attributes:
        backbone: the run's backbone, read while training and probed.
        beside: other networks of the same kind that are kept and probed, too, by the name of their folder.
        classifier: a linear layer over the backbone's embedding that tells the data's classes apart.
    """

    backbone: nn.Module
    beside: Mapping[Beside, nn.Module] = field(default_factory=dict)
    classifier: nn.Linear | None = None


@dataclass(frozen=True)
class Asked:
    """Networks that others trained and that a method learns from; it gets them, frozen, as ``teachers``.

    Attributes:
        models: what the user calls them.
        size: side of the images they see; ``None``: their own.
        classifiers: they answer with the logits of their classifiers instead of embeddings.
    """

    models: tuple[str, ...]
    size: int | None = None
    classifiers: bool = False


class Method(nn.Module):
    """Owns the backbone and its heads; turns a batch of views into a loss.

    A method knows nothing of Lightning, devices or files. Everything it must remember between steps
    (queues, teachers, prototypes) is a parameter or a persistent buffer, so that a checkpoint is whole.

    Args:
        config: the method's settings.
        backbone: a timm model with ``num_classes=0``; ``backbone(images)`` is ``(B, D)`` with
            ``D = backbone.num_features``.
        info: shape and size of the data.
    """

    Config: ClassVar[type[MethodConfig]]
    """The class of the method's settings."""
    needs_labels: ClassVar[bool] = False
    """Whether ``forward`` reads ``batch.labels`` (reference recipes only)."""
    needs_prepare: ClassVar[bool] = False
    """Whether ``prepare`` must run before the first step."""
    accumulates: ClassVar[bool] = True
    """Whether a batch may be split into accumulated parts without changing the loss."""
    prepared_is_state: ClassVar[bool] = True
    """Whether what ``prepare`` makes is in the checkpoint; if not, it is made again when training resumes."""
    recomputes: ClassVar[bool] = True
    """Whether the backbone's blocks may be computed again in the backward pass."""
    random_start: ClassVar[bool] = False
    """Whether the method makes no sense from weights that were trained before."""

    def __init__(self, config: Any, backbone: nn.Module, info: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.info = info

    @classmethod
    def asks(cls, config: Any) -> Asked | None:  # noqa: ARG003
        """The networks of others that ``__init__`` takes as ``teachers``; ``None``: none, and no such argument."""
        return None

    @property
    def embedding_dim(self) -> int:
        """D, the size of the backbone's output."""
        return int(cast(int, self.backbone.num_features))

    def check(self, batch_size: int) -> None:
        """Raise a :class:`UserError` for batches of a size that cannot be served; called before anything is written."""

    def prepare(self, images: Images, *, seed: int, batch_size: int, cache: Path, device: torch.device) -> None:
        """Run a stage of the method's own before training (G-SimCLR's pseudo-labels); cached in ``cache``.

        Rank 0 alone does it; its results belong into buffers, which all ranks then get.
        """

    def sampler(self, batch_size: int) -> BatchSampler | None:
        """The method's own batches, or ``None`` for plain shuffling."""
        return None

    def before_step(self, step: Step) -> None:
        """Called before the forward pass (renormalise prototypes, update a teacher)."""

    def after_backward(self, step: Step) -> None:
        """Called between backward and the optimiser (drop the gradients of frozen parts)."""

    def after_step(self, step: Step) -> None:
        """Called after the optimiser (EMA, queues)."""

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Weight decay on matrices and kernels only; none, and no LARS adaptation, on biases and norms."""
        return grouped(self.parameters())

    def kept(self) -> Kept:
        """What is saved when training ends; a momentum teacher, a classifier of the data's classes."""
        return Kept(self.backbone)

    def compiled_parts(self) -> Sequence[nn.Module]:
        """The modules that ``hardware.compile`` compiles: those that are *called* and take most of the time."""
        return [self.backbone]

    def forward(self, batch: Batch, step: Step) -> Mapping[str, Tensor]:
        """Return ``{"loss": scalar, …}``; further 0-d tensors are logged under their keys.

        On several ranks, each rank returns the mean over *its own* images (DDP averages the gradients).
        """
        raise NotImplementedError

    def warnings(self, logged: Mapping[str, float], step: Step) -> str | None:
        """Look at the logged means of an epoch; return a sentence if the method sees itself failing."""
        return None

    @torch.no_grad()
    def pictures(self, batch: Batch, step: Step) -> list[Picture]:
        """Pictures worth looking at every few epochs (MAE reconstructions)."""
        return []

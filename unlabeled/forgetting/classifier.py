"""A model cut where forgetting needs it cut: an extractor that embeds, and a head that decides."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from unlabeled.core import rng
from unlabeled.core.errors import UserError


class Classifier(nn.Module):
    """An extractor (images -> embeddings) and a head (embeddings -> logits), or no head at all.

    Args:
        extractor: maps ``(B, C, H, W)`` normalised images to ``(B, D)`` embeddings.
        head: maps ``(B, D)`` to ``(B, K)`` logits; ``None`` for a self-supervised backbone.
    """

    def __init__(self, extractor: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.extractor = extractor
        self.head = head

    def embed(self, images: Tensor) -> Tensor:
        """Embed ``(B, C, H, W)`` images as ``(B, D)``.

        Raises:
            UserError: the extractor does not return one vector an image.
        """
        embedding = self.extractor(images)
        if not isinstance(embedding, Tensor) or embedding.ndim != 2 or len(embedding) != len(images):
            shape = tuple(embedding.shape) if isinstance(embedding, Tensor) else type(embedding).__name__
            raise UserError(f"the extractor returns {shape} for {len(images)} images, not (B, D): pool or flatten it.")
        return embedding

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(B, K)`` logits, or the embeddings where there is no head."""
        embedding = self.embed(images)
        if self.head is None:
            return embedding
        logits: Tensor = self.head(embedding)
        return logits

    def copy(self) -> Classifier:
        """A deep copy that shares nothing with this model; every parameter is trainable."""
        return copy.deepcopy(self).requires_grad_(True)

    def need_head(self, who: str) -> nn.Module:
        """Return the head.

        Raises:
            UserError: there is none; ``who`` names what asked for it.
        """
        if self.head is None:
            raise UserError(f"{who} edits or trains a classifier head, but this model has none; use laf or lfssd.")
        return self.head

    def linear_layers(self, who: str) -> list[nn.Linear]:
        """Return the head's linear layers: the first takes the embedding, the last gives the classes."""
        layers = [m for m in self.need_head(who).modules() if isinstance(m, nn.Linear)]
        if not layers:
            raise UserError(f"{who} needs a head that ends in a linear layer, not {type(self.head).__name__}.")
        return layers

    def last_linear(self, who: str) -> nn.Linear:
        """Return the head's last linear layer, whose outputs are the classes."""
        return self.linear_layers(who)[-1]


def wrap(model: nn.Module, shape: tuple[int, int, int]) -> Classifier:
    """Cut any timm model into extractor and head (a copy; ``model`` is left alone).

    Args:
        model: a timm model, with or without classifier.
        shape: ``(C, H, W)`` of its input, on which the cut is verified.

    Raises:
        UserError: the model's embedding cannot be found.
    """
    name = type(model).__name__
    if isinstance(model, Classifier):
        return model.copy()
    if not (hasattr(model, "get_classifier") and hasattr(model, "reset_classifier")):
        raise UserError(
            f"cannot find the embedding of {name}: it is not a timm model; pass Classifier(extractor, head)."
        )
    whole: Any = copy.deepcopy(model)
    head: Any = whole.get_classifier()
    extractor: Any = copy.deepcopy(whole)
    if isinstance(head, nn.Identity) or head is None:
        wrapped = Classifier(extractor)
    elif isinstance(head, nn.Linear):
        extractor.reset_classifier(0)
        wrapped = Classifier(extractor, head)
    else:
        raise UserError(f"cannot find the embedding of {name}: its head is {type(head).__name__}, not a linear layer.")
    modes = [m.training for m in whole.modules()]
    images = torch.randn(2, *shape, generator=rng.torch_generator("forgetting", "wrap"))
    with torch.no_grad():
        same = torch.allclose(wrapped.eval()(images), whole.eval()(images), rtol=1e-3, atol=1e-4)
    if not same:
        raise UserError(f"cannot find the embedding of {name}: its head does more than one linear layer.")
    return wrapped.train(modes[0])


def fingerprint(model: nn.Module) -> str:
    """Hash every parameter and buffer (names, shapes, bits), independent of device and memory format."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        # A clone, because a dimension of size 1 may keep any stride in a tensor that calls itself contiguous.
        array = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        digest.update(f"{name}:{tuple(array.shape)}:{array.dtype};".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def reinitialised(model: Classifier, *keys: int | str) -> Classifier:
    """A copy with fresh weights, drawn by the modules' own initialisation under a private random state."""
    fresh = model.copy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive(*keys))
        covered: set[int] = set()
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                covered.update(id(p) for p in module.parameters(recurse=False))
        for parameter in fresh.parameters():
            if id(parameter) not in covered:
                nn.init.trunc_normal_(parameter, std=0.02)
    return fresh


def paper_cnn(channels: int = 1, size: int = 28, classes: int = 10, *, seed: int = 0) -> Classifier:
    """The 2-conv network of Shen et al. 2024: 16 and 32 channels of 5x5, a 256-d embedding, a two-layer head.

    As in the released code the embedding is linear (no ReLU) and so is the head. ReLU stands after the
    pooling, which computes the same function at a quarter of the cost.
    """
    extractor = nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 256),
    )
    head = nn.Sequential(nn.Linear(256, 128), nn.Linear(128, classes))
    return reinitialised(Classifier(extractor, head), "paper_cnn", seed)

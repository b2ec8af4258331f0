"""Which layer a parameter belongs to; first layers that stay as they are; low-rank adapters."""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from unlabeled.core.errors import UserError

SCALE = 2.0
"""What an adapter's product is multiplied by: the paper's alpha / r, for alpha = 2 r."""


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """The layer of every parameter by its name, counted from the input: 0 is the stem, then a block each.

    Args:
        model: a timm model; one that does not say what its layers are is a single one.
    """
    matcher = getattr(model, "group_matcher", None)
    if not callable(matcher):
        return {name: 0 for name, _ in model.named_parameters()}
    found: dict[str, int] = group_parameters(model, matcher(coarse=False), reverse=True)
    return found


def freeze_first(model: nn.Module, layers: int) -> None:
    """Keep the first layers as they are; 1: the stem, 2: the first block, too, …

    Raises:
        UserError: nothing would be left to train.
    """
    numbers = layer_numbers(model)
    last = max(numbers.values())
    if layers > last:
        raise UserError(
            f"backbone.freeze: {layers} of the network's {last + 1} layers; at least the last must be trained."
        )
    for name, parameter in model.named_parameters():
        if numbers[name] < layers:
            parameter.requires_grad_(False)


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """The BatchNorms that are not trained: they keep their statistics if they are held in eval mode."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if norm.weight is not None and not norm.weight.requires_grad]


class LowRank(nn.Module):
    """``W + scale · B A`` with A ``(r, in)`` and B ``(out, r)``, B zero at first (Hu et al. 2022, equation 3).

    "LoRA: low-rank adaptation of large language models", https://arxiv.org/abs/2106.09685.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1]))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted matrix."""
        return weight + SCALE * (self.up @ self.down)


def add_adapters(model: nn.Module, rank: int) -> None:
    """Freeze a transformer and give each linear layer of its blocks a trainable low-rank addition.

    Raises:
        UserError: it has no blocks with linear layers.
    """
    linears = [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and "blocks." in name]
    if not linears:
        raise UserError(
            f"backbone.lora adapts the linear layers of a transformer's blocks, this {type(model).__name__} has none; "
            "use backbone.freeze or optimizer.layer_decay."
        )
    model.requires_grad_(False)
    for linear in linears:
        parametrize.register_parametrization(linear, "weight", LowRank(linear.weight, rank))


def merged(model: nn.Module) -> nn.Module:
    """A copy with the adapters added to the weights: an ordinary timm model. Without adapters, the model itself."""
    if not any(parametrize.is_parametrized(module) for module in model.modules()):
        return model
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if parametrize.is_parametrized(module, "weight"):
            layer: Any = module
            weight = layer.weight.detach().clone()
            # torch's own removal takes the parametrisation from the class, which the original shares
            layer.__class__ = type(layer).__mro__[1]
            del layer.parametrizations
            layer.weight = nn.Parameter(weight)
    return plain.requires_grad_(True)

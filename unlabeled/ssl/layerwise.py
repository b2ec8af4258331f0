"""Layer-wise learning rates: the nearer to the input, the less a layer moves.

As in Clark et al. 2020 (ELECTRA) and He et al. 2021 (MAE, appendix A.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from unlabeled.backbones.layers import layer_numbers
from unlabeled.ssl.method import ParameterGroup


def layerwise(groups: Sequence[ParameterGroup], backbone: nn.Module, decay: float) -> list[ParameterGroup]:
    """Split groups so that each of the backbone's layers learns at ``decay`` times the rate of the one above.

    Heads keep their rate, which is the one above the backbone's last layer.

    Args:
        groups: of a method.
        backbone: its timm model.
        decay: 1 leaves the groups as they are.
    """
    if decay == 1:
        return list(groups)
    numbers = layer_numbers(backbone)
    top = max(numbers.values())
    layers = {id(parameter): numbers[name] for name, parameter in backbone.named_parameters()}
    found = []
    for group in groups:
        parts: dict[int, list[nn.Parameter]] = {}
        for parameter in group.parameters:
            parts.setdefault(layers.get(id(parameter), top + 1), []).append(parameter)
        for layer in sorted(parts):
            scale = group.lr_scale * decay ** (top + 1 - layer)
            found.append(replace(group, parameters=parts[layer], lr_scale=scale))
    return found

"""Where half precision would go wrong: losses, and images smaller than a stride."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")


def _widen(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` outside autocast, its half-precision tensor arguments widened to float32.

    float32 and float64 arguments stay as they are, so a float64 test tests the very same code.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return function(*map(_widen, args), **{key: _widen(value) for key, value in kwargs.items()})

    return wrapped


def smaller_than_a_stride(backbone: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Whether a convolution of ``backbone`` sees maps smaller than its stride on ``(C, H, W)`` images.

    PyTorch's bfloat16 convolutions on CPU (oneDNN, seen with torch 2.15) then read memory that nobody wrote when
    they compute the gradient of the weights: training is not repeatable, and NaN sooner or later.
    """
    found = False

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal found
        assert isinstance(layer, nn.Conv2d)
        sides = zip(inputs[0].shape[-2:], layer.stride, layer.kernel_size, strict=True)
        found |= any(kernel > 1 and side < stride for side, stride, kernel in sides)

    hooks = [layer.register_forward_pre_hook(look) for layer in backbone.modules() if isinstance(layer, nn.Conv2d)]
    training = backbone.training
    # a size it cannot take is refused where a step is rehearsed
    with torch.no_grad(), suppress(RuntimeError, AssertionError, ValueError):
        backbone.eval()(torch.zeros(1, *shape))
    backbone.train(training)
    for hook in hooks:
        hook.remove()
    return found

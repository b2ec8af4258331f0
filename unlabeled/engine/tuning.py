"""Settings that make the same mathematics faster on the hardware at hand."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.engine.recompute import checkpoint_activations
from unlabeled.ssl.method import Method


def tune(method: Method, device: torch.device, half: bool, compiled: bool, recompute: bool = False) -> None:
    """Make ``method`` ready for ``device``; its parameters and its state dictionary stay what they are.

    Args:
        half: whether the forward passes run in half precision.
        compiled: whether to compile the parts that the method offers; compilation itself happens in the first step.
        recompute: whether the backbone's blocks keep no activations for the backward pass and are computed again.

    Raises:
        UserError: compilation is asked for and cannot work here.
    """
    if any(isinstance(module, nn.BatchNorm2d) for module in method.backbone.modules()):
        method.to(memory_format=torch.channels_last)
    if half and device.type == "cpu":
        plain_attention(method)
    if recompute:
        checkpoint_activations(method.backbone)
    if compiled:
        require_compiler(device)
        for part in method.compiled_parts():
            part.compile()


def plain_attention(model: nn.Module) -> None:
    """Attention as two products and a softmax.

    With torch's fused kernel for CPUs, whose backward pass is slow in bfloat16, both passes together took four to eight
    times as long (13 and 50 tokens, one thread).
    """
    for module in model.modules():
        if hasattr(module, "fused_attn"):  # timm's attention layers and our decoder's
            setattr(module, "fused_attn", False)  # noqa: B010  (mypy takes an attribute of a module for a tensor)


def require_compiler(device: torch.device) -> None:
    """Raise a :class:`UserError` where ``torch.compile`` would fail for want of a compiler."""
    if device.type == "cpu" and not any(shutil.which(name) for name in _compilers()):
        raise UserError(
            "hardware.compile needs a C++ compiler on the CPU and none is found (g++ or clang++ on the PATH); "
            "install one, for instance with `apt install g++`, or set hardware.compile=false."
        )


def _compilers() -> tuple[str, ...]:
    chosen = os.environ.get("CXX")
    usual = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
    return (chosen,) if chosen else usual

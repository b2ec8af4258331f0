"""BatchNorm over the global batch: on any device, for any subclass, without changing the model.

torch's ``SyncBatchNorm`` refuses the CPU, and its converter drops what timm's ``BatchNormAct2d`` does besides
normalising (the activation). Here the modules keep their parameters and buffers; only statistics are shared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unlabeled.core import dist


class _Normalised(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` with the mean and biased variance over all ranks.

    As one operation it keeps its input alone for the backward pass; step by step, it would be kept three times.
    Ranks hold equally many values. Their own moments are joined exactly: the common variance is the mean of the
    variances plus the variance of the means (Chan, Golub and LeVeque 1979).
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = _wide(input)
        variance, mean = torch.var_mean(x.transpose(0, 1).flatten(1), dim=1, correction=0)
        means, variances = dist.gather(torch.stack([mean, variance])[None]).unbind(1)
        mean = means.mean(dim=0)
        variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(input, weight, mean, scale)
        ctx.biased = bias is not None
        ctx.mark_non_differentiable(mean, variance)
        out = (x - _along(mean, x)).mul_(_along(scale if weight is None else scale * weight, x))
        return (out if bias is None else out.add_(_along(bias, x))).to(input.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, scale = ctx.saved_tensors
        given, x = _wide(gradients[0]), _wide(input)
        over = [0, *range(2, x.ndim)]
        normal = (x - _along(mean, x)).mul_(_along(scale, x))
        for_bias, for_weight = given.sum(over), (given * normal).sum(over)
        count = x.numel() // x.shape[1] * dist.world_size()
        shared_bias, shared_weight = (dist.all_reduce_sum(torch.stack([for_bias, for_weight])) / count).unbind()
        gain = scale if weight is None else scale * weight
        into = normal.mul_(-_along(shared_weight, x)).add_(given).sub_(_along(shared_bias, x)).mul_(_along(gain, x))
        return (
            into.to(input.dtype),
            None if weight is None else for_weight.to(weight.dtype),
            for_bias.to(mean.dtype) if ctx.biased else None,
            None,
        )


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _along(channels: Tensor, values: Tensor) -> Tensor:
    return channels.view(1, -1, *(1,) * (values.ndim - 2))


class _Shared(_BatchNorm):
    """Comes before a BatchNorm's own class: in training on several ranks, their common mean and variance."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(b, C, ...)``; in eval mode and in a single process, just what the class itself does."""
        if not (self.training and dist.active()):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            x: Tensor
            x, mean, variance = _Normalised.apply(input, self.weight, self.bias, self.eps)
            self._track(mean, variance, x.numel() // x.shape[1] * dist.world_size())
        for name in ("drop", "act"):  # timm's BatchNormAct2d
            if name in self._modules:
                x = self.get_submodule(name)(x)
        return x

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        weight = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), weight)
        self.running_var.lerp_((variance * count / max(count - 1, 1)).to(self.running_var), weight)


def synchronise_batchnorm(module: nn.Module) -> None:
    """Let every BatchNorm in ``module`` share its statistics over all ranks, in place.

    Ranks must hold equally many images. Running statistics become those of one process on the whole batch.
    """
    for child in module.modules():
        if isinstance(child, _BatchNorm) and not isinstance(child, _Shared | nn.SyncBatchNorm):
            child.__class__ = type(f"Shared{type(child).__name__}", (_Shared, type(child)), {})

"""BatchNorm over the global batch: on any device, for any subclass, without changing the model.

torch's ``SyncBatchNorm`` refuses the CPU, and its converter drops what timm's ``BatchNormAct2d`` does besides
normalising (the activation). Here the modules keep their parameters and buffers; only statistics are shared.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unlabeled.core import dist


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel of ``(b, C, ...)`` over all ranks, which hold equally many values.

    Each rank's own moments are gathered at once, differentiably, and joined exactly: the common variance is the mean
    of the variances plus the variance of the means (Chan, Golub and LeVeque 1979).
    """
    rows = values.transpose(0, 1).flatten(1)
    variance, mean = torch.var_mean(rows, dim=1, correction=0)
    means, variances = dist.gather(torch.stack([mean, variance])[None]).unbind(1)
    common = means.mean(dim=0)
    return common, variances.mean(dim=0) + (means - common).square().mean(dim=0)


class _Shared(_BatchNorm):
    """Comes before a BatchNorm's own class: in training on several ranks, their common mean and variance."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(b, C, ...)``; in eval mode and in a single process, just what the class itself does."""
        if not (self.training and dist.active()):
            return super().forward(input)
        shape = (1, -1) + (1,) * (input.ndim - 2)
        with torch.autocast(input.device.type, enabled=False):
            x = input if input.dtype == torch.float64 else input.float()
            mean, variance = _moments(x)
            self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1] * dist.world_size())
            x = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
            for operation, values in ((torch.mul, self.weight), (torch.add, self.bias)):
                if values is not None:
                    x = operation(x, values.view(shape))
            x = x.to(input.dtype)
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

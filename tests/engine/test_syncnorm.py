"""BatchNorm over the global batch, as one operation (that ranks agree is in tests/ssl/test_distributed.py)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.engine.syncnorm import _Normalised


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 5, 2)])
def test_it_is_batch_norm(shape: tuple[int, ...], affine: bool) -> None:
    torch.manual_seed(0)
    x = (torch.randn(*shape, dtype=torch.float64) * 3 + 100).requires_grad_()
    parameters = [torch.randn(3, dtype=torch.float64).requires_grad_() if affine else None for _ in range(2)]
    towards = torch.randn(*shape, dtype=torch.float64)

    def gradients(out: Tensor) -> tuple[Tensor, ...]:
        given = [x, *(p for p in parameters if p is not None)]
        return (out, *torch.autograd.grad((out * towards).sum(), given))

    ours = gradients(_Normalised.apply(x, *parameters, 1e-5)[0])
    theirs = gradients(F.batch_norm(x, None, None, *parameters, training=True, eps=1e-5))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-11)


def test_its_input_is_kept_once() -> None:
    x = torch.randn(64, 8, 16, 16).to(torch.bfloat16).requires_grad_()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        _Normalised.apply(x, torch.ones(8), torch.zeros(8), 1e-5)
    assert sum(kept) <= x.nbytes + 1024

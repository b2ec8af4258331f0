"""Depth from frozen tokens: a linear layer says in which bin of distances each patch lies, and its mean is the depth.

Linear bins as in the probe of DINOv2 (Oquab et al. 2023, Sec. 7.4) after AdaBins (Bhat et al. 2021, Eq. 2), with bins
of one width between the nearest and the farthest training patch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.errors import UserError
from unlabeled.probes.logistic import LogisticProbe

BINS = 64


def patch_depth(depth: Tensor, height: int, width: int) -> Tensor:
    """(h, w) mean depth below each patch of a map (H, W); NaN where no pixel of a patch is known (all are 0).

    >>> patch_depth(torch.tensor([[2.0, 0.0], [4.0, 0.0]]), 1, 2).tolist()
    [[3.0, nan]]
    """
    known = (depth > 0).float()
    total, share = (F.adaptive_avg_pool2d(part[None, None], (height, width))[0, 0] for part in (depth * known, known))
    return torch.where(share > 0, total / share.clamp_min(1e-12), torch.nan)


class LinearBins:
    """Logistic regression of the bin, the expected middle of the bins as the answer.

    Args:
        tokens: (T, D) features of patches.
        depth: (T,) their depth, above 0.
        penalty: of the regression.

    Raises:
        UserError: all depths are the same.
    """

    def __init__(self, tokens: Tensor, depth: Tensor, penalty: float = 1e-4) -> None:
        low, high = float(depth.min()), float(depth.max())
        if not high > low:
            raise UserError("depth: all training depths are the same; there is nothing to learn.")
        edges = torch.linspace(low, high, BINS + 1)
        bins = torch.bucketize(depth, edges[1:-1].contiguous())
        self.probe = LogisticProbe(penalty=penalty).fit(tokens, bins)
        self.middle = (edges[:-1] + edges[1:])[torch.as_tensor(self.probe.classes_)] / 2

    def read(self, tokens: Tensor) -> Tensor:
        """(T, D) tokens to (T,) depths."""
        return self.probe.scores(tokens).cpu().softmax(1) @ self.middle


def errors(answer: Tensor, depth: Tensor) -> dict[str, float]:
    """How far a predicted (H, W) map is off where the depth is known (Eigen et al. 2014, Sec. 4.2).

    Returns:
        ``delta1``: share of pixels with max(answer / depth, depth / answer) < 1.25; ``abs_rel``: mean of
        abs(answer - depth) / depth; ``rmse``: in the depth's own unit.

    >>> errors(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 2.0]]))["abs_rel"]
    0.25
    """
    known = depth > 0
    a, d = answer[known].double(), depth[known].double()
    return {
        "delta1": float((torch.maximum(a / d, d / a) < 1.25).double().mean()),
        "abs_rel": float(((a - d).abs() / d).mean()),
        "rmse": float((a - d).square().mean().sqrt()),
    }

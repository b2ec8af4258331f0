"""The projection and prediction heads of the joint-embedding methods."""

from __future__ import annotations

from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Linear-BN-ReLU blocks, then a last linear layer without bias: ``(B, D) -> (B, dim)``.

    Layers followed by BatchNorm have no bias of their own (BatchNorm's shift takes its place). The last
    layer's BatchNorm, where asked for, scales but does not shift, as in the code of SimCLR
    (Chen et al. 2020, https://arxiv.org/abs/2002.05709; 2 layers in v1, 3 in v2).

    Args:
        in_dim: size D of the embedding.
        hidden_dim: width of the hidden layers.
        dim: size of the projection.
        layers: number of linear layers, at least 1.
        last_norm: put a BatchNorm without shift behind the last layer.
        last_scale: whether that BatchNorm scales (SimSiam's and MoCo v3's do not).
        last_bias: give the last layer a bias (SimSiam's predictor).
        hidden_norm: put BatchNorm into the hidden layers; without it (MoCo v2, SupCon) all layers have a bias.
    """

    def __init__(
        self,
        in_dim: int,
        hidden_dim: int,
        dim: int,
        *,
        layers: int = 2,
        last_norm: bool = True,
        last_scale: bool = True,
        last_bias: bool = False,
        hidden_norm: bool = True,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for _ in range(layers - 1):
            blocks.append(nn.Linear(in_dim, hidden_dim, bias=not hidden_norm))
            blocks += [nn.BatchNorm1d(hidden_dim)] if hidden_norm else []
            blocks.append(nn.ReLU(inplace=True))
            in_dim = hidden_dim
        blocks.append(nn.Linear(in_dim, dim, bias=last_bias or not hidden_norm))
        if last_norm:
            norm = nn.BatchNorm1d(dim, affine=last_scale)
            norm.register_parameter("bias", None)
            blocks.append(norm)
        self.layers = nn.Sequential(*blocks)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project ``(B, D)`` embeddings to ``(B, dim)``, not normalised."""
        projection: Tensor = self.layers(embedding)
        return projection

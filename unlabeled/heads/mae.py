"""The decoder of masked autoencoders and the fixed positions it shares with the encoder."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sincos_positions(height: int, width: int, dim: int) -> Tensor:
    """Fixed two-dimensional sine-cosine position embeddings, ``(height * width, dim)`` float32.

    One half of the dimensions tells the row, the other the column; each half is ``[sin(p w) | cos(p w)]`` with
    frequencies ``w`` falling geometrically from 1 to nearly 1/10000 (Vaswani et al. 2017, section 3.5).

    Raises:
        ValueError: ``dim`` is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f"sine-cosine positions need a width divisible by 4, not {dim}")
    frequencies = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = [position.flatten()[:, None] * frequencies for position in (rows, columns)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1).float()


def patchify(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut ``(B, C, H, W)`` into ``(B, patches, h * w * C)`` for patches of ``size`` (h, w), row by row."""
    height, width = size
    batch, channels, rows, columns = len(images), images.shape[1], images.shape[2] // height, images.shape[3] // width
    blocks = images.reshape(batch, channels, rows, height, columns, width)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def unpatchify(patches: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The inverse of :func:`patchify` for a ``grid`` of (rows, columns) patches."""
    blocks = patches.reshape(len(patches), *grid, *size, -1)
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, grid[0] * size[0], grid[1] * size[1])


def normalise_patches(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each patch less its mean, over its deviation (unbiased variance plus 1e-6), with both of them."""
    mean = patches.mean(dim=-1, keepdim=True)
    deviation = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / deviation, mean, deviation


class Block(nn.Module):
    """A pre-norm transformer block: self-attention, then an MLP of four times the width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.fused_attn = True  # the name that timm's attention layers have
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = self.attend(query, key, value)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Scaled dot-product attention of ``(B, heads, tokens, dim)``; written out where that is faster."""
        if self.fused_attn:
            return F.scaled_dot_product_attention(query, key, value)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        attended: Tensor = scores.softmax(dim=-1) @ value
        return attended


class MAEDecoder(nn.Module):
    """Fill in the masked patches (He et al. 2021, section 3 "MAE decoder", https://arxiv.org/abs/2111.06377).

    Args:
        in_dim: width of the encoder's tokens.
        grid: rows and columns of patches.
        patch_values: numbers to predict per patch (pixels times channels).
        prefix: leading tokens that are no patches (class and register tokens); they get no position.
        dim, depth, heads: width, blocks and attention heads of the decoder.
    """

    positions: Tensor

    def __init__(
        self,
        in_dim: int,
        grid: tuple[int, int],
        patch_values: int,
        *,
        prefix: int,
        dim: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.prefix = prefix
        self.embed = nn.Linear(in_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        positions = torch.cat([torch.zeros(prefix, dim), sincos_positions(*grid, dim)])
        self.register_buffer("positions", positions[None], persistent=False)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.predict = nn.Linear(dim, patch_values)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        """Predict all patches.

        Args:
            tokens: ``(B, prefix + visible, in_dim)`` encoder output, visible patches in the order of ``order``.
            order: ``(B, patches)`` patch numbers, the visible ones first.

        Returns:
            ``(B, patches, patch_values)``, in the patches' natural order.
        """
        tokens = self.embed(tokens)
        special, visible = tokens[:, : self.prefix], tokens[:, self.prefix :]
        hidden = self.mask_token.expand(len(order), order.shape[1] - visible.shape[1], -1)
        shuffled = torch.cat([visible, hidden.to(visible.dtype)], dim=1)
        patches = shuffled.gather(1, order.argsort(dim=1)[:, :, None].expand_as(shuffled))
        x = torch.cat([special, patches], dim=1) + self.positions
        predicted: Tensor = self.predict(self.norm(self.blocks(x)))
        return predicted[:, self.prefix :]


@torch.no_grad()
def initialise_mae(vit: Any, decoder: MAEDecoder, grid: tuple[int, int]) -> None:
    """The paper's initialisation (He et al. 2022, appendix A.1), in place.

    Xavier linears (the patch embedding as if it were one), LayerNorms at identity, tokens from N(0, 0.02²), and
    fixed sine-cosine positions written into the transformer's own ``pos_embed``.

    Args:
        vit: timm vision transformer.
        decoder: the decoder that will read it.
        grid: rows and columns of patches.
    """
    for module in (*vit.modules(), *decoder.modules()):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            module.reset_parameters()
    kernel = vit.patch_embed.proj.weight
    kernel.copy_(nn.init.xavier_uniform_(kernel.flatten(1).clone()).view_as(kernel))
    for token in (vit.cls_token, vit.reg_token, decoder.mask_token):
        if token is not None:
            nn.init.normal_(token, std=0.02)
    fix_positions(vit, grid)


@torch.no_grad()
def fix_positions(vit: Any, grid: tuple[int, int]) -> None:
    """Write sine-cosine positions into a timm transformer's ``pos_embed``, which is trained no more; in place.

    Args:
        vit: its width is divisible by 4; class and register tokens get no position.
        grid: rows and columns of patches.
    """
    vit.pos_embed.zero_()
    vit.pos_embed[:, -grid[0] * grid[1] :] = sincos_positions(*grid, vit.embed_dim)
    vit.pos_embed.requires_grad_(False)

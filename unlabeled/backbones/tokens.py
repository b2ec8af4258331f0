"""The tokens of a vision transformer: one embedding an image, and one vector a patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from unlabeled.core.errors import UserError


class Tokens(NamedTuple):
    """What a vision transformer makes of a batch."""

    embedding: Tensor
    """``(B, D)``: what the backbone itself returns ([cls] or the mean, as it was made)."""
    patches: Tensor
    """``(B, N, D)`` of the last block, normalised as the embedding is."""


@dataclass(frozen=True)
class PatchGrid:
    """How a transformer cuts an image into patches."""

    size: tuple[int, int]
    """Pixels of the image."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    patch: tuple[int, int]
    """Pixels of a patch."""

    @property
    def count(self) -> int:
        """N, the patches of an image."""
        return self.grid[0] * self.grid[1]


def require_vit(
    backbone: nn.Module, method: str, multiple: int = 1, setting: str = "backbone.name"
) -> VisionTransformer:
    """The backbone as the plain transformer it is.

    Args:
        backbone: the network.
        method: what needs a transformer.
        multiple: of which the width must be one.
        setting: what the user changes to have another network.

    Raises:
        UserError: it is something else; ``method`` is named as what needs one.
    """
    parts: Any = backbone
    if not isinstance(backbone, VisionTransformer) or parts.pos_embed is None or parts.attn_pool is not None:
        raise UserError(
            f"the method '{method}' needs a plain vision transformer (position embeddings, no attention pooling), "
            f"not this {type(backbone).__name__}; set {setting}, e.g. to vit_tiny_patch16_224."
        )
    if backbone.embed_dim % multiple:
        raise UserError(
            f"the method '{method}' needs a transformer whose width is divisible by {multiple}, not "
            f"{backbone.embed_dim}; change backbone.args.embed_dim."
        )
    return backbone


def patch_grid(vit: VisionTransformer, method: str) -> PatchGrid:
    """How the transformer cuts images of its own size.

    Raises:
        UserError: the patches do not fill the image.
    """
    embed: Any = vit.patch_embed
    found = PatchGrid(embed.img_size, embed.grid_size, embed.patch_size)
    if any(side % patch for side, patch in zip(found.size, found.patch, strict=True)):
        raise UserError(
            f"the method '{method}' needs patches that fill the image: {found.size[0]}x{found.size[1]} pixels are no "
            f"multiple of {found.patch[0]}; change backbone.args.patch_size or data.size."
        )
    return found


def tokens(
    vit: VisionTransformer, images: Tensor, hidden: Tensor | None = None, mask_token: Tensor | None = None
) -> Tokens:
    """Both outputs of a transformer in one pass, some patches hidden behind a mask token (iBOT, SimMIM, data2vec).

    Args:
        vit: of timm.
        images: ``(B, C, h, w)``; other sizes than its own need a model made with ``dynamic_img_size``.
        hidden: ``(B, N)`` bool, the patches whose content is replaced before positions are added.
        mask_token: ``(D,)``, what replaces it.

    >>> import timm
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0)
    >>> [tuple(part.shape) for part in tokens(vit, torch.zeros(2, 3, 32, 32))]
    [(2, 192), (2, 16, 192)]
    """
    model: Any = vit
    x = _content(vit, images, hidden, mask_token)
    x = model.norm(model.blocks(model.norm_pre(model.patch_drop(model._pos_embed(x)))))
    return Tokens(model.forward_head(x, pre_logits=True), x[:, model.num_prefix_tokens :])


def encode(
    vit: VisionTransformer,
    images: Tensor,
    kept: Tensor | None = None,
    hidden: Tensor | None = None,
    mask_token: Tensor | None = None,
) -> Tensor:
    """All tokens behind the last norm, without the pooling: ``(B, prefix + n, D)``; every parameter takes part.

    Args:
        vit: of timm.
        images: ``(B, C, h, w)`` of its own size.
        kept: ``(B, n)`` patch numbers; only these enter the transformer, in this order (MAE, I-JEPA). Default: all.
        hidden: ``(B, N)`` bool, the patches whose content is replaced before positions are added.
        mask_token: ``(D,)``, what replaces it.

    >>> import timm
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0)
    >>> tuple(encode(vit, torch.zeros(2, 3, 32, 32), kept=torch.tensor([[0, 5, 7], [1, 2, 3]])).shape)
    (2, 4, 192)
    """
    # one of the two last norms is the identity
    model: Any = vit
    encoded: Tensor = model.fc_norm(model.norm(model.blocks(entering(vit, images, kept, hidden, mask_token))))
    return encoded


def tapped(vit: VisionTransformer, images: Tensor, kept: Tensor, after: int) -> tuple[Tensor, Tensor]:
    """As :func:`encode`, together with all tokens behind the ``after``-th block, as they are there (DMAE).

    >>> import timm
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=0)
    >>> [tuple(part.shape) for part in tapped(vit, torch.zeros(2, 3, 32, 32), torch.tensor([[0, 5], [1, 2]]), 9)]
    [(2, 3, 192), (2, 3, 192)]
    """
    model: Any = vit
    inner = up_to(vit, images, kept, after)
    x = inner
    for block in model.blocks[after:]:
        x = block(x)
    return model.fc_norm(model.norm(x)), inner


def up_to(vit: VisionTransformer, images: Tensor, kept: Tensor, after: int) -> Tensor:
    """All tokens behind the ``after``-th block, ``(B, prefix + n, D)``; the blocks above are not computed."""
    model: Any = vit
    x = entering(vit, images, kept)
    for block in model.blocks[:after]:
        x = block(x)
    return x


def entering(
    vit: VisionTransformer,
    images: Tensor,
    kept: Tensor | None = None,
    hidden: Tensor | None = None,
    mask_token: Tensor | None = None,
) -> Tensor:
    """What enters the first block, ``(B, prefix + n, D)``; see :func:`encode`."""
    model: Any = vit
    prefix = model.num_prefix_tokens
    x = model._pos_embed(_content(vit, images, hidden, mask_token))
    if kept is not None:
        x = torch.cat([x[:, :prefix], x[:, prefix:].gather(1, kept[:, :, None].expand(-1, -1, x.shape[-1]))], dim=1)
    first: Tensor = model.norm_pre(x)
    return first


def _content(vit: VisionTransformer, images: Tensor, hidden: Tensor | None, mask_token: Tensor | None) -> Tensor:
    """Embedded patches, the hidden ones replaced."""
    x: Tensor = vit.patch_embed(images)
    if hidden is None or mask_token is None:
        return x
    return torch.where(hidden.view(*x.shape[:-1], 1), mask_token.to(x.dtype), x)


def own_size(view: Tensor, cut: PatchGrid, method: str) -> Tensor:
    """The view, if it has the size of the transformer's images.

    Raises:
        UserError: it has another; ``method`` is named.
    """
    if view.shape[2:] != cut.size:
        raise UserError(
            f"the method '{method}' got views of {view.shape[2]}x{view.shape[3]} pixels, its backbone takes "
            f"{cut.size[0]}x{cut.size[1]}; make 'size' in the recipe's views agree with it."
        )
    return view


def block_outputs(vit: VisionTransformer, images: Tensor) -> list[Tensor]:
    """The patches ``(B, N, D)`` behind each block, from the first to the last, not normalised."""
    model: Any = vit
    x = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    found = []
    for block in model.blocks:
        x = block(x)
        found.append(x[:, model.num_prefix_tokens :])
    return found

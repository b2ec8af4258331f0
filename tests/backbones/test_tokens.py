from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from unlabeled.backbones.tokens import patch_grid, require_vit, tokens
from unlabeled.core.errors import UserError

SMALL = {"img_size": 28, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "in_chans": 1, "num_classes": 0}


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2}, {"global_pool": "avg"}, {"dynamic_img_size": True}])
def test_tokens_are_timms(options):
    vit = timm.create_model("vit_tiny_patch16_224", **SMALL, **options).eval()
    images = torch.randn(2, 1, 28, 28)
    found = tokens(vit, images)
    torch.testing.assert_close(found.embedding, vit(images))
    torch.testing.assert_close(found.patches, vit.forward_features(images)[:, vit.num_prefix_tokens :])
    assert found.patches.shape == (2, 49, 48)


@pytest.mark.parametrize("options", [{}, {"dynamic_img_size": True}])
def test_a_hidden_patch_says_nothing_and_the_token_learns(options):
    vit = timm.create_model("vit_tiny_patch16_224", **SMALL, **options).eval()
    token = nn.Parameter(torch.randn(48))
    first, second = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    second[:, :, 4:8, 8:12] = 5  # row 1, column 2
    hidden = torch.zeros(1, 49, dtype=torch.bool)
    hidden[0, 7 + 2] = True
    torch.testing.assert_close(tokens(vit, first, hidden, token).patches, tokens(vit, second, hidden, token).patches)
    assert not torch.allclose(tokens(vit, first).patches, tokens(vit, second).patches)
    tokens(vit, second, hidden, token).embedding[:, 0].sum().backward()
    assert token.grad is not None
    assert token.grad.abs().sum() > 0


def test_what_is_no_transformer_or_does_not_divide_is_refused():
    with pytest.raises(UserError, match="method 'ibot' needs a plain vision transformer"):
        require_vit(timm.create_model("resnet10t", num_classes=0), "ibot")
    vit = timm.create_model("vit_tiny_patch16_224", **{**SMALL, "img_size": 30})
    with pytest.raises(UserError, match="30x30 pixels are no multiple of 4"):
        patch_grid(require_vit(vit, "ibot"), "ibot")

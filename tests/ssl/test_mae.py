from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import timm
import torch

from unlabeled.core.errors import UserError
from unlabeled.heads.mae import normalise_patches, patchify, sincos_positions
from unlabeled.ssl.mae import MAE, MAEConfig, masked_error
from unlabeled.ssl.method import Batch

VARIANTS = [
    {},
    {"reg_tokens": 2},
    {"reg_tokens": 2, "no_embed_class": True},
    {"class_token": False, "global_pool": "avg"},
    {"global_pool": "avg", "pre_norm": True},
    {"dynamic_img_size": True},
    {"init_values": 0.1, "qk_norm": True},
]


@pytest.fixture
def method(vit, info):
    return MAE(MAEConfig(), vit(), info)


@pytest.fixture
def batch():
    return Batch([torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))], torch.arange(8))


@pytest.mark.parametrize("options", VARIANTS)
def test_every_plain_transformer_learns_in_all_its_parameters(options, vit, info, batch, step):
    method = MAE(MAEConfig(), vit(**options), info)
    method(batch, step)["loss"].backward()
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    assert "backbone.pos_embed" not in trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.values())


@pytest.mark.parametrize("options", VARIANTS)
def test_encoding_all_patches_is_the_backbones_own_forward(options, vit, info, batch):
    method = MAE(MAEConfig(), vit(**options), info).eval()
    method.visible = method.patches
    order = torch.arange(49).expand(8, -1)
    features = method.backbone.forward_features(batch.views[0])
    torch.testing.assert_close(method.encode(batch.views[0], order), method.backbone.fc_norm(features))


def test_encoder_sees_visible_patches_only(method, batch, step):
    images = batch.views[0]
    order, hidden = method.masks(images, step)
    lengths = []
    method.backbone.blocks.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    encoded = method.encode(images, order)
    assert lengths == [1 + 12]  # cls and a quarter of 49 patches
    noisy = patchify(images, (4, 4))
    noisy[hidden] = 1e3
    blocks = noisy.reshape(8, 7, 7, 4, 4, 1).permute(0, 5, 1, 3, 2, 4).reshape(8, 1, 28, 28)
    torch.testing.assert_close(method.encode(blocks, order), encoded)


def test_masks_are_drawn_per_image_and_agree_across_ranks(method, vit, info, batch, step):
    order, hidden = method.masks(batch.views[0], step)
    assert (hidden.sum(dim=1) == 37).all()
    assert torch.equal(order.sort(dim=1).values, torch.arange(49).expand(8, -1))
    assert len({tuple(row.tolist()) for row in hidden}) == 8
    assert MAE(MAEConfig(mask_ratio=0.8), vit(img_size=20), info).visible == 5
    assert not hidden.gather(1, order[:, :12]).any()
    shares = [method.masks(batch.views[0][:4], dataclasses.replace(step, first=first))[0] for first in (0, 4)]
    assert torch.equal(torch.cat(shares), order)
    assert not torch.equal(method.masks(batch.views[0], dataclasses.replace(step, number=1))[0], order)


def test_loss_counts_hidden_patches_only():
    predicted, target = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    hidden = torch.rand(3, 5) < 0.6
    numpy_error = np.mean((predicted - target).numpy()[hidden.numpy()] ** 2)
    assert float(masked_error(predicted, target, hidden)) == pytest.approx(numpy_error, rel=1e-12)
    predicted[~hidden] = 1e9
    assert float(masked_error(predicted, target, hidden)) == pytest.approx(numpy_error, rel=1e-12)


def test_loss_is_float32_under_autocast(method, batch, step):
    with torch.autocast("cpu", torch.bfloat16):
        assert method(batch, step)["loss"].dtype == torch.float32


def test_patches_are_normalised_with_unbiased_variance():
    patches = torch.randn(2, 3, 16, dtype=torch.float64) * 3 + 1
    values = patches.numpy()
    expected = (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(normalise_patches(patches)[0].numpy(), expected)
    assert normalise_patches(torch.ones(1, 1, 16))[0].abs().max() == 0  # a flat patch asks for nothing


@pytest.mark.parametrize("norm_pix", [True, False])
def test_target_follows_the_setting(norm_pix, vit, info, batch, step):
    method = MAE(MAEConfig(norm_pix=norm_pix), vit(), info)
    order, hidden = method.masks(batch.views[0], step)
    target = patchify(batch.views[0], (4, 4))
    target = normalise_patches(target)[0] if norm_pix else target
    predicted = method.decoder(method.encode(batch.views[0], order), order)
    torch.testing.assert_close(method(batch, step)["loss"], (predicted - target)[hidden].square().mean())


def test_initialisation_is_the_papers(vit, info):
    method = MAE(MAEConfig(decoder_dim=64), vit(reg_tokens=2, embed_dim=192, img_size=56), info)
    backbone = method.backbone
    torch.testing.assert_close(backbone.pos_embed[0, 3:], sincos_positions(14, 14, 192))
    assert backbone.pos_embed[0, :3].abs().max() == 0
    assert not backbone.pos_embed.requires_grad
    for token in (backbone.cls_token, backbone.reg_token, method.decoder.mask_token):
        assert 0.012 < token.std().item() < 0.03
    kernel = backbone.patch_embed.proj.weight  # as a linear layer of 16 inputs and 192 outputs
    bound = (6 / (16 + 192)) ** 0.5
    assert 0.95 * bound < kernel.abs().max().item() <= bound
    linear = backbone.blocks[0].mlp.fc1
    assert 0.95 * (6 / (192 * 5)) ** 0.5 < linear.weight.abs().max().item() <= (6 / (192 * 5)) ** 0.5
    assert linear.bias.abs().max() == 0


def test_weight_decay_spares_one_dimensional_parameters_only(vit, info):
    method = MAE(MAEConfig(), vit(reg_tokens=1), info)
    names = {id(p): name for name, p in method.named_parameters()}
    groups = method.parameter_groups()
    decayed = {names[id(p)] for g in groups if g.weight_decay for p in g.parameters}
    spared = {names[id(p)] for g in groups if not g.weight_decay for p in g.parameters}
    assert {"backbone.cls_token", "backbone.reg_token", "decoder.mask_token"} <= decayed
    assert all(name.endswith(("bias", "norm.weight", "norm1.weight", "norm2.weight")) for name in spared)
    assert decayed | spared | {"backbone.pos_embed"} == set(names.values())


def test_backbone_stays_an_ordinary_timm_model(method):
    plain = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, in_chans=1, img_size=28, patch_size=4, embed_dim=48, depth=2, num_heads=3
    )
    plain.load_state_dict(method.backbone.state_dict())
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(plain.eval()(images), method.backbone.eval()(images))


@pytest.mark.parametrize("norm_pix", [True, False])
def test_pictures_show_what_was_visible_and_what_was_painted(norm_pix, vit, info, batch, step):
    method = MAE(MAEConfig(norm_pix=norm_pix), vit(), info)
    (picture,) = method.pictures(batch, step)
    assert picture.images.shape == (3, 8, 1, 28, 28)
    assert 0 <= picture.images.min() <= picture.images.max() <= 1
    assert list(picture.row_names) == ["original", "masked", "reconstructed"]
    original, masked, painted = (patchify(row, (4, 4)) for row in picture.images)
    torch.testing.assert_close(original, patchify((batch.views[0] * 0.35 + 0.3).clamp(0, 1), (4, 4)))
    hidden = method.masks(batch.views[0], step)[1]
    assert torch.equal(masked[~hidden], original[~hidden])
    assert torch.equal(painted[~hidden], original[~hidden])
    assert (masked[hidden] == masked[hidden][0, 0]).all()


def test_it_learns_to_paint(vit, info, step):
    torch.manual_seed(0)
    method = MAE(MAEConfig(norm_pix=False), vit(), info)
    images = torch.linspace(-2, 2, 28).expand(8, 1, 28, 28) * torch.tensor([1.0, -1.0] * 4).view(8, 1, 1, 1)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    losses = []
    for number in range(60):
        loss = method(Batch([images], torch.arange(8)), dataclasses.replace(step, number=number))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.2 * losses[0]


def test_backbones_and_images_that_cannot_be_masked_are_refused(resnet, vit, info, step):
    with pytest.raises(UserError, match="not this ResNet"):
        MAE(MAEConfig(), resnet(), info)
    with pytest.raises(UserError, match="no attention pooling"):
        MAE(MAEConfig(), vit(global_pool="map"), info)
    with pytest.raises(UserError, match="divisible by 4"):
        MAE(MAEConfig(), vit(embed_dim=42), info)
    with pytest.raises(UserError, match="28x28 pixels are no multiple of 5"):
        MAE(MAEConfig(), vit(patch_size=5), info)
    with pytest.raises(UserError, match="leaves 0 of 4 patches"):
        MAE(MAEConfig(mask_ratio=0.9), vit(patch_size=14), info)
    method = MAE(MAEConfig(), vit(), info)
    with pytest.raises(UserError, match="views of 32x32 pixels, its backbone takes 28x28"):
        method(Batch([torch.randn(8, 1, 32, 32)], torch.arange(8)), step)
    with pytest.raises(ValueError, match="must divide"):
        MAEConfig(decoder_dim=128, decoder_heads=6)

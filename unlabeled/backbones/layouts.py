"""How other projects name a network's tensors: each layout turns their names into timm's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Names = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
Layout = Callable[[Weights, Mapping[str, Tensor]], Weights]
"""``(the file's tensors, the model's tensors) -> the file's tensors under timm's names``."""


def renamed(weights: Weights, names: Names) -> Weights:
    found = {}
    for name, value in weights.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        found[name] = value
    return found


def _by(names: Names = ()) -> Layout:
    return lambda weights, _: renamed(weights, names)


def _sequential(first_stage: int) -> Layout:
    """A ResNet's children in a ``Sequential``: 0 the stem, 1 its norm, and four stages from ``first_stage`` on."""
    places = {"0": "conv1", "1": "bn1", **{str(first_stage + i): f"layer{i + 1}" for i in range(4)}}

    def rename(name: str) -> str:
        number, dot, rest = name.partition(".")
        return f"{places[number]}.{rest.replace('shortcut.', 'downsample.')}" if dot and number in places else name

    return lambda weights, _: {rename(name): value for name, value in weights.items()}


_TORCHVISION_VIT: Names = (
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)
_TRANSFORMERS: Names = (
    (r"^(?:vit|dinov2|dinov3|dinov3_vit|ijepa|deit|model)\.(?=embeddings|encoder|layer|norm)", ""),
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?(weight|bias)$", r"patch_embed.proj.\1"),
    (r"^(?:encoder\.|model\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1_proj."),
    (r"\.attn\.(q|k|v)(?:uery|ey|alue)\.", r".attn.\1_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^layernorm\.", "norm."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"\.mlp\.gate_proj\.", ".mlp.fc1_g."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
_CLIP: Names = (
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^post_layernorm\.", "norm."),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm([12])\.", r".norm\1."),
)
_OPENAI_CLIP: Names = (
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^conv1\.", "patch_embed.proj."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_DINO: Names = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # DINOv2's training keeps its blocks in chunks
    (r"^(?:register|storage)_tokens$", "reg_token"),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_TRANSFORMERS_RESNET: Names = (
    (r"^resnet\.", ""),
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"^encoder\.stages\.(\d)\.layers\.", lambda m: f"layer{int(m[1]) + 1}."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.(\d)\.convolution\.", lambda m: f".conv{int(m[1]) + 1}."),
    (r"\.layer\.(\d)\.normalization\.", lambda m: f".bn{int(m[1]) + 1}."),
)
_TRANSFORMERS_CONVNEXT: Names = (
    (r"^convnext\.", ""),
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.", ""),
    (r"\.downsampling_layer\.", ".downsample."),
    (r"\.layers\.(\d+)\.", r".blocks.\1."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.layernorm\.", ".norm."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"^layernorm\.", "head.norm."),
)


def _transformers(weights: Weights, _: Mapping[str, Tensor]) -> Weights:
    found = renamed(weights, _TRANSFORMERS)
    up = "mlp.fc1_x." if any(".mlp.fc1_g." in name for name in found) else "mlp.fc1."
    return {name.replace("mlp.up_proj.", up): value for name, value in found.items()}


def _efficientnet(weights: Weights, target: Mapping[str, Tensor]) -> Weights:
    """EfficientNet-PyTorch counts its blocks through, timm within each stage."""
    blocks = list(dict.fromkeys(m[1] for name in target if (m := re.match(r"blocks\.(\d+\.\d+)\.", name))))
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    parts = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    unexpanded = {**parts, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    found = {}
    for name, value in weights.items():
        if (m := re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)) and int(m[1]) < len(blocks):
            expanded = f"_blocks.{m[1]}._expand_conv.weight" in weights
            name = f"blocks.{blocks[int(m[1])]}.{(parts if expanded else unexpanded).get(m[2], m[2])}.{m[3]}"
        else:
            first, dot, rest = name.partition(".")
            name = outer.get(first, first) + dot + rest
        found[name] = value
    return found


LAYOUTS: dict[str, Layout] = {
    "timm or torchvision names": _by(),
    "torchvision ViT names": _by(_TORCHVISION_VIT),
    "a torchvision ResNet in a Sequential": _sequential(4),
    "lightly's ResNet in a Sequential": _sequential(2),
    "DINO names": _by(_DINO),
    "transformers names": _transformers,
    "transformers ResNet names": _by(_TRANSFORMERS_RESNET),
    "transformers ConvNeXt names": _by(_TRANSFORMERS_CONVNEXT),
    "transformers CLIP names": _by(_CLIP),
    "CLIP names": _by(_OPENAI_CLIP),
    "EfficientNet-PyTorch names": _efficientnet,
}


def settle(weights: Weights, target: Mapping[str, Tensor]) -> Weights:
    """What differs from model to model under the same names: parts joined, folded or moved to where ``target`` wants.

    Queries, keys and values become one matrix (a bias that only some have is 0 for the others); a class token's place
    in a position table is added to the token where the model's table has none (registers, *Darcet 2023*, as timm builds
    them); a norm after pooling takes the place of the one before; layer scales get Eva's names; missing leading
    dimensions of 1 are put back.
    """
    found = {name: value for name, value in weights.items() if not name.endswith(".bias_mask")}
    _join_attention(found, target)
    for name in target:
        if name in found:
            continue
        if m := re.fullmatch(r"(.*\.)gamma_([12])", name):
            _move(found, f"{m[1]}ls{m[2]}.gamma", name)
        elif name.startswith("fc_norm."):
            _move(found, name.replace("fc_norm.", "norm."), name)
        elif (m := re.fullmatch(r"(.*\.attn)\.([qv])_bias", name)) and f"{m[1]}.qkv.bias" in found:
            found[name] = found[f"{m[1]}.qkv.bias"].chunk(3)[0 if m[2] == "q" else 2]
    for name in ("cls_token", "pos_embed", "reg_token"):
        if name in found and name in target:
            found[name] = found[name].reshape(*[1] * (target[name].ndim - found[name].ndim), *found[name].shape)
    _fold_class_position(found, target)
    for name in [n for n in found if n.endswith("attn.qkv.bias") and n not in target]:
        if not found[name].any() or name.replace("qkv.bias", "q_bias") in target:
            del found[name]  # DINOv3 trains without biases there; some files hold them as zeros
    return found


def _join_attention(weights: Weights, target: Mapping[str, Tensor]) -> None:
    for name in [n for n in target if n.endswith(".qkv.weight") and n not in weights]:
        stem = name.removesuffix("qkv.weight")
        for kind in ("weight", "bias"):
            parts = [weights.pop(f"{stem}{part}_proj.{kind}", None) for part in "qkv"]
            present = [part for part in parts if part is not None]
            if present:
                joined = [torch.zeros_like(present[0]) if part is None else part for part in parts]
                weights[f"{stem}qkv.{kind}"] = torch.cat(joined)


def _move(weights: Weights, old: str, new: str) -> None:
    if old in weights:
        weights[new] = weights.pop(old)


def _fold_class_position(weights: Weights, target: Mapping[str, Tensor]) -> None:
    token, table, wanted = (found.get(name) for found, name in (
        (weights, "cls_token"), (weights, "pos_embed"), (target, "pos_embed")))  # fmt: skip
    if token is None or table is None or wanted is None or table.ndim != 3 or "reg_token" not in target:
        return
    patches, own = table.shape[1] - 1, wanted.shape[1]
    if round(patches**0.5) ** 2 == patches and round(own**0.5) ** 2 == own:
        weights["cls_token"], weights["pos_embed"] = token + table[:, :1], table[:, 1:]

"""Networks for images of 28-96 pixels, registered as timm models.

The classical networks shrink an image 32-fold and see nothing in 28 pixels. The ``*_small`` ResNets have
the stem of the CIFAR literature (3×3 convolution, no max-pool: SimCLR, appendix B.9); ``vgg11_small`` is the
plain VGG11 without BatchNorm or fully connected layers of Sarnthein 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn


class SmallResNet(ResNet):
    """A timm ResNet whose stem is one 3×3 convolution of ``stem_stride`` and no pooling."""

    def __init__(self, *, stem_stride: int = 1, in_chans: int = 3, **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, **kwargs)
        stem = nn.Conv2d(in_chans, 64, 3, stride=stem_stride, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        replaced: dict[str, Any] = {"conv1": stem, "maxpool": nn.Identity()}
        for name, module in replaced.items():
            setattr(self, name, module)
        feature_info: list[dict[str, Any]] = self.feature_info
        for info in feature_info:
            info["reduction"] = info["reduction"] * stem_stride // (2 if info["module"] == "act1" else 4)


class SmallVGG(nn.Module):
    """VGG11's convolutions, ReLUs and max-pools, then global average pooling; no normalisation at all."""

    plan = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")

    def __init__(self, in_chans: int = 3, num_classes: int = 0, global_pool: str = "avg", **_: Any) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.feature_info: list[dict[str, Any]] = []
        width, reduction = in_chans, 1
        for entry in self.plan:
            if isinstance(entry, str):
                # rounding up keeps a last pixel of a 28-pixel image
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
                reduction *= 2
                self.feature_info.append(
                    {"num_chs": width, "reduction": reduction, "module": f"features.{len(layers) - 1}"}
                )
            else:
                layers += [nn.Conv2d(width, entry, 3, padding=1), nn.ReLU(inplace=True)]
                width = entry
        self.features = nn.Sequential(*layers)
        self.num_features = self.head_hidden_size = width
        self.num_classes = num_classes
        self.global_pool = global_pool
        self.fc = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias if module.bias is not None else module.weight.new_zeros(0))

    def forward_features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, 512, H/32, W/32)``."""
        features: Tensor = self.features(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Average the map; ``(B, 512)`` or logits."""
        x = x.mean((2, 3)) if self.global_pool else x
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, 512)`` or logits."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self, x: Tensor, indices: list[int] | int | None = None, intermediates_only: bool = False, **_: Any
    ) -> Any:
        """The maps behind each max-pool, as timm's models give them."""
        ends = [int(info["module"].split(".")[1]) for info in self.feature_info]
        chosen = range(len(ends))[-indices:] if isinstance(indices, int) else (indices or range(len(ends)))
        wanted = {ends[i] for i in chosen}
        maps = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in wanted:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameters make a layer, as timm's models say it: every convolution is one."""
        return {"stem": r"^features\.0", "blocks": r"^features\.(\d+)"}

    def get_classifier(self) -> nn.Module:
        """The last layer, as timm names it."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put another classifier on, as timm names it."""
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


_RESNETS: dict[str, dict[str, Any]] = {
    "resnet10_small": {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (32, 64, 128, 256)},
    "resnet18_small": {"block": BasicBlock, "layers": (2, 2, 2, 2)},
    "resnet34_small": {"block": BasicBlock, "layers": (3, 4, 6, 3)},
    "resnet50_small": {"block": Bottleneck, "layers": (3, 4, 6, 3)},
}
SMALL = (*_RESNETS, "vgg11_small")
"""Names of the small-image networks that ``import unlabeled.backbones`` adds to timm."""

_CFG: dict[str, Any] = {
    "num_classes": 1000,
    "input_size": (3, 32, 32),
    "pool_size": None,
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "license": "apache-2.0",
}


def _register(name: str, model_class: Callable[..., nn.Module], defaults: dict[str, Any], cfg: dict[str, Any]) -> None:
    def entry(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        model: nn.Module = build_model_with_cfg(
            model_class,
            name,
            pretrained,
            pretrained_cfg=pretrained_cfg or {**_CFG, **cfg, "architecture": name},
            pretrained_cfg_overlay=pretrained_cfg_overlay,
            **{**defaults, **kwargs},
        )
        return model

    entry.__name__ = name
    entry.__module__ = __name__
    register_model(entry)


__all__ = ["SMALL", "SmallResNet", "SmallVGG"]  # timm's register_model appends the names it registers
for _name, _layout in _RESNETS.items():
    _register(_name, SmallResNet, _layout, {"first_conv": "conv1", "classifier": "fc"})
_register("vgg11_small", SmallVGG, {}, {"first_conv": "features.0", "classifier": "fc"})

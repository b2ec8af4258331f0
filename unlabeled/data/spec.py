"""What a view of an image is: a declarative list of augmentations, free of torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unlabeled.core.config import Config

Probability = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[tuple[float, float], Field(strict=False)]


class ViewSpec(Config):
    """``count`` random views made the same way; the operations apply in the order of the fields."""

    count: int = Field(1, ge=1, description="how many views are drawn with this specification")
    size: int | None = Field(None, ge=1, description="side of the view in pixels; default: the image's own size")
    crop: Literal["none", "resized", "padded"] = Field(
        "none", description="'resized': random area and aspect ratio; 'padded': zero-pad, then crop"
    )
    scale: Pair = Field((0.08, 1.0), description="range of the cropped area as a fraction of the image ('resized')")
    ratio: Pair = Field((0.75, 4 / 3), description="range of the aspect ratio ('resized')")
    padding: int = Field(4, ge=0, description="pixels added on each side before cropping ('padded')")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    flip: Probability = Field(0.0, description="probability of a horizontal flip")
    rotate: float = Field(0.0, ge=0, le=180, description="largest random rotation in degrees")
    jitter: Probability = Field(0.0, description="probability of colour jitter")
    brightness: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    saturation: float = Field(0.0, ge=0)
    hue: float = Field(0.0, ge=0, le=0.5)
    gray: Probability = Field(0.0, description="probability of dropping colour")
    blur: Probability = Field(0.0, description="probability of a Gaussian blur")
    blur_sigma: Pair = Field(
        (0.1, 2.0),
        description="range of the blur's sigma, in pixels of a 224-pixel view; scaled to the view's size, so that "
        "smaller views lose the same share of detail (one of 32 pixels almost none)",
    )
    solarize: Probability = Field(0.0, description="probability of inverting the pixels above one half")

    @model_validator(mode="after")
    def _ranges(self) -> ViewSpec:
        for name in ("scale", "ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high, not [{low}, {high}]")
        if self.scale[1] > 1:
            raise ValueError(f"scale must lie in (0, 1], not [{self.scale[0]}, {self.scale[1]}]")
        return self

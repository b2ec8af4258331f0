"""What a recipe is: data, views, backbone, method, optimisation, seed; every field typed, every name checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, SerializeAsAny, field_validator, model_validator

from unlabeled.core.config import Config
from unlabeled.core.errors import UserError, nearest
from unlabeled.data.settings import PixelSettings, as_text
from unlabeled.data.spec import ViewSpec
from unlabeled.engine.optim import OptimizerConfig
from unlabeled.ssl.method import MethodConfig
from unlabeled.ssl.methods import METHODS
from unlabeled.ssl.whole_batch import WholeBatchMethod

SCHEMA: Literal[1] = 1


class _Named(Config):
    """Settings that may be given by their name alone: ``data: cifar10``."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class DataConfig(_Named):
    """Which images; labels are never needed to pretrain."""

    name: str = Field("fashion-mini", description="a known name, folder:PATH, csv:FILE, npz:FILE, hfds/…, wds/…, …")
    dir: str | None = Field(None, description="where data sets lie; default: $UNLABELED_DATA and the usual places")
    size: int | None = Field(None, ge=1, le=4096, description="decode to size × size pixels; default: as they are")
    channels: int | None = Field(None, ge=1, le=64, description="1 gray, 3 RGB; default: the data's own")
    range: str | None = Field(None, description="LOW..HIGH: values that become black and white (docs/pixels.md)")
    window: str | None = Field(None, description="the same, cutting off the rest: 0..3000, or percentiles: 1%..99%")
    bands: str | None = Field(None, description="bands to use, from 1: 4,3,2; la or rgba: the last is transparency")
    holdout: float | None = Field(
        None, ge=0, lt=1, description="fraction held out where there is no test split; 0: train on all; default: 0.2"
    )
    label: str | None = Field(None, description="column of a table with the labels; default: label, class, target")
    max_bad_fraction: float = Field(0.01, ge=0, le=1, description="unreadable files tolerated before the run stops")
    store: bool = Field(True, description="decode once and keep the pixels; false: decode again for every batch")
    labels: str | None = Field(None, description="keep only a labelled share: 10% or 5-per-class (fine-tuning)")
    without: str | None = Field(None, description="leave out the forget set of this split.npz (see unlabeled forget)")
    corrupt: str | None = Field(
        None, description="give wrong labels to these images before training: noisy:60%@0-4 (to be forgotten later)"
    )

    @field_validator("range", "window", "bands", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return as_text(value)

    @model_validator(mode="after")
    def _understood(self) -> DataConfig:
        try:
            PixelSettings(self.channels, self.range, self.window, self.bands)
        except UserError as error:
            raise ValueError(str(error)) from error
        return self


class BackboneConfig(_Named):
    """Which timm model."""

    name: str = Field("resnet10_small", description="any timm model, or a *_small network for small images")
    args: dict[str, JsonValue] = Field(default_factory=dict, description="further arguments of the timm model")
    freeze: int = Field(0, ge=0, description="first layers of the weights that stay as they are; 1: the stem")
    lora: int = Field(0, ge=0, description="train additions of this rank to a transformer's matrices, nothing else")
    weights: str | None = Field(None, description="start from this run, folder, timm:NAME or hf-hub:ID")


class FeaturesConfig(Config):
    """Which features of the backbone the probes read where nobody says otherwise."""

    layer: str | None = Field(None, description="an inner stage (see unlabeled probe --layer); default: the embedding")
    pool: Literal["avg", "max", "flat", "cls", "mean"] | None = Field(None, description="how a map becomes a vector")


class HealthConfig(Config):
    """Label-free readings while training, and a kNN reading on training images where labels exist."""

    every: int = Field(1, ge=0, description="epochs between readings; 0: none")
    images: int = Field(2000, ge=100, description="training images that are read")


class HardwareConfig(Config):
    """Where training runs. Under torchrun or srun, the number of processes is theirs (docs/scale.md)."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int = Field(1, ge=1, description="processes (GPUs) on each host; on a single one this command starts them")
    nodes: int = Field(1, ge=1, description="hosts; more than one are started by torchrun or srun")
    timeout: float = Field(600.0, gt=0, description="seconds without an answer after which another rank is given up")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bfloat16 where the hardware multiplies it natively"
    )
    compile: bool = Field(False, description="torch.compile what the method spends its time in")
    checkpoint_activations: bool = Field(
        False, description="compute the backbone's blocks again in the backward pass instead of keeping activations"
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads; default: $OMP_NUM_THREADS, else one a physical core"
    )


class OutputConfig(Config):
    """What a run writes, and how often."""

    log_every: int = Field(20, ge=1, description="steps between rows of metrics.csv")
    save_seconds: float = Field(60.0, ge=0, description="seconds between checkpoints")
    logger: Literal["none", "tensorboard", "wandb", "mlflow"] = Field("none", description="besides the CSV")


class Recipe(Config):
    """A whole pretraining run; written into the run folder as ``recipe.yaml``."""

    schema_version: Literal[1] = SCHEMA
    name: str = "custom"
    data: DataConfig = DataConfig()
    epochs: int = Field(20, ge=0)
    batch_size: int = Field(256, ge=2, description="images in a global batch, over all devices")
    seed: int = Field(0, ge=0, lt=2**63)
    backbone: BackboneConfig = BackboneConfig()
    method: SerializeAsAny[MethodConfig]
    views: Annotated[tuple[ViewSpec, ...], Field(strict=False, min_length=1)] = (ViewSpec(),)
    optimizer: OptimizerConfig = OptimizerConfig()
    on_divergence: Literal["stop", "rollback"] = Field(
        "stop", description="rollback: go back to the epoch's beginning with half the learning rate, five times at most"
    )
    features: FeaturesConfig = FeaturesConfig()
    health: HealthConfig = HealthConfig()
    hardware: HardwareConfig = HardwareConfig()
    output: OutputConfig = OutputConfig()

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            return value
        name = value.get("name")
        if not isinstance(name, str) or name not in METHODS:
            raise ValueError(f"unknown method '{name}'.{nearest(str(name), METHODS)}")
        return METHODS[name].Config.model_validate(dict(value))

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        parts = self.optimizer.accumulate * self.hardware.devices * self.hardware.nodes
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared out equally over {parts} parts "
                "(optimizer.accumulate × hardware.devices × hardware.nodes); choose a multiple"
            )
        method = METHODS[self.method.name]
        if self.optimizer.accumulate > 1 and not (method.accumulates or issubclass(method, WholeBatchMethod)):
            raise ValueError(
                f"the loss of method '{self.method.name}' needs the whole batch at once; set optimizer.accumulate=1"
            )
        if self.backbone.weights is None and (self.backbone.freeze or self.backbone.lora):
            raise ValueError("backbone.freeze and backbone.lora are for backbone.weights, which are missing")
        if self.backbone.weights is not None and METHODS[self.method.name].random_start:
            raise ValueError(
                f"method '{self.method.name}' starts from random weights of its own; leave backbone.weights out"
            )
        return self

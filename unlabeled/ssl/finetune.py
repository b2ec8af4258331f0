"""Fine-tuning: a pretrained backbone and a new classifier, trained with (few) labels.

Layer-wise learning-rate decay as in Clark et al. 2020 (ELECTRA) and He et al. 2021 (MAE, appendix A.1): the
classifier learns at the full rate, each layer below at ``layer_decay`` times the rate of the one above.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from timm.data.mixup import Mixup
from torch import Tensor, nn

from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.ssl.layerwise import layerwise
from unlabeled.ssl.method import Batch, DataInfo, Kept, Method, MethodConfig, ParameterGroup, Step


class FinetuneConfig(MethodConfig):
    name: Literal["finetune"] = "finetune"
    layer_decay: float = Field(0.75, gt=0, le=1, description="learning rate of a layer over that of the one above")
    mixup: float = Field(0.0, ge=0, description="alpha of mixup; 0: none")
    cutmix: float = Field(0.0, ge=0, description="alpha of cutmix; 0: none")
    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    pool: Literal["own", "mean"] = Field("mean", description="transformers: mean of the patch tokens, or their own")


class Finetune(Method):
    """Cross-entropy of a linear classifier, all layers training; mixed labels where asked for."""

    Config = FinetuneConfig
    needs_labels = True

    def __init__(self, config: FinetuneConfig, backbone: nn.Module, info: DataInfo) -> None:
        if info.num_classes is None:
            raise UserError(
                "fine-tuning needs labels and the data has none; sort the images into one folder per class."
            )
        super().__init__(config, backbone, info)
        if config.pool == "mean" and hasattr(backbone, "num_prefix_tokens"):
            # part of the model from here on, so that the saved backbone gives what the classifier reads
            model: Any = backbone
            model.global_pool = "avg"
            model.unlabeled_args = {**getattr(model, "unlabeled_args", {}), "global_pool": "avg", "fc_norm": False}
        self.classifier = nn.Linear(self.embedding_dim, info.num_classes)
        nn.init.trunc_normal_(self.classifier.weight, std=2e-5)
        nn.init.zeros_(self.classifier.bias)
        self.mix: Any = None
        if config.mixup or config.cutmix:
            classes = info.num_classes
            make: Any = Mixup
            self.mix = make(config.mixup, config.cutmix, label_smoothing=config.smoothing, num_classes=classes)

    def parameter_groups(self) -> list[ParameterGroup]:
        """One group a layer; no weight decay on biases, norms, tokens and positions."""
        excepted: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        spared = {id(p) for name, p in self.backbone.named_parameters() if name in excepted}
        trained = [p for p in self.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim > 1 and id(p) not in spared]
        decayed = {id(p) for p in matrices}
        others = [p for p in trained if id(p) not in decayed]
        groups = [ParameterGroup(matrices), ParameterGroup(others, weight_decay=False, adapt=False)]
        return layerwise(groups, self.backbone, self.config.layer_decay)

    def kept(self) -> Kept:
        """The backbone and its classifier."""
        return Kept(self.backbone, classifier=self.classifier)

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Mix (if asked), classify, compare."""
        (view,) = batch.expect_views(1, "finetune")
        assert batch.labels is not None
        target: Tensor = batch.labels
        if self.mix is not None:
            # timm's Mixup draws from numpy's global state: lend it one that is a function of the step
            state = np.random.get_state()
            np.random.seed(rng.derive(step.seed, step.number, step.first, "mix") % 2**32)
            view, target = self.mix(view[: len(view) // 2 * 2], target[: len(target) // 2 * 2])
            np.random.set_state(state)
        logits = self.classifier(self.backbone(view)).float()
        smoothing = self.config.smoothing if target.ndim == 1 else 0.0
        with torch.no_grad():
            truth = target if target.ndim == 1 else target.argmax(1)
            accuracy = (logits.argmax(1) == truth).float().mean()
        return {"loss": F.cross_entropy(logits, target, label_smoothing=smoothing), "accuracy": accuracy}

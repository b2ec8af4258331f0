"""LAF+R: LAF, then the head repaired with a few labels (Shen et al., ICLR 2024)."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.methods.head_only import fit_head
from unlabeled.forgetting.methods.laf import LAF, LAFConfig


class LAFRConfig(LAFConfig):
    """LAF, and how its head is repaired."""

    repair_images: int = Field(default=2000, ge=1, description="labelled images to keep that the repair may read")
    repair_epochs: int = Field(default=20, ge=1)
    repair_lr: float = Field(default=1e-3, gt=0)


class LAFR(Forgetter):
    """LAF+R: after LAF, train only the head on a few labelled images to keep.

    The unlearning itself is LAF's, on data without labels; only the repair reads ``repair_images`` labels.
    """

    name = "laf_r"
    Config = LAFRConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: LAFRConfig | None = None) -> None:
        self.config: LAFRConfig = config or LAFRConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        c = self.config
        plain = LAFConfig(**{name: getattr(c, name) for name in LAFConfig.model_fields})
        model = LAF(plain)._forget(model, data.without_labels(), seed, device, checkpoint)
        labelled = need_labels(data.retain, self.name)
        order = rng.numpy_generator("laf_r", seed).permutation(len(labelled))[: c.repair_images]
        few = labelled.subset(np.sort(order).astype(np.int64))
        head = model.need_head(self.name).requires_grad_(True)
        embeddings = embed_all(model, few, device)
        fit_head(
            head,
            embeddings,
            few.labels.to(device),
            epochs=c.repair_epochs,
            lr=c.repair_lr,
            batch_size=c.batch_size,
            seed=seed,
            stage="laf-repair",
            checkpoint=checkpoint,
        )
        return model

"""LAF+R: LAF, then the head repaired with a few labels (Shen et al., ICLR 2024)."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from unlabeled.core import rng
from unlabeled.core.device import send
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.methods.laf import LAF, LAFConfig
from unlabeled.forgetting.training.supervised import fit_head


class LAFRConfig(LAFConfig):
    """LAF, and how its head is repaired."""

    repair_images: int = Field(default=2000, ge=1, description="labelled retain images that the repair may read")
    repair_epochs: int = Field(default=20, ge=1)
    repair_lr: float = Field(default=1e-3, gt=0)


class LAFR(Forgetter[LAFRConfig]):
    """LAF+R: after LAF, train only the head on a few labelled retain images.

    The unlearning itself is LAF's, on data without labels; only the repair reads ``repair_images`` labels.
    """

    name = "laf_r"
    does = "`laf`, then the classifier repaired with a few labels"
    Config = LAFRConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[LAFRConfig]) -> Classifier:
        c = frame.config
        model = LAF(c)._forget(model, data.without_labels(), frame)
        labelled = need_labels(data.retain, self.name)
        order = rng.numpy_generator("laf_r", frame.seed).permutation(len(labelled))[: c.repair_images]
        few = labelled.subset(np.sort(order).astype(np.int64))
        head = model.need_head(self.name).requires_grad_(True)
        embeddings, labels = embed_all(model, few, frame.device), send(few.labels, frame.device)
        repair = {"epochs": c.repair_epochs, "batch_size": c.batch_size}
        fit_head(head, embeddings, labels, frame, "laf-repair", lr=c.repair_lr, **repair)
        return model

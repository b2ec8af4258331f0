"""Exact forgetting of closed-form heads: sums over samples, from which the forget set is taken out again."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from unlabeled.core.device import send
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.embed import embed_all
from unlabeled.forgetting.frame import ForgetterConfig, Frame
from unlabeled.probes.closed_form import ClosedFormProbe
from unlabeled.probes.lda import LDAProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe

ABSENT = -1e4
"""Bias of a class without retain images: no image is given to it."""


class ExactConfig(ForgetterConfig):
    """Nothing to set: the probe's own defaults."""


class ExactHead(Forgetter[ExactConfig]):
    """Replace the head by a closed-form probe of the embeddings of all images, then take the forget set out of it.

    The new head is, to rounding, the one that the retain images alone would have given. The extractor stays as it
    is: exact for the head, and nothing at all for the embeddings.
    """

    Config = ExactConfig
    needs_labels = True
    needs_head = True
    Probe: ClassVar[type[ClosedFormProbe]]

    def blank(self, model: Classifier) -> Classifier:
        linear = model.linear_layers(self.name)
        return Classifier(model.extractor, nn.Linear(linear[0].in_features, linear[-1].out_features))

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[ExactConfig]) -> Classifier:
        retain, forget = need_labels(data.retain, self.name), need_labels(data.forget, self.name)
        gone = embed_all(model, forget, frame.device).cpu(), forget.labels
        probe = self.Probe().fit(embed_all(model, retain, frame.device).cpu(), retain.labels)
        probe.partial_fit(*gone).forget(*gone)
        weight, bias = probe.linear()
        forgotten = self.blank(model).to(frame.device)
        head = forgotten.last_linear(self.name)
        present = torch.as_tensor(probe.classes_)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.fill_(ABSENT)
            head.weight.index_copy_(0, *(send(part, frame.device) for part in (present, weight.to(head.weight.dtype))))
            head.bias.index_copy_(0, *(send(part, frame.device) for part in (present, bias.to(head.bias.dtype))))
        return forgotten


class ExactNMC(ExactHead):
    """Nearest class mean."""

    name = "nmc"
    does = "nearest class mean as classifier, from which the images are subtracted exactly"
    Probe = NearestMeanProbe


class ExactLDA(ExactHead):
    """Linear discriminant analysis."""

    name = "lda"
    does = "linear discriminant analysis as classifier, from which the images are subtracted exactly"
    Probe = LDAProbe


class ExactRidge(ExactHead):
    """Ridge regression."""

    name = "ridge"
    does = "ridge regression as classifier, from which the images are subtracted exactly"
    Probe = RidgeProbe

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from unlabeled.core.errors import UserError
from unlabeled.ssl.method import Batch
from unlabeled.ssl.random_init import RandomConfig, RandomInit
from unlabeled.ssl.supervised import Supervised, SupervisedConfig


def test_supervised_is_cross_entropy_on_the_labels(resnet, info, step):
    method = Supervised(SupervisedConfig(), resnet(), info)
    view, labels = torch.randn(4, 1, 28, 28), torch.tensor([0, 9, 3, 3])
    logged = method(Batch([view], torch.arange(4), labels), step)
    logits = method.classifier(method.backbone(view))
    torch.testing.assert_close(logged["loss"], F.cross_entropy(logits, labels))
    torch.testing.assert_close(logged["accuracy"], (logits.argmax(1) == labels).float().mean())
    assert method.needs_labels
    logged["loss"].backward()
    assert all(p.grad is not None for p in method.parameters())


def test_supervised_refuses_data_without_labels(resnet, info):
    with pytest.raises(UserError, match="needs labels"):
        Supervised(SupervisedConfig(), resnet(), dataclasses.replace(info, num_classes=None))


def test_random_keeps_the_initialisation_and_refuses_to_train(resnet, info, step):
    backbone = resnet()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    method = RandomInit(RandomConfig(), backbone, info)
    assert all(torch.equal(value, before[name]) for name, value in method.backbone.state_dict().items())
    assert [name for name, _ in method.named_parameters() if not name.startswith("backbone.")] == []
    with pytest.raises(UserError, match="epochs=0"):
        method(Batch([torch.randn(4, 1, 28, 28)], torch.arange(4)), step)

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unlabeled.ssl.finetune import Finetune, FinetuneConfig
from unlabeled.ssl.method import Batch


def test_each_layer_learns_at_a_share_of_the_rate_of_the_one_above(vit, info):
    method = Finetune(FinetuneConfig(layer_decay=0.5), vit(), info)
    groups = method.parameter_groups()
    scale = {id(p): group.lr_scale for group in groups for p in group.parameters}
    assert len(scale) == len(list(method.parameters())), "every parameter once"

    def of(name: str) -> float:
        return scale[id(dict(method.named_parameters())[name])]

    assert of("classifier.weight") == 1.0
    assert of("backbone.norm.weight") == of("backbone.blocks.1.mlp.fc1.weight") == 0.5
    assert of("backbone.blocks.0.mlp.fc1.weight") == 0.25
    assert of("backbone.patch_embed.proj.weight") == of("backbone.pos_embed") == 0.125
    kept = {id(p): group.weight_decay for group in groups for p in group.parameters}
    assert not kept[id(method.backbone.blocks[0].norm1.weight)]
    assert kept[id(method.backbone.blocks[0].mlp.fc1.weight)]


def test_layers_of_a_resnet_learn_at_falling_rates(resnet, info):
    method = Finetune(FinetuneConfig(layer_decay=0.5), resnet(), info)
    scale = {id(p): group.lr_scale for group in method.parameter_groups() for p in group.parameters}
    stem, first, last = (
        scale[id(p)]
        for p in (
            next(method.backbone.conv1.parameters()),
            method.backbone.layer1[0].conv1.weight,
            method.backbone.layer4[0].conv1.weight,
        )
    )
    assert stem < first < last < 1


def test_transformers_are_pooled_by_their_mean_or_as_they_were(vit, info):
    images = torch.randn(2, 1, 28, 28)
    own, mean = vit().eval(), Finetune(FinetuneConfig(), vit(), info).backbone.eval()
    assert torch.allclose(mean(images), own.forward_features(images)[:, 1:].mean(1), atol=1e-5)
    kept = Finetune(FinetuneConfig(pool="own"), vit(), info).backbone.eval()
    assert torch.equal(kept(images), own(images))


@pytest.mark.parametrize("mixing", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_images_and_labels_are_mixed_in_the_same_shares(resnet, info, step, mixing):
    method = Finetune(FinetuneConfig(**mixing), resnet(), info)
    seen = []
    method.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    ones, labels = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 28, 28).clone(), torch.arange(8)
    state = np.random.get_state()
    logged = method(Batch([ones.clone()], torch.arange(8), labels), step)
    again = method(Batch([ones.clone()], torch.arange(8), labels), step)
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True)), "left as it was"
    assert torch.equal(seen[0], seen[1]), "a function of the step"
    # image i is i everywhere: its mean says how much of it and how much of its partner, 7 - i, is there
    share = (seen[0].mean((1, 2, 3)) - (7 - labels)) / (2 * labels - 7)
    assert torch.allclose(share, share[0].expand(8), atol=1e-4)
    assert 0 <= float(share[0]) < 1
    target = share[:1] * F.one_hot(labels, 10) + (1 - share[:1]) * F.one_hot(7 - labels, 10)
    logits = method.classifier(method.backbone(seen[0]))
    torch.testing.assert_close(logged["loss"], F.cross_entropy(logits, target), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logged["loss"], again["loss"])

"""Layers of a network: their embeddings in one pass, their CKA with those of another."""

import pytest
import torch

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.backbones.features import layer_names
from unlabeled.core.errors import UserError
from unlabeled.evaluation.layers import layer_embeddings, layerwise_cka
from unlabeled.probes.similarity import unbiased_cka

IMAGES = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(name, seed=0, **args):
    return backbones.create(name, in_chans=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, seed=seed, **args)


@pytest.mark.parametrize(("name", "args"), [("resnet10t", {}), ("vit_tiny_patch16_224", {"depth": 2})])
def test_embeddings_are_those_of_the_layers_read_one_by_one(name, args):
    model = network(name, **args)
    found = layer_embeddings(Backbone(model), IMAGES, batch_size=10)
    assert list(found) == layer_names(model)
    for layer, rows in found.items():
        assert torch.allclose(rows, Backbone(model, layer, "avg").embed(IMAGES), atol=1e-5), layer


def test_every_layer_is_compared_with_every_other():
    first, second = (layer_embeddings(Backbone(network("resnet10t", seed)), IMAGES) for seed in (0, 1))
    own, cross = layerwise_cka(first, first), layerwise_cka(first, second)
    assert torch.allclose(own.diagonal(), torch.ones(len(own), dtype=torch.float64))
    assert torch.allclose(own, own.T)
    names = list(first)
    assert cross[0, 2] == pytest.approx(unbiased_cka(first[names[0]], second[names[2]]))
    assert not torch.allclose(cross, own)


def test_bad_input():
    with pytest.raises(UserError, match="same images"):
        layerwise_cka({"a": torch.rand(12, 2)}, {"a": torch.rand(13, 2)})
    model = Backbone(network("resnet10t"))
    model.model.feature_info = None
    with pytest.raises(UserError, match="no layers"):
        layer_embeddings(model, IMAGES)

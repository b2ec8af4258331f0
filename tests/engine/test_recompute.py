"""Parts and checkpointed blocks give the gradients of the plain pass, and leave the same state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from unlabeled import backbones
from unlabeled.core.errors import UserError
from unlabeled.engine.recompute import InParts, checkpoint_activations, statistics_stay
from unlabeled.engine.syncnorm import synchronise_batchnorm
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.methods import METHODS
from unlabeled.ssl.whole_batch import WholeBatchMethod

INFO = DataInfo(num_images=64, channels=1, height=8, width=8, num_classes=3)
STEP = Step(number=7, per_epoch=4, total=40, seed=0, batch_size=12)
SETTINGS: dict[str, dict[str, Any]] = {
    "gsimclr": {},
    "moco": {"queue": 24},
    "mocov3": {"hidden_dim": 16},
    "nnclr": {"queue": 12, "hidden_dim": 16, "predictor_dim": 16},
    "byol": {"hidden_dim": 16},
    "simsiam": {"projection_dim": 16},
    "swav": {"prototypes": 6, "queue": 12},
    "ibot": {"output_dim": 12, "hidden_dim": 16, "bottleneck_dim": 8},
    "dinov2": {"output_dim": 12, "hidden_dim": 16, "bottleneck_dim": 8},
}
WHOLE = sorted(name for name, method in METHODS.items() if issubclass(method, WholeBatchMethod))


def build(name: str) -> WholeBatchMethod:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"in_chans": 1, "image_size": 8, "mean": (0.5,), "std": (0.5,)}
    if name in ("ibot", "dinov2"):
        small = {"patch_size": 2, "embed_dim": 16, "depth": 1, "num_heads": 2}
        backbone = backbones.create("vit_tiny_patch16_224", **shape, **small)
    else:
        backbone = backbones.create("resnet10_small", **shape, layers=(1, 1, 1, 1), channels=(4, 4, 8, 8))
    settings = SETTINGS.get(name, {"projection_dim": 8})
    found = METHODS[name](METHODS[name].Config(**settings), backbone, INFO).double()
    assert isinstance(found, WholeBatchMethod)
    return found


def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    views = [torch.randn(12, 1, 8, 8, generator=draw, dtype=torch.float64) for _ in range(2)]
    return Batch(views, torch.arange(12), torch.arange(12) % 3)


def gradients(network: nn.Module, *inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
    network.zero_grad()
    loss = network(*inputs)["loss"]
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", WHOLE)
def test_parts_give_the_gradients_of_the_whole_batch(name: str) -> None:
    method = build(name).eval()  # BatchNorm, which sees the parts one by one, by its running statistics
    loss, expected = gradients(method, batch(), STEP)
    method.after_step(STEP)
    whole = copy.deepcopy(method.state_dict())
    for parts in (2, 6):
        split = build(name).eval()
        found_loss, found = gradients(InParts(split, parts), batch(), STEP)
        split.after_step(STEP)
        torch.testing.assert_close(found_loss, loss, rtol=1e-9, atol=1e-12)
        assert found.keys() == {f"method.{key}" for key in expected}
        for key, gradient in expected.items():
            torch.testing.assert_close(found[f"method.{key}"], gradient, rtol=1e-6, atol=1e-10)
        for key, value in split.state_dict().items():  # queues and teachers, too
            torch.testing.assert_close(value, whole[key])


def test_running_statistics_move_once_a_part() -> None:
    method = build("simclr").train()
    gradients(InParts(method, 3), batch(), STEP)
    counts = {int(m.num_batches_tracked) for m in method.modules() if isinstance(m, nn.BatchNorm2d)}
    assert counts == {3}


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    small = {"img_size": 8, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "in_chans": 1}
    return {
        "resnet": timm.create_model("resnet10t", num_classes=0, in_chans=1),
        "vit": timm.create_model(
            "vit_tiny_patch16_224", num_classes=0, drop_path_rate=0.5, proj_drop_rate=0.3, **small
        ),
        "vgg": timm.create_model("vgg11_small", num_classes=0, in_chans=1),
    }


@pytest.mark.parametrize("name", ["resnet", "vit"])
@pytest.mark.parametrize("synchronised", [False, True])
def test_checkpointed_blocks_give_the_same_gradients_and_statistics(name: str, synchronised: bool) -> None:
    plain = networks()[name].double().train()
    spared = copy.deepcopy(plain)
    checkpoint_activations(spared)
    if synchronised:
        synchronise_batchnorm(spared)
    images = torch.randn(6, 1, 8, 8, dtype=torch.float64) if name == "vit" else torch.randn(6, 1, 32, 32).double()
    for network in (plain, spared):
        torch.manual_seed(3)  # dropout and stochastic depth
        network(images).square().sum().backward()
    for own, other in zip(plain.parameters(), spared.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(spared.state_dict()[key], value)
    assert spared.state_dict().keys() == plain.state_dict().keys()


def test_blocks_are_computed_again_in_training_only() -> None:
    network = networks()["vit"]
    checkpoint_activations(network)
    calls = []
    network.blocks[0].attn.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr,index]
    network.train()(torch.randn(2, 1, 8, 8)).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        network(torch.randn(2, 1, 8, 8))
    network.eval()(torch.randn(2, 1, 8, 8)).sum().backward()
    assert len(calls) == 4


def test_a_copy_of_a_checkpointed_network_is_its_own() -> None:
    network = networks()["resnet"]
    checkpoint_activations(network)
    other = copy.deepcopy(network).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert float(other(torch.randn(4, 1, 32, 32)).detach().abs().sum()) > 0


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="computes blocks again and this SmallVGG has none"):
        checkpoint_activations(networks()["vgg"])


def test_statistics_stay_and_move_again() -> None:
    norm = nn.BatchNorm2d(3)
    with statistics_stay(norm):
        norm(torch.randn(4, 3, 2, 2))
    assert int(norm.num_batches_tracked or 0) == 0
    norm(torch.randn(4, 3, 2, 2))
    assert int(norm.num_batches_tracked or 0) == 1

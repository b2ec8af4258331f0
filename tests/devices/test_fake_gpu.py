"""The fake GPU finds what a real one would stumble over, and its backward pass is that of torch."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.cpu(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.index_put_((x > 0,), x.new_zeros(())),
        lambda x: x + torch.ones(4),
    ],
    ids=["item", "bool", "cpu", "nonzero", "mask", "masked_select", "masked write", "left on the host"],
)
def test_faults_are_found(act: object, fake: ModuleType) -> None:
    with fake.fake_gpu():
        x = torch.zeros(4, device=fake.GPU)
        with pytest.raises(Exception, match=r"read|copy back|mask|dynamic|data-dependent|nonzero|device"):
            act(x)  # type: ignore[operator]


def test_a_copy_from_memory_that_is_not_pinned_is_noted(fake: ModuleType) -> None:
    with fake.fake_gpu() as gpu:
        torch.ones(4).pin_memory().to(fake.GPU)
        assert not gpu.unpinned
        torch.ones(4).to(fake.GPU)
        assert gpu.unpinned == {("in the test", (4,))}


def test_what_is_on_the_host_is_computed(fake: ModuleType) -> None:
    with fake.fake_gpu():
        assert (torch.ones(4) * 2).sum().item() == 8


def test_the_backward_pass_is_that_of_torch(fake: ModuleType) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).double()

    def loss() -> torch.Tensor:
        out = network(torch.arange(128.0, dtype=torch.float64).view(2, 1, 8, 8) / 128)
        return (out.logsumexp(1) - out[:, 0]).mean() + out.square().sum()

    expected = torch.autograd.grad(loss(), list(network.parameters()))
    fake.backward(loss())
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)

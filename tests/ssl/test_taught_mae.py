"""DMAE and self-distillation: both losses by their formulas, what teachers see, what is refused, runs that go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.backbones.tokens import encode
from unlabeled.core.errors import UserError
from unlabeled.ssl.dmae import DMAE, DMAEConfig, token_distance
from unlabeled.ssl.frozen import FrozenTeacher
from unlabeled.ssl.mae import MAE, MAEConfig
from unlabeled.ssl.method import Batch, DataInfo, Step
from unlabeled.ssl.self_distill import SelfDistill, SelfDistillConfig, hidden_distance
from unlabeled.verbs.pretrain import pretrain

SMALL: dict[str, Any] = {"patch_size": 4, "embed_dim": 48, "depth": 4, "num_heads": 3}
PLAIN = {"decoder_dim": 32, "decoder_depth": 1}


def frozen(channels: int = 1, size: int = 28, **options: Any) -> FrozenTeacher:
    values = {"mean": [0.4] * channels, "std": [0.2] * channels}
    model = backbones.create(
        "vit_tiny_patch16_224", in_chans=channels, image_size=size, seed=3, **values, **{**SMALL, **options}
    )
    reads = Backbone(model).eval()
    return FrozenTeacher(reads, reads, "theirs", "digest")


@pytest.fixture
def batch() -> Batch:
    return Batch([torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))], torch.arange(8))


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", img_size=28, in_chans=1, num_classes=0, **SMALL)


def dmae(info: DataInfo, teacher: FrozenTeacher, **settings: Any) -> DMAE:
    torch.manual_seed(0)
    return DMAE(DMAEConfig(teacher="theirs", **PLAIN, **settings), backbone(), info, [teacher])


def self_distill(info: DataInfo, teacher: FrozenTeacher, **settings: Any) -> SelfDistill:
    torch.manual_seed(0)
    return SelfDistill(SelfDistillConfig(teacher="theirs", **PLAIN, **settings), backbone(), info, [teacher])


def test_distances_are_their_formulas() -> None:
    a, b = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    exact = (a.double() - b.double()).numpy()
    assert float(token_distance(a, b)) == pytest.approx(np.abs(exact).mean(), rel=1e-6)
    assert float(hidden_distance(a, b)) == pytest.approx((exact**2).mean(), rel=1e-6)


def test_without_weight_they_are_mae(info: DataInfo, batch: Batch, step: Step) -> None:
    torch.manual_seed(0)
    plain = MAE(MAEConfig(**PLAIN), backbone(), info)
    wanted = plain(batch, step)["loss"]
    for method in (dmae(info, frozen(), alpha=0), self_distill(info, frozen(), weight=0)):
        method.backbone.load_state_dict(plain.backbone.state_dict())
        method.decoder.load_state_dict(plain.decoder.state_dict())
        torch.testing.assert_close(method(batch, step)["loss"], wanted)


def test_dmae_compares_the_visible_patches_behind_three_quarters_of_the_blocks(
    info: DataInfo, batch: Batch, step: Step
) -> None:
    teacher = frozen(channels=3, size=56, patch_size=8, embed_dim=96, depth=8)  # colour, larger, deeper, wider
    method = dmae(info, teacher, alpha=0.5)
    assert (method.own_block, method.their_block) == (3, 6)
    caught: dict[str, torch.Tensor] = {}
    vit: Any = teacher.network
    for name, block in (("ours", method.backbone.blocks[2]), ("theirs", vit.blocks[5])):
        block.register_forward_hook(lambda _, __, out, name=name: caught.update({name: out}))
    vit.blocks[6].register_forward_hook(lambda *_: pytest.fail("a block above the one that is compared"))
    out = method(batch, step)
    assert [len(tokens[0]) for tokens in caught.values()] == [1 + method.visible] * 2
    projected = method.project(caught["ours"][:, 1:])
    told = (projected - caught["theirs"][:, 1:]).abs().mean()
    torch.testing.assert_close(out["told"], told.detach())
    torch.testing.assert_close(out["loss"].detach(), out["painted"] + 0.5 * told.detach())
    out["loss"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for name, p in method.named_parameters() if p.requires_grad), "all of it learns"
    assert not any("teacher" in name for name in method.state_dict())


def test_self_distillation_compares_whole_images(info: DataInfo, batch: Batch, step: Step) -> None:
    teacher = frozen()
    method = self_distill(info, teacher, weight=2.0).eval()
    out = method(batch, step)
    pixels = batch.views[0] * info.std[0] + info.mean[0]
    seen = (pixels.clamp(0, 1) - 0.4) / 0.2
    vit: Any = teacher.network
    told = (encode(method.backbone, batch.views[0]) - encode(vit, seen)).square().mean()
    torch.testing.assert_close(out["told"], told.detach())
    torch.testing.assert_close(out["loss"].detach(), out["painted"] + 2 * told.detach())
    out["loss"].backward()
    assert all(p.grad is None for p in teacher.parameters())


def test_teachers_that_do_not_fit_are_refused(info: DataInfo) -> None:
    with pytest.raises(UserError, match=r"into 14x14 patches, the student 7x7; set method\.size=28"):
        dmae(info, frozen(size=56))
    net = Backbone(backbones.create("resnet10_small", in_chans=1, image_size=28, mean=[0.4], std=[0.2])).eval()
    resnet = FrozenTeacher(net, net, "theirs", "digest")
    for make in (dmae, self_distill):
        with pytest.raises(UserError, match=r"not this SmallResNet; set method\.teacher"):
            make(info, resnet)
    with pytest.raises(UserError, match=r"has 49 patches of 96 numbers, the student 49 of 48"):
        self_distill(info, frozen(embed_dim=96))


def test_runs_go_on_from_the_same_weights(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    first = backbones.create("vit_tiny_patch16_224", in_chans=1, image_size=16, mean=[0.5], std=[0.5], seed=1, **SMALL)
    backbones.save(first, tmp_path / "first")
    quick = ("epochs=1", "batch_size=16", "health.every=0", "output.logger=none", "optimizer.warmup_epochs=0")
    given = (f"data=npz:{tmp_path / 'images.npz'}", f"backbone.weights={tmp_path / 'first'}", *quick)
    further = pretrain("mae", tmp_path / "further", overrides=given)
    for name in ("self_distill", "dmae"):
        size = ("method.size=16",) if name == "dmae" else ()
        run = pretrain(name, tmp_path / name, overrides=(*given, f"method.teacher={further.folder}", *size))
        step = backbones.read_lineage(run.backbone)[-1]
        assert (step.did, step.source) == (name, str(tmp_path / "first"))
        assert step.teachers[0].startswith(str(further.folder))

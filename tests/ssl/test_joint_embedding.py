"""What all methods that compare views of an image have in common, and the few things that are each one's own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.ssl.method import Batch
from unlabeled.ssl.methods import METHODS
from unlabeled.ssl.teacher import MomentumTeacher, momentum_at

SMALL = {
    "simclr": {"projection_dim": 8},
    "gsimclr": {"projection_dim": 8},
    "ncl": {"projection_dim": 8},
    "moco": {"projection_dim": 8, "queue": 24},
    "mocov3": {"projection_dim": 8, "hidden_dim": 16},
    "nnclr": {"projection_dim": 8, "hidden_dim": 16, "predictor_dim": 16, "queue": 16},
    "byol": {"projection_dim": 8, "hidden_dim": 16},
    "simsiam": {"projection_dim": 16, "predictor_dim": 8},
    "barlow_twins": {"projection_dim": 16},
    "vicreg": {"projection_dim": 16},
    "lejepa": {"projection_dim": 8, "hidden_dim": 16},
    "visreg": {"projection_dim": 8, "hidden_dim": 16},
    "dino": {"output_dim": 16, "hidden_dim": 16, "bottleneck_dim": 8, "freeze_epochs": 0},
    "supcon": {"projection_dim": 8},
    "sla": {},
}
TAUGHT = ("moco", "mocov3", "byol", "dino")
ANY_NUMBER = ("lejepa", "visreg", "dino")


class Pixels(nn.Module):
    """A linear backbone: every image has an embedding of its own, or all have the same."""

    num_features = 16

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, 16)
        if blind:
            nn.init.zeros_(self.linear.weight)

    def forward(self, images):
        return self.linear(images.flatten(1))


def build(name, info, backbone=None, **settings):
    torch.manual_seed(1)
    config = METHODS[name].Config(**{**SMALL[name], **settings})
    return METHODS[name](config, backbone or Pixels(), info).train()


def batch(name, size=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(size, 1, 8, 8, generator=generator)
    count = 1 if name == "sla" else 2
    views = [image + 0.1 * torch.randn(size, 1, 8, 8, generator=generator) for _ in range(count)]
    return Batch(views, torch.arange(size), torch.arange(size) % 10)


def logged(method, name, step):
    return {key: float(value.detach()) for key, value in method(batch(name), step).items()}


@pytest.mark.parametrize("name", SMALL)
def test_a_blind_backbone_is_called_collapsed_and_a_seeing_one_is_not(name, info, step):
    blind, seeing = build(name, info, Pixels(blind=True)), build(name, info)
    said = blind.warnings(logged(blind, name, step), step)
    assert said is not None
    assert "collapsed" in said or (name == "ncl" and "answer to no image" in said)
    assert "optimizer.lr" in said  # and what to do
    assert seeing.warnings(logged(seeing, name, step), step) is None


def test_one_neighbour_for_all_is_named(info, step):
    method = build("nnclr", info)
    assert "same neighbour" in (method.warnings({"neighbours_used": 0.01, "spread": 1.0}, step) or "")


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_everything_that_is_trained_and_nothing_else(name, info, step):
    method = build(name, info)
    method(batch(name), step)["loss"].backward()
    for parameter in method.parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
        else:
            assert parameter.grad is None
    grouped = [p for group in method.parameter_groups() for p in group.parameters]
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters() if p.requires_grad}
    assert len(grouped) == len({id(p) for p in grouped})


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ANY_NUMBER])
def test_other_numbers_of_views_are_refused(name, info, step):
    wrong = Batch([torch.zeros(4, 1, 8, 8)] * 3, torch.arange(4), torch.arange(4))
    with pytest.raises(UserError, match=f"the method '{name}' learns from . views? of each image"):
        build(name, info)(wrong, step)


@pytest.mark.parametrize("name", ["lejepa", "visreg"])
def test_one_view_agrees_with_nothing(name, info, step):
    with pytest.raises(UserError, match="'count' in the recipe's 'views' to 2 or more"):
        build(name, info)(Batch([torch.zeros(4, 1, 8, 8)], torch.arange(4)), step)


@pytest.mark.parametrize("name", ["moco", "nnclr"])
def test_a_queue_smaller_than_a_batch_is_refused(name, info):
    with pytest.raises(UserError, match="queue 16 holds less than one batch of 32"):
        build(name, info, queue=16).check(32)
    build(name, info, queue=32).check(32)


@pytest.mark.parametrize("name", ["sla"])
def test_labels_are_needed(name, info):
    with pytest.raises(UserError, match="needs labels"):
        build(name, dataclasses.replace(info, num_classes=None))


@pytest.mark.parametrize("name", TAUGHT)
@pytest.mark.parametrize("keep", ["student", "teacher"])
def test_teachers_follow_and_both_are_kept(name, keep, info, step):
    method = build(name, info, keep=keep)
    before = {key: value.clone() for key, value in method.teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in (*method.backbone.parameters(), *method.head.parameters()):
            parameter.add_(1.0)
    now = dataclasses.replace(step, number=40)
    method.after_step(now)
    passed = 1 - momentum_at(now, method.config.momentum, method.config.momentum_end)
    assert isinstance(method.teacher, MomentumTeacher)
    for key, value in method.teacher.named_parameters():
        torch.testing.assert_close(value.detach(), before[key] + passed)
    kept = method.kept()
    backbone, other = method.backbone, method.teacher.backbone
    assert (kept.backbone, *kept.beside.values()) == ((backbone, other) if keep == "student" else (other, backbone))


@pytest.mark.parametrize("name", ["moco", "nnclr"])
def test_queues_hold_the_latest_projections_and_survive_a_checkpoint(name, info, step):
    method = build(name, info, queue=40)
    pushed = []
    for seed in range(2):
        method(batch(name, seed=seed), step)
        pushed.append(method.latest)
        method.after_step(dataclasses.replace(step, number=seed + 1))
    torch.testing.assert_close(method.queue.rows[0], torch.cat(pushed[::-1])[:40])
    torch.testing.assert_close(method.queue.rows[0].norm(dim=1), torch.ones(40))
    resumed = build(name, info, queue=40)
    resumed.load_state_dict(method.state_dict())
    one, two = method(batch(name, seed=9), step), resumed(batch(name, seed=9), step)
    assert torch.equal(one["loss"], two["loss"])


@pytest.mark.parametrize("rule", ["direct", "directcopy", "orthogonal", "projection"])
def test_byols_computed_predictors_see_both_views(rule, info, step):
    method = build("byol", info, predictor=rule, predictor_memory=0.0)
    representations = method.represent(batch("byol"), step)
    method.compare(representations, batch("byol"), step)
    method.after_step(dataclasses.replace(step, number=1))
    z1, z2, t1, t2 = representations.detach().unbind(1)
    torch.testing.assert_close(method.predictor.own, (z1.T @ z1 + z2.T @ z2) / 48)
    torch.testing.assert_close(method.predictor.cross, (t2.T @ z1 + t1.T @ z2) / 48)


def test_simsiams_predictor_keeps_its_rate_and_the_loss_is_the_mean_cosine(info, step):
    method = build("simsiam", info)
    constant = {id(p) for group in method.parameter_groups() if group.constant_rate for p in group.parameters}
    assert constant == {id(p) for p in method.predictor.parameters()}
    z1, z2 = method.represent(batch("simsiam"), step).unbind(1)
    expected = -sum(
        torch.cosine_similarity(method.predictor(a), b).mean() for a, b in ((z1, z2), (z2, z1))
    ) / 2  # fmt: skip
    torch.testing.assert_close(method(batch("simsiam"), step)["loss"], expected)


def test_mocov3_leaves_the_patches_of_a_transformer_as_they_were_drawn(vit, info):
    method = build("mocov3", info, vit())
    assert not any(p.requires_grad for p in method.backbone.patch_embed.parameters())
    assert all(p.requires_grad for p in method.backbone.blocks.parameters())
    free = build("mocov3", info, vit(), freeze_patches=False)
    assert all(p.requires_grad for p in free.backbone.parameters())


def test_lejepas_smaller_views_are_not_global(info, step, resnet):
    method = build("lejepa", info, resnet())
    views = [torch.randn(4, 1, size, size) for size in (28, 28, 20)]
    z = method.represent(Batch(views, torch.arange(4)), step)
    found = method.compare(z, Batch(views, torch.arange(4)), step)["agreement"]
    centre = (z[:, 0] + z[:, 1]) / 2
    torch.testing.assert_close(found, (z - centre[:, None]).square().mean().detach())


def test_directions_are_new_each_step_and_the_same_for_all_ranks(step):
    from unlabeled.ssl.lejepa import directions

    cpu = torch.device("cpu")
    one, other = directions(step, 8, 5, cpu), directions(dataclasses.replace(step, number=1), 8, 5, cpu)
    torch.testing.assert_close(one.norm(dim=0), torch.ones(5))
    assert not torch.equal(one, other)
    assert torch.equal(one, directions(dataclasses.replace(step, first=4), 8, 5, cpu))


def test_slas_joint_labels_are_class_and_turn_and_its_classifier_the_upright_rows(info, step):
    method = build("sla", info, Pixels())
    one = batch("sla")
    images = torch.stack([torch.rot90(one.views[0], turns, dims=(2, 3)) for turns in range(4)], dim=1).flatten(0, 1)
    logits = method.head(method.backbone(images))
    joint = torch.tensor([4 * (i % 10) + r for i in range(24) for r in range(4)])
    torch.testing.assert_close(method(one, step)["loss"], nn.functional.cross_entropy(logits, joint))
    classifier = method.kept().classifier
    upright = method.backbone(one.views[0])
    torch.testing.assert_close(classifier(upright), method.head(upright)[:, ::4])
    assert (classifier.in_features, classifier.out_features) == (16, 10)

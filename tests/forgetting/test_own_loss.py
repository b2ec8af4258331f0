"""Forgetting in an encoder alone, with the self-supervised loss that it was trained with."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlabeled.core.errors import UserError
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.forgetting import epochs
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.epochs import Checkpoint, Epoch
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import UnlabelledImages
from unlabeled.forgetting.methods import METHODS, forgetter_class
from unlabeled.forgetting.methods.alignment_calibration import alignment
from unlabeled.forgetting.own_loss import OwnLoss
from unlabeled.forgetting.training.objective import train_on_retain
from unlabeled.forgetting.training.own import OwnTraining
from unlabeled.ssl.method import DataInfo
from unlabeled.ssl.moco import MoCo, MoCoConfig
from unlabeled.ssl.rotation import Rotation, RotationConfig
from unlabeled.ssl.simclr import SimCLR, SimCLRConfig

TAKE_IT = sorted(name for name in METHODS if forgetter_class(name).own_loss)


def build(name: str, **settings: object) -> AnyForgetter:
    method = forgetter_class(name)
    return method(method.Config(**settings))


@pytest.fixture(scope="module")
def encoder(net: Callable[..., Classifier]) -> Classifier:
    extractor = net().extractor
    extractor.num_features = 16
    return Classifier(extractor).eval()


@pytest.fixture(scope="module")
def own(encoder: Classifier) -> OwnLoss:
    torch.manual_seed(0)
    info = DataInfo(360, 1, 8, 8, mean=(0.4,), std=(0.2,))
    method = SimCLR(SimCLRConfig(projection_dim=8), encoder.copy().extractor, info)
    return OwnLoss(method, Views([ViewSpec(count=2, crop="padded", flip=0.5)], (0.4,), (0.2,)), steps=70, per_epoch=7)


@pytest.fixture(scope="module")
def learned(encoder: Classifier, data: ForgetData) -> tuple[Classifier, ForgetData]:
    """The encoder when it has learnt to tell how images were turned, and those images, with that loss."""
    torch.manual_seed(0)
    rotation = Rotation(RotationConfig(), encoder.copy().extractor, DataInfo(96, 1, 8, 8))
    start = OwnLoss(rotation, Views([ViewSpec()], (0.4,), (0.2,)), steps=0, per_epoch=3)
    training = OwnTraining(start, encoder.copy(), Frame(TrainConfig()))
    few = few_of(data)
    everything = UnlabelledImages(
        few.retain._pixels, few.retain.preprocess, np.sort([*few.retain.rows, *few.forget.rows])
    )
    trained = train_on_retain(training, everything, Frame(TrainConfig(epochs=40, lr=1e-2)), "pretraining")
    return trained, replace(few, own=replace(start, method=training.method))


def few_of(data: ForgetData) -> ForgetData:
    """64 retain images of two classes, and 32 forget images of the third."""
    return ForgetData(data.retain.subset(np.arange(64)), data.forget.subset(np.arange(32)))


def nt_xent(z1: Tensor, z2: Tensor, tau: float) -> float:
    """Equation 1 of SimCLR, written out in float64."""
    z = [row / math.sqrt(float(row @ row)) for row in torch.cat([z1, z2]).double()]
    count, total = len(z1), 0.0
    for i in range(2 * count):
        scores = [math.exp(float(z[i] @ z[k]) / tau) for k in range(2 * count)]
        total -= math.log(scores[(i + count) % (2 * count)] / (sum(scores) - scores[i]))
    return total / (2 * count)


def test_the_loss_is_that_of_the_runs_method_on_views_of_the_images(
    encoder: Classifier, own: OwnLoss, data: ForgetData
) -> None:
    training = OwnTraining(own, encoder.copy(), Frame(TrainConfig(), seed=3))
    rows = np.array([5, 0, 9])
    batch, step = training.batch(data.retain, rows, "retain")
    assert batch.rows.tolist() == data.retain.rows[rows].tolist()
    plain = Views([ViewSpec(count=2)], (0.4,), (0.2,))(data.retain.pixels(rows), key=(0,))[0]
    assert torch.allclose(plain, data.retain.batch(rows), atol=1e-6)
    assert not torch.equal(batch.views[0], batch.views[1])
    z1, z2 = own.method.head(own.method.backbone(torch.cat(batch.views))).detach().chunk(2)
    assert training.loss(data.retain, rows, "retain").item() == pytest.approx(nt_xent(z1, z2, 0.5), rel=1e-5)
    training.before_step(1, 2)
    assert not torch.equal(training.batch(data.retain, rows, "retain")[0].views[0], batch.views[0])
    assert (step.number, step.total, step.per_epoch, step.batch_size) == (70, 71, 7, 3)


def first_step(before: nn.Module, gradients: list[Tensor], lr: float) -> list[Tensor]:
    """Adam's first step: ``p - lr g / (|g| + eps)``."""
    pairs = zip(before.parameters(), gradients, strict=True)
    return [p.double() - lr * g.double() / (g.double().abs() + 1e-8) for p, g in pairs]


def uphill(training: OwnTraining, images: UnlabelledImages, rows: np.ndarray, rho: float) -> OwnTraining:
    """The same training a step of length rho away, where the loss of the images is smaller."""
    trained = [p for p in training.method.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(training.loss(images, rows, "forget"), trained)
    length = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
    away = copy.deepcopy(training)
    with torch.no_grad():
        for p, g in zip((p for p in away.method.parameters() if p.requires_grad), gradients, strict=True):
            p.sub_(rho * g / length)
    return away


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("finetune", {}),
        ("l1_sparse", {"gamma": 0.01}),
        ("negative_gradient", {"retain_weight": 0.6}),
        ("sam", {"retain_weight": 0.6, "rho": 0.5}),
        ("alignment_calibration", {"alpha": 0.7}),
    ],
)
def test_a_step_goes_down_the_formula(
    name: str, settings: dict, encoder: Classifier, own: OwnLoss, data: ForgetData
) -> None:
    few = replace(few_of(data), own=own)
    lr = 1e-3
    got = build(name, epochs=1, batch_size=64, lr=lr, **settings).forget(encoder, few, seed=0)

    frame = Frame(TrainConfig(batch_size=64))
    training = OwnTraining(own, encoder.copy(), frame)
    stage = name.replace("_", "-")
    training.method.train()
    if "retain_weight" in settings or "alpha" in settings:
        rows = next(few.retain.positions(64, (*frame.key(stage, 0), "retain", 0)))
        gone = next(few.forget.positions(64, (*frame.key(stage, 0), "forget", 0)))
        down, up = (1.0, settings["alpha"]) if "alpha" in settings else (0.6, -0.4)
        parts = [(few.retain, rows, "retain", down), (few.forget, gone, "forget", up)]
    else:
        parts = [(few.retain, next(few.retain.positions(64, frame.key(stage, 0))), "retain", 1.0)]
    parameters = list(training.method.backbone.parameters())
    gradients = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    for images, rows, part, weight in parts:
        at = training
        if name == "sam" and part == "forget":
            at = uphill(training, images, rows, settings["rho"])
        if name == "alignment_calibration" and part == "forget":
            loss = alignment(at.projections(images, rows, part))
        else:
            loss = at.loss(images, rows, part)
        found = torch.autograd.grad(loss, list(at.method.backbone.parameters()))
        gradients = [g + weight * f.double() for g, f in zip(gradients, found, strict=True)]
    if name == "l1_sparse":
        gradients = [g + 0.01 * p.detach().sign() for g, p in zip(gradients, parameters, strict=True)]
    wanted = first_step(encoder.extractor, gradients, lr)
    for have, want, g in zip(got.extractor.parameters(), wanted, gradients, strict=True):
        clear = g.abs() > 1e-5  # of a gradient that vanishes the sign is rounding
        assert torch.allclose(have.double()[clear], want[clear], atol=2e-6)
    assert sum(int((g.abs() > 1e-5).sum()) for g in gradients) > 1000


@pytest.mark.parametrize("name", TAKE_IT)
def test_an_encoder_comes_back_changed_and_nothing_it_was_given_is(
    name: str, encoder: Classifier, own: OwnLoss, data: ForgetData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a job that is killed after its first epoch ends in the same bits."""
    few = replace(few_of(data), own=own)
    fields = forgetter_class(name).Config.model_fields
    method = build(name, **{k: v for k, v in {"epochs": 2, "lr": 1e-3, "batch_size": 16}.items() if k in fields})
    before = fingerprint(encoder), own.fingerprint
    assert not method.reads_labels(encoder)
    forgot = method.forget(encoder, few, seed=0)
    assert (fingerprint(encoder), own.fingerprint) == before
    assert fingerprint(forgot) != before[0]
    assert forgot.head is None
    assert not forgot.training
    if "epochs" not in fields:
        return
    plain, spent = epochs.run_epochs, []

    class Killed(Exception):
        pass

    def dies(stage, count, parts, epoch, checkpoint):  # type: ignore[no-untyped-def]
        def one(number: int) -> Epoch:
            if spent:
                raise Killed
            spent.append(number)
            return epoch(number)

        plain(stage, count, parts, one, checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr(epochs, "run_epochs", dies)
        with pytest.raises(Killed):
            method.forget(encoder, few, seed=0, checkpoint=Checkpoint(tmp_path))
    resumed = method.forget(encoder, few, seed=0, checkpoint=Checkpoint(tmp_path))
    assert fingerprint(resumed) == fingerprint(forgot)


def test_alignment_is_that_of_the_runs_projections_of_two_views(
    encoder: Classifier, own: OwnLoss, data: ForgetData
) -> None:
    """Written out in float64; a method that has no such projections is refused."""
    few, rows = replace(few_of(data), own=own), np.arange(8)
    training = OwnTraining(own, encoder.copy(), Frame(TrainConfig()))
    batch = training.batch(few.forget, rows, "forget")[0]
    z1, z2 = own.method.head(own.method.backbone(torch.cat(batch.views))).detach().double().chunk(2)
    cosines = [float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) for a, b in zip(z1, z2, strict=True)]
    found = alignment(training.projections(few.forget, rows, "forget"))
    assert float(found.detach()) == pytest.approx(sum(cosines) / 8, rel=1e-5)

    turned = OwnLoss(Rotation(RotationConfig(), encoder.copy().extractor, DataInfo(96, 1, 8, 8)), own.views, 7, 7)
    with pytest.raises(UserError, match="the loss of 'rotation' compares no views of an image"):
        build("alignment_calibration").forget(encoder, replace(few, own=turned))
    with pytest.raises(UserError, match=r"alignment_calibration goes on .* nobody says which"):
        build("alignment_calibration").forget(encoder, few_of(data))


def losses(model: Classifier, data: ForgetData) -> list[float]:
    """Of the retain images, and of the forget images."""
    assert data.own is not None
    training = OwnTraining(data.own, model.copy(), Frame(TrainConfig()))
    training.method.eval()
    with torch.no_grad():
        return [float(training.loss(images, np.arange(32), "retain")) for images in (data.retain, data.forget)]


def test_ascent_raises_the_loss_of_what_is_to_go_and_not_of_the_rest(
    learned: tuple[Classifier, ForgetData], encoder: Classifier
) -> None:
    model, few = learned
    before, untrained = losses(model, few), losses(encoder, few)
    assert max(before) < min(untrained) - 0.8, "the positive control: something was learnt"
    after = {}
    for keep in (1.0, 0.8):
        method = build("negative_gradient", retain_weight=keep, lr=1e-3, epochs=6, batch_size=16)
        after[keep] = losses(method.forget(model, few), few)
    assert after[0.8][1] > before[1] + 2
    assert after[0.8][0] < before[0] + 0.1
    assert after[1.0][1] < after[0.8][1] - 1, "without ascent it rises less"


def test_one_step_in_one_layer_raises_the_loss_of_what_is_to_go(learned: tuple[Classifier, ForgetData]) -> None:
    model, few = learned
    forgot = build("slug").forget(model, few)
    assert sum(not torch.equal(p, q) for p, q in zip(model.parameters(), forgot.parameters(), strict=True)) == 1
    before, after = losses(model, few), losses(forgot, few)
    assert after[1] > before[1] + 0.5
    assert after[0] - before[0] < (after[1] - before[1]) / 3


def test_ascent_at_the_worst_weights_nearby_forgets_too(learned: tuple[Classifier, ForgetData]) -> None:
    model, few = learned
    before = losses(model, few)
    sam = build("sam", rho=0.1, retain_weight=0.8, lr=1e-3, epochs=6, batch_size=16).forget(model, few)
    after = losses(sam, few)
    assert after[1] > before[1] + 1
    assert after[0] < before[0] + 0.1


def test_training_on_the_rest_lowers_its_loss_and_a_penalty_the_weights(
    learned: tuple[Classifier, ForgetData],
) -> None:
    model, few = learned
    settings = {"epochs": 6, "lr": 1e-3, "batch_size": 16}
    tuned = build("finetune", **settings).forget(model, few)
    before, after = losses(model, few), losses(tuned, few)
    assert after[0] < before[0]
    assert after[1] - after[0] > before[1] - before[0], "what is trained on no more falls behind"
    sparse = build("l1_sparse", gamma=0.01, **settings).forget(model, few)
    sizes = [sum(float(p.detach().abs().sum()) for p in each.parameters()) for each in (sparse, tuned)]
    assert sizes[0] < 0.96 * sizes[1]


def test_the_teacher_follows_and_the_queue_takes_the_images_to_keep(encoder: Classifier, data: ForgetData) -> None:
    torch.manual_seed(0)
    info = DataInfo(360, 1, 8, 8, mean=(0.4,), std=(0.2,))
    moco = MoCo(MoCoConfig(projection_dim=8, queue=64, momentum=0.9, momentum_end=0.9), encoder.copy().extractor, info)
    own = OwnLoss(moco, Views([ViewSpec(count=2, flip=0.5)], (0.4,), (0.2,)), steps=7, per_epoch=7)
    few = few_of(data)
    training = OwnTraining(own, encoder.copy(), Frame(TrainConfig()))
    training.method.train()
    training.before_step(0, 1)
    down, up = training.losses(few, np.arange(16), np.arange(16))
    (down - up).backward()
    with torch.no_grad():
        for p in training.method.backbone.parameters():
            p.add_(0.1)
    training.after_step()
    first, was = (m.teacher.backbone[0].weight for m in (training.method, moco))
    assert torch.allclose(first, was + 0.1 * 0.1, atol=1e-6)
    step = training.batch(few.retain, np.arange(16), "retain")[1]
    with torch.no_grad():
        keys = moco.teacher(own.views(few.retain.pixels(np.arange(16)), key=(step.seed, step.number, "views"))[1])
    queued = training.method.queue.rows[0]
    assert torch.allclose(queued[:16], nn.functional.normalize(keys, dim=1), atol=1e-5)
    assert not queued[16:].any()


def test_the_running_statistics_are_of_the_images_to_keep(encoder: Classifier, own: OwnLoss, data: ForgetData) -> None:
    training = OwnTraining(own, encoder.copy(), Frame(TrainConfig()))
    training.method.train()
    norm = training.method.backbone[1]
    start = norm.running_mean.clone()
    training.loss(data.forget, np.arange(16), "forget")
    assert torch.equal(norm.running_mean, start)
    training.loss(data.retain, np.arange(16), "retain")
    assert not torch.equal(norm.running_mean, start)


def test_what_cannot_be_gone_on_with_is_said(encoder: Classifier, own: OwnLoss, data: ForgetData) -> None:
    few = few_of(data)
    with pytest.raises(UserError, match=r"finetune goes on with the loss .* nobody says which \(own=…\); laf and"):
        build("finetune").forget(encoder, few)
    one = replace(few, forget=few.forget.subset(np.arange(1)), own=own)
    for name in ("negative_gradient", "sam", "slug", "alignment_calibration"):
        with pytest.raises(UserError, match="the loss of 'simclr' compares images, and only 1 is to forget"):
            build(name).check(encoder, one)  # before anything is pretrained again
    build("finetune", epochs=1).forget(encoder, one)  # takes no step on it

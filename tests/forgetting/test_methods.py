from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unlabeled.core.errors import Diverged, UserError
from unlabeled.forgetting import epochs as contract
from unlabeled.forgetting import methods
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.epochs import Checkpoint, Epoch, run_epochs
from unlabeled.forgetting.frame import ForgetterConfig
from unlabeled.forgetting.images import LabelledImages
from unlabeled.forgetting.methods import METHODS, forgetter_class
from unlabeled.forgetting.methods.boundary import nearest_classes
from unlabeled.forgetting.methods.duck import class_means, nearest_wrong
from unlabeled.forgetting.methods.salun import saliency_mask
from unlabeled.forgetting.methods.ssd import dampen, importances
from unlabeled.forgetting.training.distil import divergence
from unlabeled.forgetting.training.paired import walk_pairs
from unlabeled.forgetting.training.relabel import wrong_labels
from unlabeled.probes.closed_form import ClosedFormProbe
from unlabeled.probes.lda import LDAProbe
from unlabeled.probes.nmc import NearestMeanProbe
from unlabeled.probes.ridge import RidgeProbe

SETTINGS: dict[str, dict] = {
    "laf": {"stop": "never", "epochs": 2, "lr_ue": 1e-3, "lr_ra": 2e-3, "vae_epochs": 2},
    "laf_r": {
        "stop": "never",
        "epochs": 2,
        "lr_ue": 1e-3,
        "lr_ra": 2e-3,
        "vae_epochs": 2,
        "repair_images": 60,
        "repair_epochs": 2,
    },
    "retrain": {"epochs": 2, "lr": 1e-2},
    "head_only": {"epochs": 4, "lr": 1e-2},
    "finetune": {"epochs": 2, "lr": 1e-3},
    "l1_sparse": {"epochs": 2, "lr": 1e-3},
    "negative_gradient": {"epochs": 2, "lr": 1e-3, "retain_weight": 0.7},
    "sam": {"epochs": 2, "lr": 1e-3, "retain_weight": 0.7},
    "i2i": {"epochs": 2, "lr": 1e-3},
    "random_label": {"epochs": 2, "lr": 1e-3},
    "boundary_shrink": {"epochs": 2, "lr": 1e-3},
    "boundary_expand": {"epochs": 2, "lr": 1e-3},
    "scrub": {"epochs": 2, "max_epochs": 1, "lr": 1e-3, "max_lr": 1e-3},
    "bad_teacher": {"epochs": 2, "lr": 1e-3},
    "stochastic_teacher": {"epochs": 2, "rebuild_epochs": 2, "lr": 1e-3},
    "noise_finetune": {"epochs": 2},
    "scar": {"epochs": 2, "target": 0.0},
    "ssd": {"alpha": 2.0},
    "lfssd": {"alpha": 1.2},
    "salun": {"epochs": 2, "lr": 1e-3},
    "duck": {"epochs": 2, "lr": 1e-3, "target": 0.0},
    "nmc": {},
    "lda": {},
    "ridge": {},
}

CLASSES = {name: forgetter_class(name) for name in METHODS}


WITH_LABELS = [n for n, c in CLASSES.items() if (c.needs_head or not c.own_loss) and n != "gs_lora"]
"""Those that work on the classifier here; others want the loss of a run without labels (test_own_loss.py), or a
transformer (test_gs_lora.py).
"""


def build(name: str, **changes: object) -> AnyForgetter:
    method = CLASSES[name]
    return method(method.Config(**{**SETTINGS.get(name, {}), **changes}))


def hide(method: AnyForgetter, data: ForgetData) -> ForgetData:
    return data if method.needs_labels else data.without_labels()


def test_every_method_is_here_under_its_name() -> None:
    assert set(SETTINGS) <= set(METHODS)
    for name, cls in CLASSES.items():
        assert cls.name == name
        assert cls.does
        assert issubclass(cls.Config, ForgetterConfig)
        cls()  # the defaults are valid
    kinds = {kind for module in Path(methods.__file__).parent.glob("[!_]*.py") for kind in defined(module)}
    assert kinds == {path.partition(".")[2] for path in METHODS.values()}, "a class that nobody can ask for"
    with pytest.raises(UserError, match="no forgetting method 'scrubb'"):
        forgetter_class("scrubb")


def defined(module: Path) -> list[str]:
    """The algorithms that a file of the room holds: those with a name."""
    tree = ast.parse(module.read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [c.name for c in classes if any("name = " in ast.unparse(line) for line in c.body)]


def test_settings_of_older_records_are_read() -> None:
    salun = forgetter_class("salun").Config
    assert salun.model_validate({"keep": 0.25}) == salun.model_validate({"salient": 0.25})
    assert salun.model_validate({"keep": 0.25}).model_dump()["salient"] == 0.25


@pytest.mark.parametrize("name", sorted(n for n, c in CLASSES.items() if not c.needs_retain))
def test_what_needs_no_images_to_keep_is_given_none(name: str, model: Classifier, data: ForgetData) -> None:
    none = ForgetData(data.retain.subset(np.empty(0, np.int64)), data.forget, data.unseen)
    with_them, without = (build(name).forget(model, hide(build(name), d), seed=0) for d in (data, none))
    assert fingerprint(with_them) == fingerprint(without)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_a_new_model_comes_back_and_the_original_is_untouched(name: str, model: Classifier, data: ForgetData) -> None:
    method, before = build(name), fingerprint(model)
    forgot = method.forget(model, hide(method, data), seed=0)
    assert fingerprint(model) == before != fingerprint(forgot)
    assert not forgot.training
    assert forgot(torch.zeros(1, 1, 8, 8)).shape == (1, 3)
    assert fingerprint(method.forget(model, hide(method, data), seed=0)) == fingerprint(forgot)


@pytest.mark.parametrize("name", sorted(set(WITH_LABELS) - {"ssd", "lfssd", "slug"}))
def test_a_killed_job_resumes_to_the_same_bits(
    name: str, model: Classifier, data: ForgetData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of every epoch in turn: each restart redoes at most that epoch."""
    method = build(name)
    want = fingerprint(method.forget(model, hide(method, data), seed=0))
    plain = contract.run_epochs
    spent = {"epochs": 0}

    class Killed(Exception):
        pass

    def dies_after_one_epoch(stage, epochs, parts, epoch, checkpoint):  # type: ignore[no-untyped-def]
        def one(number: int) -> Epoch:
            if spent["epochs"] == 1:
                raise Killed
            spent["epochs"] += 1
            return epoch(number)

        plain(stage, epochs, parts, one, checkpoint)

    import importlib
    import pkgutil

    import unlabeled.forgetting as package

    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        loaded = importlib.import_module(module.name)
        if hasattr(loaded, "run_epochs"):
            monkeypatch.setattr(loaded, "run_epochs", dies_after_one_epoch)
    got = None
    for _ in range(20):
        spent["epochs"] = 0
        try:
            got = build(name).forget(model, hide(method, data), seed=0, checkpoint=Checkpoint(tmp_path))
            break
        except Killed:
            continue
    assert got is not None
    assert fingerprint(got) == want


def test_a_checkpoint_of_other_settings_or_a_broken_one_is_ignored(
    model: Classifier, data: ForgetData, tmp_path: Path
) -> None:
    build("finetune").forget(model, data, seed=0, checkpoint=Checkpoint(tmp_path))
    other = build("finetune", lr=3e-3)
    want = fingerprint(other.forget(model, data, seed=0))
    assert fingerprint(other.forget(model, data, seed=0, checkpoint=Checkpoint(tmp_path))) == want
    (tmp_path / "finetune.pt").write_bytes(b"broken")
    assert fingerprint(other.forget(model, data, seed=0, checkpoint=Checkpoint(tmp_path))) == want


def forget_accuracy(model: Classifier, data: ForgetData) -> tuple[float, float]:
    forget, retain = (
        float((apply_head(model, embed_all(model, images)).argmax(1) == images.labels).float().mean())
        for images in (data.forget, data.retain)
    )
    return forget, retain


@pytest.mark.parametrize("name", ["laf_r", "retrain", "negative_gradient", "sam", "random_label", "salun", "duck"])
def test_the_class_is_forgotten_and_the_rest_is_not(name: str, model: Classifier, data: ForgetData) -> None:
    longer = {"retrain": {"epochs": 5}, "laf_r": {"epochs": 20}, "salun": {"epochs": 8, "lr": 3e-3}}
    changes = longer.get(name, {"epochs": 4, "lr": 3e-3})
    forget, retain = forget_accuracy(build(name, **changes).forget(model, data, seed=0), data)
    assert forget < 0.35
    assert retain > 0.9


def test_scrubs_divergence_is_the_formula() -> None:
    student, teacher = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.0, 1.0, 3.0]])
    p, q = (teacher / 4).softmax(1), (student / 4).softmax(1)
    assert float(divergence(student, teacher, 4.0)) == pytest.approx(16 * float((p * (p / q).log()).sum()), rel=1e-5)
    assert float(divergence(teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_head_only_keeps_every_embedding(model: Classifier, data: ForgetData) -> None:
    forgot = build("head_only").forget(model, data, seed=0)
    assert torch.equal(embed_all(forgot, data.forget), embed_all(model, data.forget))


@pytest.mark.parametrize(("name", "probe"), [("nmc", NearestMeanProbe()), ("lda", LDAProbe()), ("ridge", RidgeProbe())])
def test_closed_form_heads_forget_exactly(
    name: str, probe: ClosedFormProbe, model: Classifier, data: ForgetData, test: LabelledImages
) -> None:
    """The head is the one that the retain images alone give; the embeddings are the original's."""
    forgot = build(name).forget(model, data)
    probe.fit(embed_all(model, data.retain), data.retain.labels)
    embeddings = embed_all(model, test)
    assert torch.equal(embed_all(forgot, test), embeddings)
    logits = apply_head(forgot, embeddings)
    assert logits.shape[1] == 3
    assert torch.equal(logits.argmax(1), torch.as_tensor(probe.predict(embeddings)))
    assert (logits.argmax(1) != 0).all()
    weight, bias = probe.linear()
    assert torch.allclose(forgot.head.weight[1:], weight.float(), rtol=1e-4, atol=1e-5 * float(weight.abs().max()))
    assert torch.allclose(forgot.head.bias[1:], bias.float(), rtol=1e-4, atol=1e-4)


def test_retraining_never_reads_the_forget_set(model: Classifier, data: ForgetData) -> None:
    other = ForgetData(data.retain, data.forget.subset(np.arange(3)))
    first, second = (build("retrain").forget(model, d, seed=0) for d in (data, other))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_what_is_missing_is_named(model: Classifier, data: ForgetData) -> None:
    with pytest.raises(UserError, match="scrub needs labels"):
        build("scrub").forget(model, data.without_labels())
    with pytest.raises(UserError, match="scrub edits or trains a classifier head"):
        build("scrub").forget(Classifier(model.extractor), data)
    with pytest.raises(UserError, match="scar needs images the model never met"):
        build("scar").forget(model, ForgetData(data.retain, data.forget))
    assert build("lfssd").forget(Classifier(model.extractor), data).head is None


def test_training_rounds_denormals_away_and_puts_the_default_back() -> None:
    tiny = torch.full((1,), 1e-30)
    seen: list[bool] = []

    def epoch(number: int) -> Epoch:
        seen.append(bool((tiny * 1e-10 == 0).all()))
        return Epoch(0.0)

    run_epochs("denormals", 1, {}, epoch, Checkpoint())
    assert seen == [True]
    assert bool((tiny * 1e-10 != 0).all())


def test_a_diverging_run_says_so() -> None:
    with pytest.raises(Diverged, match="lower the learning rate"):
        run_epochs("x", 3, {}, lambda number: Epoch(float("nan")), Checkpoint())


def test_ssd_dampens_by_the_formula(net: Callable[..., Classifier]) -> None:
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    g = torch.Generator().manual_seed(0)
    everything = [torch.rand(p.shape, generator=g) for p in before]
    forget = [torch.rand(p.shape, generator=g) * 5 for p in before]
    count = dampen(model, forget, everything, alpha=2.0, dampening=0.5)
    chosen = 0
    for p, old, f, d in zip(model.parameters(), before, forget, everything, strict=True):
        want = torch.where(f > 2 * d, old * torch.minimum(0.5 * d / f, torch.ones(())), old)
        assert torch.allclose(p, want)
        chosen += int((f > 2 * d).sum())
    assert count == chosen > 0


def test_importances_sum_powers_of_batch_gradients(model: Classifier, data: ForgetData) -> None:
    images, labels = data.forget.labelled(np.arange(20))
    batches = [(images[:10], labels[:10]), (images[10:], labels[10:])]
    model = model.copy().eval()
    for power in (1, 2):
        got, count = importances(model, (F.cross_entropy(model(x), y) for x, y in batches), power)
        want = torch.zeros_like(model.head.weight)
        for x, y in batches:
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            want += model.head.weight.grad.abs() ** power
        position = [n for n, _ in model.named_parameters()].index("head.weight")
        assert count == 2
        assert torch.allclose(got[position], want, atol=1e-6)


def test_salun_moves_only_the_salient_half(model: Classifier, data: ForgetData) -> None:
    model = model.copy()
    with torch.no_grad():
        model.extractor[1].bias.fill_(
            -1e3
        )  # every unit is dead: most gradients are 0, and no threshold tells them apart
        model.extractor[1].bias[0] = 0
    mask = saliency_mask(model.copy(), data.forget, 0.5, "cpu")
    total = sum(m.numel() for m in mask.values())
    assert sum(float(m.sum()) for m in mask.values()) == round(total / 2)
    forgot = dict(build("salun", weight_decay=0.1).forget(model, data, seed=0).named_parameters())
    for name, old in model.named_parameters():
        assert not ((forgot[name] != old) & (mask[name] == 0)).any()
    assert any((forgot[name] != old).any() for name, old in model.named_parameters())


def test_duck_targets_follow_each_image_and_its_label() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.5], [0.0, 1.0], [0.1, 2.0], [-1.0, 0.1]])
    labels = torch.tensor([2, 2, 5, 5, 7])  # labels are not positions: 5 is centroid 1
    centroids, classes = class_means(embeddings, labels)
    assert classes.tolist() == [2, 5, 7]
    assert torch.allclose(centroids[1], embeddings[2:4].mean(0))
    target = nearest_wrong(torch.tensor([[1.0, 0.2], [0.2, 1.0]]), torch.tensor([2, 9]), centroids, classes)
    assert torch.equal(target[0], centroids[1])  # its own class 2 is nearest, but not allowed
    assert torch.equal(target[1], centroids[1])  # class 9 has no centroid: the nearest of all


def test_boundary_shrink_labels_are_never_the_own_class(model: Classifier, data: ForgetData) -> None:
    nearest = nearest_classes(model.copy(), data.forget, 0.1, "cpu")
    assert nearest.shape == data.forget.labels.shape
    assert not (nearest == data.forget.labels).any()


def test_boundary_shrink_looks_across_the_boundary_at_pixels_that_an_image_can_have(
    model: Classifier, data: ForgetData
) -> None:
    watched, seen = model.copy(), []
    watched.extractor.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    nearest_classes(watched, data.forget, 0.9, "cpu")
    scale = data.forget.preprocess
    pixels = torch.cat(seen) * torch.tensor(scale.std).view(1, -1, 1, 1) + torch.tensor(scale.mean).view(1, -1, 1, 1)
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6


def test_boundary_expand_starts_from_the_same_function_and_ends_with_the_same_shape(
    model: Classifier, data: ForgetData
) -> None:
    forgot = build("boundary_expand", lr=1e-9, epochs=1).forget(model, data.without_labels(), seed=0)
    images = data.retain.batch(np.arange(10))
    assert forgot.head.out_features == 3
    assert torch.allclose(forgot.head.weight, model.head.weight, atol=1e-6)
    assert forgot(images).shape == model(images).shape


def test_pairs_cover_the_longer_set_and_repeat_the_shorter(data: ForgetData) -> None:
    pairs = list(walk_pairs(data.retain, data.forget, 32, ("k",)))
    retain = np.concatenate([k for k, _ in pairs])
    forget = np.concatenate([f for _, f in pairs])
    assert sorted(retain) == list(range(len(data.retain)))
    assert set(forget) == set(range(len(data.forget)))
    assert np.bincount(forget).max() <= -(-len(data.retain) // len(data.forget)) + 1


def test_wrong_labels_are_wrong_and_spread_evenly() -> None:
    labels = torch.arange(4000) % 4
    wrong = wrong_labels(labels, 4, np.random.default_rng(0))
    assert not (wrong == labels).any()
    counts = torch.bincount(wrong[labels == 1], minlength=4)
    assert counts[[0, 2, 3]].min() > 280

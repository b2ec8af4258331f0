from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.data.forget_sets import forget_split
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.images import LabelledImages, PixelArray
from unlabeled.forgetting.judge.attacks import balanced_attack
from unlabeled.forgetting.judge.case import Case, Task
from unlabeled.forgetting.judge.catalog import inside, likelihood
from unlabeled.forgetting.judge.features import VIEWS, embedded_views, geometry, view_similarities
from unlabeled.forgetting.judge.shadows import Shadows, halves
from unlabeled.forgetting.protocol import Protocol


@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 9))
def test_every_row_is_in_half_of_the_shadow_models(count: int, pairs: int, seed: int) -> None:
    drawn = halves(count, 2 * pairs, seed)
    assert np.array_equal(np.bincount(np.concatenate(drawn), minlength=count), np.full(count, pairs))
    assert {len(rows) for rows in drawn} <= {count // 2, count - count // 2}
    assert all(np.array_equal(a, b) for a, b in zip(drawn, halves(count, 2 * pairs, seed), strict=True))


def test_an_odd_number_of_shadow_models_is_refused() -> None:
    for wrong in (2, 5):
        with pytest.raises(UserError, match="even number"):
            halves(10, wrong)


class Memory(nn.Module):
    """Knows the label of the images it was trained on, and of others nothing: each image is its first pixel."""

    def __init__(self, known: dict[int, int], lift: float) -> None:
        super().__init__()
        self.known, self.lift = known, lift
        self.weight = nn.Parameter(torch.tensor([float(len(known))]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        number = (images[:, 0, 0, 0] * 255).round().long()
        out = torch.stack([(number * (7 + c)) % 11 / 11.0 for c in range(3)], 1)  # what is easy, what is not
        noise = torch.randn(len(out), 3, generator=torch.Generator().manual_seed(int(self.weight.item() * 7)))
        for row, n in enumerate(number.tolist()):
            if n in self.known:
                out[row, self.known[n]] += self.lift
        return out + 0.3 * noise


def numbered(count: int = 240) -> LabelledImages:
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 1, 4, 4).contiguous()
    return LabelledImages(PixelArray(pixels), np.arange(count) % 3)


def trained(number: int, images: LabelledImages, lift: float = 2.0) -> Classifier:
    labels = dict(zip(images.rows.tolist(), images.labels.tolist(), strict=True))
    model = Classifier(Memory(labels, lift), nn.Linear(3, 3))
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(3))
        model.head.bias.zero_()
        model.extractor.weight.add_(number / 100)
    return model.eval()


def test_shadow_models_find_who_was_trained_on_and_what_was_memorised() -> None:
    pool = numbered()
    shadows = Shadows.trained(pool, 8, trained)
    assert shadows.inside(pool).sum(0).tolist() == [4] * len(pool)
    assert not shadows.inside(LabelledImages(PixelArray(torch.zeros(9, 1, 4, 4, dtype=torch.uint8)), [0] * 9)).any()
    memorised = shadows.memorisation(pool)
    assert memorised.min() > 0.2, "all of them were: by nearly the same lift"

    train, test = pool.subset(np.arange(120)), pool.subset(np.arange(120, 240))
    split = forget_split("random:50%", 120)
    found = {}
    gone = {"original": train, "retrained": train.subset(split.retain_rows)}
    for name, images in gone.items():
        model = trained(50, images)
        case = Case(Task(model, train, test, split, shadows=shadows), None)
        found[name] = likelihood.of(case, case.original).values
    assert found["original"]["lira_auc"] > 0.95
    assert found["original"]["lira_tpr"] > 0.5
    assert found["retrained"]["lira_auc"] == pytest.approx(0.5, abs=0.12)
    assert found["retrained"]["lira_auc_low"] < 0.5 < found["retrained"]["lira_auc_high"]
    # test images that no shadow model saw: the same attack, offline
    alone = Case(Task(trained(50, train), train, test, split, shadows=Shadows.trained(train, 8, trained)), None)
    assert likelihood.of(alone, alone.original).values["lira_auc"] > 0.95
    task = Task(trained(50, train), train, test, split)
    bare = Case(task, None)
    assert likelihood.of(bare, bare.original).values == {}


def test_a_row_measured_without_shadow_models_is_not_taken_for_one_with(
    model: Classifier, train: LabelledImages, test: LabelledImages, tmp_path: Path
) -> None:
    task = Task(model, train, test, forget_split("random:10%", len(train)), limit=30)
    shadowed = replace(task, shadows=Shadows.trained(train, 4, lambda number, images: model))
    rows = [Protocol(t, None, tmp_path).run({})[0] for t in (task, shadowed)]
    assert ["lira_auc" in row.measures for row in rows] == [False, True]


def test_geometry_sees_rings_that_no_plane_tells_apart() -> None:
    random = np.random.default_rng(0)
    near, far = (random.normal(size=(300, 8)) for _ in range(2))
    near, far = (z / np.linalg.norm(z, axis=1)[:, None] * size for z, size in ((near, 1.0), (far, 1.3)))
    assert balanced_attack(near, far).auc < 0.6
    bank = random.normal(size=(500, 8))
    features = [geometry(z, bank) for z in (near, far)]
    assert features[0].shape == (300, 8)
    assert balanced_attack(*features, trees=True).auc > 0.95
    same = random.normal(size=(600, 8))
    assert balanced_attack(geometry(same[:300], bank), geometry(same[300:], bank), trees=True).auc < 0.57


def test_geometry_by_hand() -> None:
    got = geometry([[3.0, 4.0]], np.array([[3.0, 0.0], [0.0, 4.0]]))[0]
    logs = np.log([5, 0.8 * np.e**0])
    assert got[:2] == pytest.approx([logs[0], 0.8])
    assert got[2:4] == pytest.approx([np.log(3), 0.8], abs=1e-5)
    assert got[4:6] == pytest.approx([np.log(4), 0.6], abs=1e-5)


def test_views_of_an_image_are_compared_pairwise() -> None:
    views = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
    got = view_similarities(views)
    unit = (views / views.norm(dim=2, keepdim=True)).double().numpy()
    for n in range(7):
        pairs = sorted((float(unit[a, n] @ unit[b, n]) for a in range(4) for b in range(a)), reverse=True)
        assert got[n] == pytest.approx(pairs, abs=1e-6)


def test_an_encoder_without_head_is_attacked_by_its_views(train: LabelledImages, test: LabelledImages) -> None:
    encoder = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)))
    pixels = embedded_views(encoder, train.subset(np.arange(50)), seed=1)
    assert pixels.shape == (VIEWS, 50, 16)
    assert torch.equal(pixels, embedded_views(encoder, train.subset(np.arange(50)), seed=1))
    assert not torch.equal(pixels[0], pixels[1])
    case = Case(Task(encoder, train, test, forget_split("random:20%", len(train))), None)
    found = inside.of(case, case.original).values
    assert {"mia_auc_views", "mia_auc_geometry"} <= set(found)
    assert abs(found["mia_auc_views"] - 0.5) < 0.2, "an untrained encoder gives nobody away"

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np

from unlabeled.report.forgetting import attack_figure, class_accuracy_figure, plane, save_figure, save_pictures


def test_the_plane_is_the_principal_one() -> None:
    random = np.random.default_rng(0)
    flat = random.normal(size=(80, 2)) * [9, 4]
    rotation = np.linalg.qr(random.normal(size=(6, 6)))[0]
    high = np.concatenate([flat, 0.01 * random.normal(size=(80, 4))], axis=1) @ rotation
    kept, gone = plane(high[:50], high[50:])
    both, centred = np.concatenate([kept, gone]), flat - flat.mean(0)
    assert both.var(0)[0] > both.var(0)[1]
    distances = np.linalg.norm(both - both[:1], axis=1), np.linalg.norm(centred - centred[:1], axis=1)
    assert np.allclose(*distances, atol=0.2)
    assert np.array_equal(plane(high[:50], high[50:])[0], kept)
    assert plane(high[:3, :1], high[3:6, :1])[0].shape == (3, 2)


def test_bars_are_the_figures_given() -> None:
    axes = class_accuracy_figure({"a": [0.5, 0.25], "b": [1.0, float("nan")]}, ["x", "y"], [1]).axes[0]
    assert [round(bar.get_height()) for bar in axes.patches] == [50, 25, 100, 0]
    assert axes.get_xticklabels()[1].get_color() == "#c44e52"


def test_histograms_have_area_one() -> None:
    axes = attack_figure({"a": np.random.default_rng(0).random(500)}).axes[0]
    corners = axes.patches[0].get_xy()
    assert np.isclose(abs(np.trapezoid(corners[:, 1], corners[:, 0])), 1, atol=0.05)


def test_pictures_of_a_protocol_are_written(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    for method in ("original", "laf"):
        (tmp_path / method).mkdir()
        np.savez(
            tmp_path / method / "arrays.npz",
            members_features=random.random(30),
            embedding_retain=random.normal(size=(30, 5)),
            embedding_forget=random.normal(size=(20, 5)),
        )
        rows.append({"method": method, "class_accuracy": [0.2, 0.9], "folder": str(tmp_path / method)})
    written = save_pictures(tmp_path / "pictures", rows, forgotten=[0])
    assert [p.name for p in written] == ["class_accuracy.png", "attack_scores.png", "embedding.png"]
    for path in written:
        assert matplotlib.image.imread(path)[..., :3].std() > 0.05
    save_figure(attack_figure({"a": random.random(9)}), written[1])
    assert not list((tmp_path / "pictures").glob("*.part"))

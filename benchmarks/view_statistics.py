"""Can our views be told from torchvision's? A classifier on simple statistics of 8,000 views of each says how well.

    python benchmarks/view_statistics.py

The settings are those of the recipe simclr on fashion-mini. An AUC of 0.5 means that nothing tells them apart. What
does is looked for by leaving the colours out, and by adjusting our own crops as torchvision does: brightness and
contrast in random order, clamped to [0, 1] after each.
"""

from __future__ import annotations

import numpy as np
import torch
from _results import machine, save, section
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from torch import Tensor
from view_parity import TorchvisionViews

from unlabeled.data import open_data
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.recipes.resolve import load_recipe

TV, AGAIN, OURS, ADJUSTED = "torchvision", "torchvision, other draws", "unlabeled", "unlabeled's crops, clamped twice"
CROPS, OUR_CROPS = "torchvision, crops alone", "unlabeled, crops alone"
PAIRS = ((TV, AGAIN), (CROPS, OUR_CROPS), (TV, OURS), (TV, ADJUSTED))


def adjusted(crops: Tensor, spec: ViewSpec) -> Tensor:
    """Brightness and contrast of gray ``(B, 1, H, W)`` in [0, 1] as torchvision's ``ColorJitter`` applies them."""
    generator, n = torch.Generator().manual_seed(0), len(crops)

    def drawn() -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator)

    bright, contrast = ((drawn() * 2 - 1) * x + 1 for x in (spec.brightness, spec.contrast))

    def brighten(x: Tensor) -> Tensor:
        return (x * bright).clamp(0, 1)

    def stretch(x: Tensor) -> Tensor:
        return (x * contrast + (1 - contrast) * x.mean((1, 2, 3), keepdim=True)).clamp(0, 1)

    either = torch.where(drawn() < 0.5, stretch(brighten(crops)), brighten(stretch(crops)))
    return torch.where(drawn() < spec.jitter, either, crops)


def features(views: Tensor) -> np.ndarray:
    """Quantiles, mean, deviation, steps between neighbours, and the shares at the view's own extremes."""
    flat = views.flatten(1)
    quantiles = torch.quantile(flat, torch.linspace(0, 1, 21), dim=1).T
    steps = [views.diff(dim=axis).abs().mean((1, 2, 3)) for axis in (2, 3)]
    ends = [(flat > flat.amax(1, keepdim=True) - 1 / 255), (flat < flat.amin(1, keepdim=True) + 1 / 255)]
    rest = [flat.mean(1), flat.std(1), *steps, *(end.float().mean(1) for end in ends)]
    return torch.cat([quantiles, torch.stack(rest, 1)], 1).numpy()


def auc(one: Tensor, two: Tensor) -> float:
    """How well held-out views of the two are told apart."""
    x = np.concatenate([features(one), features(two)])
    y = np.repeat([0, 1], [len(one), len(two)])
    order = np.random.default_rng(0).permutation(len(x))
    fit, held = np.array_split(order, 2)
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(x[fit], y[fit])
    return float(roc_auc_score(y[held], model.predict_proba(x[held])[:, 1]))


def main() -> None:
    data = open_data("fashion-mini", "train")
    images = data.gather(np.arange(len(data)))
    spec = load_recipe("simclr", []).views[0].model_copy(update={"count": 1})
    plain = spec.model_copy(update={"jitter": 0.0})
    zero, one = (0.0,), (1.0,)
    made = {
        TV: TorchvisionViews(spec, zero, one)(images, key=(1,))[0],
        AGAIN: TorchvisionViews(spec, zero, one)(images, key=(2,))[0],
        CROPS: TorchvisionViews(plain, zero, one)(images, key=(3,))[0],
        OURS: Views([spec], zero, one)(images, key=(4,))[0],
        OUR_CROPS: Views([plain], zero, one)(images, key=(5,))[0],
    }
    made[ADJUSTED] = adjusted(Views([plain], zero, one)(images, key=(6,))[0], spec)
    made = {name: (255 * views).round() / 255 for name, views in made.items()}  # as PIL keeps them
    found: dict[str, dict[str, float]] = {}
    lines = ["| views | mean | deviation within a view | white pixels |", "|---|---:|---:|---:|"]
    for name, views in made.items():
        row = {"mean": views.mean(), "sd": views.std((1, 2, 3)).mean(), "white": (views == 1).float().mean()}
        found[name] = {key: float(value) for key, value in row.items()}
        lines.append(f"| {name} | {row['mean']:.4f} | {row['sd']:.4f} | {100 * row['white']:.1f} % |")
    lines += ["", "| told apart | AUC |", "|---|---:|"]
    for first, second in PAIRS:
        found[f"{first} | {second}"] = {"auc": auc(made[first], made[second])}
        lines.append(f"| {first} – {second} | {found[f'{first} | {second}']['auc']:.3f} |")
    print("\n".join(lines))
    about = (
        f"`python benchmarks/view_statistics.py` on {machine()}. The recipe simclr's views of the 8,000 training "
        "images of fashion-mini; pixels in [0, 1], rounded to 8 bits. A gradient-boosted classifier sees quantiles, "
        "mean, deviation, steps between neighbours and the shares at the extremes of half of them; AUC on the rest."
    )
    section(
        "view_statistics", "## Our views against torchvision's: statistics\n\n" + "\n\n".join([about, "\n".join(lines)])
    )
    save("view_statistics", found)


if __name__ == "__main__":
    main()

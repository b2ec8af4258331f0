"""Forgetting a class from a self-supervised backbone without a head: SimCLR on Fashion-MNIST.

``python benchmarks/forgetting_backbone.py`` pretrains with SimCLR, makes the backbone forget class 0 with LAF and
LFSSD, pretrains again without class 0 (that is what "retrained" means here), and writes the section
``forgetting-backbone`` of RESULTS.md. It goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from _results import machine, save, section

from unlabeled.forgetting.judge.tables import table, verdict
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.folder import Run
from unlabeled.verbs.forget import forget
from unlabeled.verbs.pretrain import pretrain

DATA = "fashion-mnist"
LAF = ("epochs=1", "latent=16", "vae_batch_size=256", "max_retain=10000", "lr_ue=1e-4", "lr_ra=1e-4")
INSIDE = (
    "cka_forget_retrained", "cka_forget_original", "cka_retain_retrained", "rus", "reprobe_linear_test_f",
    "reprobe_linear_few_test_f", "reprobe_knn_test_f", "reprobe_linear_test_r", "reprobe_knn_test_r",
    "mia_auc_features", "member_share_features", "time_ratio",
)  # fmt: skip


FINDINGS = (
    "- Without class 0 SimCLR embeds it nearly as well: its re-probe falls by 2 to 3 points only. So there is little "
    "for forgetting to take away, and no attack on the features, all at chance, tells the models apart.",
    "- LAF comes to the same re-probe as retraining at an eighth of its time and leaves the kept images alone, but by "
    "another way: it moves the forgotten images' embeddings far from where retraining leaves them (CKA).",
    "- LFSSD at its default (alpha 10) selects next to no weight here: it is the original.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="of SimCLR")
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlabeled-forgetting/backbone"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("UNLABELED_CACHE", str(args.work / "cache"))
    model = args.work / f"simclr-{args.epochs}"
    if not Run(model).finished():
        own = load_recipe("simclr")
        share = own.optimizer.warmup_epochs / own.epochs
        warmup = f"optimizer.warmup_epochs={share * args.epochs:.4f}"
        settings = [f"data={DATA}", f"epochs={args.epochs}", warmup, "output.logger=none"]
        pretrain("simclr", model, overrides=settings, resume=Run(model).exists())
    done = forget(model, "class:0", settings=LAF, compare=["lfssd"], seeds=args.seeds, out=args.work / "forgotten")
    rows = done.rows
    out = [
        "## Forgetting: a self-supervised backbone without a head",
        "",
        f"`python benchmarks/forgetting_backbone.py --seeds {args.seeds} --epochs {args.epochs}` on {machine()}, one "
        f"thread. resnet10_small, SimCLR, {args.epochs} epochs on {DATA} (60,000 images), then class 0 (6,000 images) "
        "is forgotten without labels. `retrain`: pretrained again, from another "
        f"seed, without class 0. One original; the seeds ({args.seeds}) are those of retraining and forgetting. LAF: "
        f"{', '.join(LAF)}; not searched. Labels serve only the re-probes of the frozen extractor.",
        "",
        table(rows, INSIDE),
        "",
        *(f"- {line}" for line in verdict(rows)),
        *FINDINGS,
    ]
    kept = [{**asdict(r), "folder": None, "measures": {k: v for k, v in r.measures.items() if v == v}} for r in rows]
    save("forgetting_backbone", [{k: None if v != v else v for k, v in row.items()} for row in kept])
    section("forgetting-backbone", "\n".join(out))
    print("\n".join(out))


if __name__ == "__main__":
    main()

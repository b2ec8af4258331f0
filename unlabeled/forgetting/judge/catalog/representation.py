"""How like the embeddings are to those of the original and of the retrained network, and how far they moved."""

from __future__ import annotations

from unlabeled.forgetting.judge import measures
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.measure import Found, Measure, Words
from unlabeled.probes.similarity import unbiased_cka


def of(case: Case, view: View) -> Found:
    """CKA to both networks on both sets, the representation unlearning score, and the distance moved."""
    out = {"images_forget": float(len(case.sets["forget"]))}
    for name, other in (("retrained", case.retrained), ("original", case.original)):
        if other is not None:
            for part in ("forget", "retain"):
                out[f"cka_{part}_{name}"] = unbiased_cka(view.embeddings[part], other.embeddings[part])
    out["moved_forget"] = measures.moved(view.embeddings["forget"], case.original.embeddings["forget"])
    if case.retrained is not None:
        out["rus"] = measures.rus(out["cka_forget_retrained"], out["cka_retain_retrained"])
    return Found(out)


MEASURE = Measure(
    of,
    {
        "moved_forget": Words(
            "how far the images to forget moved",
            "over the spread of their embeddings; 0: not at all",
            ("representation",),
        ),
        "cka_forget_retrained": Words(
            "likeness to the retrained, images to forget",
            "CKA of embeddings; 1: forgot as it did",
            ("representation",),
        ),
        "cka_forget_original": Words(
            "likeness to the original, images to forget",
            "CKA of embeddings; 1: forgot nothing inside",
            ("representation",),
        ),
        "cka_retain_retrained": Words(
            "likeness to the retrained, images retained",
            "CKA of embeddings; 1: the same representation",
            ("representation",),
        ),
        "cka_retain_original": Words(
            "likeness to the original, images retained", "CKA of embeddings; 1: nothing else was changed"
        ),
        "rus": Words(
            "representation unlearning score",
            "both likenesses to the retrained in one; 1 is ideal",
            ("representation",),
        ),
        "images_forget": Words("images to forget that were measured", "few images make every figure here uncertain"),
    },
)

"""How the outputs on the forget images compare with those of a retrained and of a random network."""

from __future__ import annotations

from unlabeled.forgetting.classifier import reinitialised
from unlabeled.forgetting.judge import measures
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.measure import Found, Measure, Words


def of(case: Case, view: View) -> Found:
    """Distance to the retrained network's outputs, and likeness to those of one that knows nothing."""
    forget, found = {"forget": case.sets["forget"]}, {}
    if case.retrained is not None:
        gold = case.retrained.logits["forget"]
        found["activation_distance"] = measures.activation_distance(view.logits["forget"], gold)
    random = case.once("random", lambda: View(reinitialised(case.task.original, "zrf", case.seed), forget, case.device))
    found["zrf"] = measures.zrf(view.logits["forget"], random.logits["forget"])
    return Found(found)


MEASURE = Measure(
    of,
    {
        "activation_distance": Words(
            "distance of outputs to the retrained", "0: it answers just as the retrained model does", ("accuracy",)
        ),
        "zrf": Words(
            "zero-retrain forgetting",
            "1: on these images it answers like a model that knows nothing",
            ("accuracy",),
        ),
    },
    needs_head=True,
)

"""What the model answers: accuracy on the images to retain and to forget, and on test images; the unlearning score."""

from __future__ import annotations

from unlabeled.forgetting.judge import measures
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.measure import Found, Measure, Words


def accuracies(case: Case, view: View) -> dict[str, float]:
    """Of the retain and forget images, and of each part of the test images."""
    out = {
        "train_r": measures.accuracy(view.logits["retain"], case.labels["retain"]),
        "train_f": measures.accuracy(view.logits["forget"], case.labels["forget"]),
    }
    for name, rows in case.parts.items():
        out[name] = measures.accuracy(view.logits["test"][rows], case.labels["test"][rows])
    return out


def of(case: Case, view: View) -> Found:
    """Accuracies, those of each class, and the adaptive unlearning score."""
    found = accuracies(case, view)
    before = case.once("accuracies before", lambda: accuracies(case, case.original))
    test, whole = found[case.retained], case.task.split.removes_classes
    found["aus"] = measures.aus(test, before[case.retained], found["train_f"], None if whole else test)
    logits = view.logits["test"]
    return Found(found, class_accuracy=measures.class_accuracy(logits, case.labels["test"], logits.shape[1]))


MEASURE = Measure(
    of,
    {
        "train_r": Words(
            "accuracy, images retained", "of the images that stay in the model", ("accuracy",), percent=True
        ),
        "train_f": Words(
            "accuracy, images to forget",
            "good forgetting is near the retrained model, not near 0",
            ("accuracy",),
            percent=True,
        ),
        "test": Words(
            "accuracy, test images",
            "images that no model ever met: what forgetting has cost",
            ("accuracy",),
            percent=True,
        ),
        "test_r": Words(
            "accuracy, test images of the classes retained", "what forgetting has cost", ("accuracy",), percent=True
        ),
        "test_f": Words(
            "accuracy, test images of the class forgotten",
            "0 where the class has no answer any more",
            ("accuracy",),
            percent=True,
        ),
        "aus": Words(
            "adaptive unlearning score",
            "accuracy retained over what is still known of the images to forget; 1 is ideal",
            ("accuracy",),
        ),
    },
    needs_labels=True,
    needs_head=True,
)

"""What the model answers: accuracy on the images to retain and to forget, and on test images; the unlearning score."""

from __future__ import annotations

from unlabeled.forgetting.judge import measures
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.measure import Found, Measure, Words, and_intervals, with_interval


def accuracies(case: Case, view: View) -> dict[str, float]:
    """Of the retain and forget images, and of each part of the test images; each with its interval."""
    logits, labels = view.logits, case.labels
    sets = {"train_r": (logits["retain"], labels["retain"]), "train_f": (logits["forget"], labels["forget"])}
    sets |= {name: (logits["test"][rows], labels["test"][rows]) for name, rows in case.parts.items()}
    out: dict[str, float] = {}
    for name, (answers, truth) in sets.items():
        out |= with_interval(name, measures.accuracy(answers, truth), len(truth))
    return out


def of(case: Case, view: View) -> Found:
    """Accuracies, those of each class, and the adaptive unlearning score."""
    found = accuracies(case, view)
    before = case.once("accuracies before", lambda: accuracies(case, case.original))
    test, whole = found[case.retained], case.task.split.removes_classes
    # the paper's A_f is of test images of the class where a class goes, and of the forget set where images go
    left = found.get("test_f", found["train_f"]) if whole else found["train_f"]
    found["aus"] = measures.aus(test, before[case.retained], left, None if whole else test)
    logits = view.logits["test"]
    return Found(found, class_accuracy=measures.class_accuracy(logits, case.labels["test"], logits.shape[1]))


MEASURE = Measure(
    of,
    and_intervals(
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
        }
    ),
    needs_labels=True,
    needs_head=True,
)

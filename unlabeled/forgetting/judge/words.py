"""What the measures of forgetting are called in print, and what each says: for readers who do not know them."""

from __future__ import annotations

from unlabeled.forgetting.judge.tables import PERCENT

MODELS = {"before": "before", "after": "after forgetting", "retrained": "retrained without them"}
"""The models of a record."""

WORDS = {
    "train_r": ("accuracy, images kept", "of the images that stay in the model"),
    "train_f": ("accuracy, images to forget", "good forgetting is near the retrained model, not near 0"),
    "test": ("accuracy, test images", "images that no model ever met: what forgetting has cost"),
    "test_r": ("accuracy, test images of the classes kept", "what forgetting has cost"),
    "test_f": ("accuracy, test images of the class forgotten", "0 where the class has no answer any more"),
    "aus": ("adaptive unlearning score", "accuracy kept over what is still known of the images to forget; 1 is ideal"),
    "activation_distance": ("distance of outputs to the retrained", "0: it answers just as the retrained model does"),
    "zrf": ("zero-retrain forgetting", "1: on these images it answers like a model that knows nothing"),
    "asr": ("members found by the attack of the papers", "images to forget that pass for training images"),
    "mia_accuracy_outputs": ("attack on the outputs, accuracy", "who was trained on? 50 %: the attacker guesses"),
    "mia_accuracy_features": ("attack on the embeddings, accuracy", "who was trained on? 50 %: the attacker guesses"),
    "mia_auc_outputs": ("attack on the outputs, AUC", "0.5: the attacker learns nothing"),
    "mia_auc_features": ("attack on the embeddings, AUC", "0.5: the attacker learns nothing"),
    "mia_auc_outputs_low": ("attack on the outputs, AUC at least", "with 95 % confidence"),
    "mia_auc_outputs_high": ("attack on the outputs, AUC at most", "with 95 % confidence"),
    "mia_auc_features_low": ("attack on the embeddings, AUC at least", "with 95 % confidence"),
    "mia_auc_features_high": ("attack on the embeddings, AUC at most", "with 95 % confidence"),
    "member_share_outputs": ("images to forget that pass for members, by outputs", "near the retrained is good"),
    "member_share_features": ("images to forget that pass for members, by embeddings", "near the retrained is good"),
    "moved_forget": ("how far the images to forget moved", "over the spread of their embeddings; 0: not at all"),
    "cka_forget_retrained": ("likeness to the retrained, images to forget", "CKA of embeddings; 1: forgot as it did"),
    "cka_forget_original": (
        "likeness to the original, images to forget",
        "CKA of embeddings; 1: forgot nothing inside",
    ),
    "cka_retain_retrained": ("likeness to the retrained, images kept", "CKA of embeddings; 1: the same representation"),
    "cka_retain_original": ("likeness to the original, images kept", "CKA of embeddings; 1: nothing else was changed"),
    "rus": ("representation unlearning score", "both likenesses to the retrained in one; 1 is ideal"),
    "relearn_steps": ("steps to learn them again", "few: much of them is still inside"),
    "relearn_ratio": ("steps to learn them again, over the retrained's", "1: as new to it as to the retrained"),
    "images_forget": ("images to forget that were measured", "few images make every figure here uncertain"),
}
"""Title and meaning by measure."""
_PROBES = {
    "linear": "a new classifier on frozen embeddings",
    "linear_few": "a new classifier, 2 % of the labels",
    "knn": "20 nearest neighbours",
}
_PARTS = {
    "test": ("test images", "what the embeddings are worth"),
    "test_r": ("test images of the classes kept", "what the embeddings are still worth"),
    "test_f": ("test images of the class forgotten", "high: the class is still inside, whatever the outputs say"),
}
WORDS |= {
    f"reprobe_{probe}_{part}": (f"{name}: {images}", meaning)
    for probe, name in _PROBES.items()
    for part, (images, meaning) in _PARTS.items()
}


def in_words(measure: str) -> tuple[str, str]:
    """Title and meaning of a measure; a name that is not known is its own title.

    >>> in_words("zrf")[0], in_words("of_a_newer_version")
    ('zero-retrain forgetting', ('of a newer version', ''))
    """
    return WORDS.get(measure, (measure.replace("_", " "), ""))


def is_share(measure: str) -> bool:
    """Whether a measure is printed in percent.

    >>> is_share("test_f"), is_share("mia_accuracy_outputs"), is_share("rus")
    (True, True, False)
    """
    return measure.startswith((*PERCENT, "mia_accuracy"))

"""Concept erasure: features from which a class or an attribute can no longer be read, a file an eraser."""

from __future__ import annotations

from unlabeled.evaluation.erasure.inlp import INLP
from unlabeled.evaluation.erasure.leace import LEACE

ERASERS = {"leace": LEACE, "inlp": INLP}

__all__ = ["ERASERS", "INLP", "LEACE"]

"""The same tuning budget for every method: as many tries each, chosen without labels and without a retrained model.

A method says in its settings' ``tunes`` what is tried, and between which bounds. The first try is the method as it was
asked for; the others spread evenly (a Halton sequence) over the logarithms between the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.stats import qmc

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.epochs import Seconds
from unlabeled.forgetting.store import Trained
from unlabeled.forgetting.training.agreement import Agreement
from unlabeled.forgetting.training.familiarity import Familiarity, told_apart
from unlabeled.forgetting.training.stopping import CHANCE, own_answers, sample


def candidates(method: AnyForgetter, tries: int) -> list[AnyForgetter]:
    """``method`` itself, then others of other settings; alone where it has none to tune, or all of them were given.

    >>> from unlabeled.forgetting.methods import forgetter_class
    >>> finetune = forgetter_class("finetune")()
    >>> [f"{each.config.lr:.0e}" for each in candidates(finetune, 4)]
    ['1e-04', '2e-04', '4e-05', '7e-04']
    """
    config = method.config
    tunes = [each for each in config.tunes if each[0] not in config.model_fields_set]
    if tries < 2 or not tunes:
        return [method]
    names, low, high = zip(*((name, math.log(low), math.log(high)) for name, low, high in tunes), strict=True)
    # the sequence begins in a corner, where all settings are smallest
    points = qmc.scale(qmc.Halton(len(tunes), scramble=False).random(tries)[1:], low, high)
    changes = [{name: float(f"{math.exp(v):.3g}") for name, v in zip(names, point, strict=True)} for point in points]
    return [method, *(type(method)(config.model_copy(update=change)) for change in changes)]


def badness(original: Classifier, model: Classifier, data: ForgetData, device: torch.device | str, seed: int) -> float:
    """How far a model is from one that forgot and kept the rest, between 0 and 2; no label is read.

    The share of retain images that get another answer than before (without a head: 1 − the mean cosine to their
    embeddings before), plus what is left of the images to forget: ``2 |AUC − ½|`` of telling them from unseen ones by
    how well the model knows them, or, where whole classes go, the share that gets an answer which only they got.

    Raises:
        UserError: there are no unseen images to compare with.
    """
    retain, forget = sample(data.retain, seed), sample(data.forget, seed)
    changed = 1 - Agreement(original, retain, device, "tuning", seed)(model)
    if data.task == "class" and original.head is not None:
        old = [apply_head(original, embed_all(original, images, device)) for images in (retain, forget)]
        own = own_answers(old[0], old[1], len(data.retain) * len(forget) / (len(retain) * len(data.forget)))
        if bool(own.any()):
            return changed + float(own[apply_head(model, embed_all(model, forget, device)).argmax(1)].float().mean())
    if data.unseen is None or not len(data.unseen):
        raise UserError("tuning compares with images the model never met: give unseen images, or tune=1.")
    known = Familiarity(original, forget, sample(data.unseen, seed), device)
    return changed + 2 * abs(told_apart(*known(model)) - CHANCE)


def best_of(
    tries: list[AnyForgetter], make: Callable[[AnyForgetter], Trained], judge: Callable[[Classifier], float]
) -> Trained:
    """The model of the best try, with the seconds of all of them (and of judging), and what was tried as a fact."""
    made, scores, start = [make(each) for each in tries], [], Seconds.now()
    scores = [judge(trained.model) for trained in made]
    spent = [
        Seconds(*(b - a for a, b in zip(start, Seconds.now(), strict=True))),
        *(trained.seconds for trained in made),
    ]
    # a model that answers with NaN is the worst, not the best
    place = min(range(len(made)), key=lambda n: scores[n] if math.isfinite(scores[n]) else math.inf)
    names = [each[0] for each in tries[0].config.tunes]
    tried = [
        {
            "settings": {name: getattr(each.config, name) for name in names},
            "badness": score if math.isfinite(score) else None,
        }
        for each, score in zip(tries, scores, strict=True)
    ]
    facts = {"tuning": {"tries": tried, "chosen": place}, "settings": tries[place].config.model_dump(mode="json")}
    seconds = Seconds(*(sum(each) for each in zip(*spent, strict=True)))
    return Trained(made[place].model, seconds, {**made[place].facts, **facts})

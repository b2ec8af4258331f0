"""The worst case: whether any threshold on any attack's scores tells two sides apart, whatever the attacker chooses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from unlabeled.forgetting.judge.attacks import Array


@dataclass(frozen=True)
class Worst:
    """The best that an attacker can do, as far as the images prove it.

    Attributes:
        epsilon: the two sides differ by at least this ε; 0: nothing is proven.
        ceiling: the largest ε that so many images could prove.
        attack, threshold: where the attacker does best; none where nothing is proven.
    """

    epsilon: float
    ceiling: float
    attack: str | None = None
    threshold: float | None = None

    @property
    def score(self) -> float:
        """exp(-ε) in (0, 1]: 1 where no threshold is shown to tell the sides apart, 0.25 where one meets one side
        four times as often as the other.
        """
        return math.exp(-self.epsilon)

    @property
    def least_score(self) -> float:
        """The smallest score that so few images could give."""
        return math.exp(-self.ceiling)


def worst_case(first: Mapping[str, Array], second: Mapping[str, Array], *, confidence: float = 0.95) -> Worst:
    """The privacy loss between two sides of which an attacker sees one score an image, at its best threshold.

    Two sides that are ε-indistinguishable have P(s > t | first) ≤ exp(ε) P(s > t | second) for every t, the same for
    s ≤ t, and with the sides exchanged (Kairouz et al. 2015, Theorem 2.1, with δ = 0). Measured shares break this by
    luck alone where the threshold is chosen afterwards. So each is moved by √(log(2/α) / 2n) against the attacker: its
    error at all thresholds at once (Massart 1990), with α shared out over attacks and sides.

    Args:
        first, second: ``(N,)`` and ``(M,)`` scores by attack; the same attacks on both sides.
        confidence: that ε is not smaller.

    Raises:
        ValueError: the sides have different attacks, or one has no image.

    >>> apart = worst_case({"loss": np.zeros(1000)}, {"loss": np.ones(1000)})
    >>> round(apart.score, 3), round(apart.least_score, 3)
    (0.049, 0.049)
    """
    if first.keys() != second.keys() or not all(len(s) for side in (first, second) for s in side.values()):
        raise ValueError("both sides need the same attacks, and at least one image each")
    best: tuple[float, str | None, float | None] = (1.0, None, None)
    ceiling = 1.0
    for attack in first:
        sides = [np.sort(np.asarray(side[attack], np.float64)) for side in (first, second)]
        slack = [math.sqrt(math.log(4 * len(first) / (1 - confidence)) / (2 * len(side))) for side in sides]
        thresholds = np.unique(np.concatenate(sides))
        above = [1 - np.searchsorted(side, thresholds, side="right") / len(side) for side in sides]
        for one, other in ((0, 1), (1, 0)):
            ceiling = max(ceiling, (1 - slack[one]) / min(slack[other], 1.0))
            for shares in (above, [1 - share for share in above]):
                ratios = (shares[one] - slack[one]) / np.minimum(shares[other] + slack[other], 1.0)
                place = int(ratios.argmax())
                best = max(best, (float(ratios[place]), attack, float(thresholds[place])), key=lambda found: found[0])
    return Worst(math.log(best[0]), math.log(ceiling), *best[1:])

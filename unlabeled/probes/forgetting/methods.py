"""All forgetting algorithms by name."""

from __future__ import annotations

from unlabeled.probes.forgetting.bad_teacher import BadTeacher, StochasticTeacher
from unlabeled.probes.forgetting.boundary import BoundaryExpand, BoundaryShrink
from unlabeled.probes.forgetting.duck import Duck
from unlabeled.probes.forgetting.exact_head import ExactLDA, ExactNMC, ExactRidge
from unlabeled.probes.forgetting.finetune import FineTune
from unlabeled.probes.forgetting.forgetter import Forgetter
from unlabeled.probes.forgetting.head_only import HeadOnly
from unlabeled.probes.forgetting.l1_sparse import L1Sparse
from unlabeled.probes.forgetting.laf import LAF
from unlabeled.probes.forgetting.laf_r import LAFR
from unlabeled.probes.forgetting.negative_gradient import NegativeGradient
from unlabeled.probes.forgetting.random_label import RandomLabel
from unlabeled.probes.forgetting.retrain import Retrain
from unlabeled.probes.forgetting.salun import SalUn
from unlabeled.probes.forgetting.scrub import Scrub
from unlabeled.probes.forgetting.ssd import LFSSD, SSD

METHODS: dict[str, type[Forgetter]] = {
    method.name: method
    for method in (
        LAF,
        LAFR,
        Retrain,
        HeadOnly,
        FineTune,
        L1Sparse,
        NegativeGradient,
        RandomLabel,
        BoundaryShrink,
        BoundaryExpand,
        Scrub,
        BadTeacher,
        StochasticTeacher,
        SSD,
        LFSSD,
        SalUn,
        Duck,
        ExactNMC,
        ExactLDA,
        ExactRidge,
    )
}

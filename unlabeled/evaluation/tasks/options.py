"""A task's options: those it knows, with their defaults and types."""

from __future__ import annotations

from typing import Any

from unlabeled.core.errors import UserError, nearest
from unlabeled.evaluation.tasks.base import TaskConfig
from unlabeled.probes.base import Probe
from unlabeled.probes.catalog import SUITE, probe_class


def options(config: TaskConfig, **defaults: Any) -> dict[str, Any]:
    """The options of ``config``, completed.

    Raises:
        UserError: one that the task does not know, or of another type than its default.
    """
    for name, value in config.options.items():
        if name not in defaults:
            raise UserError(f"suite: task '{config.task}' has no option '{name}'.{nearest(name, defaults)}")
        wanted = type(defaults[name])
        if not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool):
            raise config.refuse(name, f"must be a {wanted.__name__}")
    return {**defaults, **config.options}


def choice(config: TaskConfig, option: str, value: str, known: Any) -> Any:
    """What ``known`` holds under the name ``value``.

    Raises:
        UserError: nothing.
    """
    if value not in known:
        raise UserError(f"suite: task '{config.task}' has no {option} '{value}'.{nearest(value, known)}")
    return known[value]


def chosen_probe(config: TaskConfig, name: str) -> type[Probe]:
    """The class of a probe of the suite.

    Raises:
        UserError: there is no such probe.
    """
    choice(config, "probe", name, dict.fromkeys(SUITE))
    return probe_class(name)

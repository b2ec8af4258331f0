"""The command line's frame: the application that verbs are added to, and what their options share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unlabeled.core.errors import Interrupted, UserError
from unlabeled.core.launch import launched, leads
from unlabeled.core.progress import set_quiet


class Verbs(TyperGroup):
    """Ctrl-C in a verb becomes our own word for it: typer would leave with 130, slowly, and say nothing."""

    def invoke(self, ctx: Any) -> Any:
        words = list(ctx.args)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted(f"stopped{error}; nothing half-written is left, the same command goes on") from error
        except USAGE as error:
            said = _as_setting(error, words)
            if said is None:
                raise
            raise UserError(said) from error


USAGE: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser raises at words that it does not know, whichever parser typer brings."""


def _as_setting(error: Any, words: Sequence[str]) -> str | None:
    """How an unknown option is written if it is a setting of the recipe, or of the method that is to forget."""
    option, command = getattr(error, "option_name", ""), getattr(error.ctx, "command", None)
    if command is None or not option.startswith("--") or all(p.metavar != SETTINGS for p in command.params):
        return None
    name, value = option[2:].replace("-", "_"), "…"
    for position, word in enumerate(words):
        if word.startswith(f"{option}="):
            value = word.partition("=")[2]
        elif word == option and position + 1 < len(words) and not words[position + 1].startswith("--"):
            value = words[position + 1]
    if command.name == "forget":
        from unlabeled.forgetting.methods import METHODS, forgetter_class

        path = name if any(name in forgetter_class(method).Config.model_fields for method in METHODS) else None
    else:
        from unlabeled.recipes.resolve import setting

        path = setting(name)
    if path is None:
        return None
    return f"{option} is not an option of '{command.name}' but a setting: write {path}={value}"


app = typer.Typer(
    name="unlabeled",
    cls=Verbs,
    help="A representation's whole life without labels: pretrain it, probe it, make it forget, prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress, no log; results only", callback=set_quiet)]
SETTINGS = "KEY=VALUE"
Overrides = Annotated[list[str] | None, typer.Argument(metavar=SETTINGS, help="e.g. epochs=20 data=cifar10")]
"""Settings of the recipe to change."""
ON_RANKS = ("pretrain", "finetune", "probe")
"""Verbs that several processes, started together, carry out together."""


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="versions of what matters, then exit")] = False,
) -> None:
    if version:
        from unlabeled.verbs.doctor import versions

        typer.echo(versions())
        raise typer.Exit
    if launched() is not None and context.invoked_subcommand not in ON_RANKS:
        raise UserError(
            f"'{context.invoked_subcommand}' runs in a single process; torchrun and srun are for {', '.join(ON_RANKS)}."
        )


def parts(text: str) -> tuple[str, ...]:
    """The names in a list with commas.

    >>> parts("linear, knn,")
    ('linear', 'knn')
    """
    return tuple(part for part in map(str.strip, text.split(",")) if part)


def result(text: str) -> None:
    """Print a verb's result, once for all ranks."""
    if leads():
        typer.echo(text)

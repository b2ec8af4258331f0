"""The command line: thin, no logic of its own. Everything heavy is imported by the verb that needs it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unlabeled.core.errors import Diverged, Interrupted, UserError
from unlabeled.core.launch import ERRORS, launched, leads
from unlabeled.core.progress import set_quiet
from unlabeled.core.threads import settle_threads
from unlabeled.recipes import completion

settle_threads()  # of this process and those it starts; torch is not imported yet


class Verbs(TyperGroup):
    """Ctrl-C in a verb becomes our own word for it: typer would leave with 130, slowly, and say nothing."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted(f"stopped{error}; nothing half-written is left, the same command goes on") from error


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
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="e.g. epochs=20 data=cifar10")]
"""Settings of the recipe to change."""


ON_RANKS = ("pretrain", "finetune", "probe")
"""Verbs that several processes, started together, carry out together."""


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="versions of what matters, then exit")] = False,
) -> None:
    if version:
        from unlabeled.recipes.doctor import versions

        typer.echo(versions())
        raise typer.Exit
    if launched() is not None and context.invoked_subcommand not in ON_RANKS:
        raise UserError(
            f"'{context.invoked_subcommand}' runs in a single process; torchrun and srun are for {', '.join(ON_RANKS)}."
        )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, text.split(",")) if part)


def _result(text: str) -> None:
    if leads():
        typer.echo(text)


recipes_app = typer.Typer(help="List the built-in recipes, or show one.", invoke_without_command=True)
app.add_typer(recipes_app, name="recipes")


@recipes_app.callback()
def _recipes(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from unlabeled.recipes.load import builtin_recipes, summary

        known = builtin_recipes()
        width = max(map(len, known))
        for name, path in known.items():
            typer.echo(f"{name:{width}}  {summary(path)}")


@recipes_app.command("show")
def recipes_show(
    name: Annotated[str, typer.Argument(autocompletion=completion.recipes)], overrides: Overrides = None
) -> None:
    """Print a recipe with every default filled in."""
    from unlabeled.recipes.resolve import load_recipe, recipe_yaml

    typer.echo(recipe_yaml(load_recipe(name, overrides or ())), nl=False)


@app.command("data")
def data_command() -> None:
    """List the data sets that can be opened. Says which are on this machine."""
    from unlabeled.data import list_data

    for entry in list_data():
        yours = ":" in entry.name or "/" in entry.name
        missing = "yours to name" if yours else "not here; downloaded when asked for"
        found = f"found: {entry.found}" if entry.found else missing
        typer.echo(f"{entry.name:18} {entry.description}  [{found}]")


@app.command("pretrain")
def pretrain_command(
    recipe: Annotated[
        str, typer.Argument(help="a built-in name, a YAML file, or a run folder", autocompletion=completion.recipes)
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="the run folder; default: runs/…")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run stopped")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check, build, make one step, train nothing")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a backbone from images without labels."""
    from unlabeled.recipes.load import builtin_recipes
    from unlabeled.recipes.present import show_dry_run, show_run
    from unlabeled.recipes.pretrain import default_folder, pretrain
    from unlabeled.recipes.pretrain import dry_run as try_out
    from unlabeled.recipes.resolve import load_recipe
    from unlabeled.recipes.run import Run

    # a name that is both a built-in recipe's and a run's means the run only where one is to go on
    is_run = Run(recipe).exists() and (resume or recipe not in builtin_recipes())
    resolved = load_recipe(Path(recipe) / "recipe.yaml" if is_run else recipe, overrides or ())
    if dry_run:
        typer.echo(show_dry_run(try_out(resolved)))
        return
    if out is None:
        out = Path(recipe) if is_run else default_folder(resolved)
    _result(show_run(pretrain(resolved, out, resume=resume, overwrite=overwrite)))


@app.command("probe")
def probe_command(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="run folders, local-dir:PATH, hf-hub:ID, timm:NAME, pixels")
    ],
    data: Annotated[str | None, typer.Option(help="default: what the run was trained on")] = None,
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    probes: Annotated[
        str,
        typer.Option(help=f"of {','.join(completion.PROBES)}", autocompletion=completion.some_of(completion.PROBES)),
    ] = "linear,knn,nmc",
    layer: Annotated[str | None, typer.Option(help="an inner stage of the backbone, by name or number")] = None,
    pool: Annotated[str | None, typer.Option(help="avg, max, flat, cls, mean")] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate-batchnorm", help="BatchNorm statistics from the data")
    ] = False,
    labels: Annotated[str, typer.Option(help="also with few labels: 1%,10%,5-per-class")] = "",
    draws: Annotated[int, typer.Option(help="how many times the few labels are drawn")] = 5,
    incremental: Annotated[int | None, typer.Option(help="also with the classes arriving in so many steps")] = None,
    episodes: Annotated[str, typer.Option(help="also in small episodes: 5-way-1-shot,5-way-5-shot")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="write all figures here, and a picture")] = None,
    seed: int = 0,
    quiet: Quiet = False,
) -> None:
    """Measure what a frozen backbone knows. Accuracy of linear, kNN and other probes on held-out images."""
    from unlabeled.recipes.evaluate import probe_all
    from unlabeled.recipes.present import show_probes
    from unlabeled.recipes.protocols import Protocols

    reports = probe_all(
        models,
        data=data,
        data_dir=data_dir,
        probes=_parts(probes),
        layer=layer,
        pool=pool,
        calibrate=calibrate,
        protocols=Protocols(_parts(labels), draws, incremental, _parts(episodes)),
        seed=seed,
        json_file=json_file,
    )
    _result(show_probes(reports))


@app.command("forget")
def forget_command(
    model: Annotated[str, typer.Argument(help="a run folder, or a backbone folder; never changed")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="settings of --method, e.g. epochs=20")
    ] = None,
    what: Annotated[
        str,
        typer.Option(
            "--forget", help="class:0, class:3,5, random:10%, random:40%@5-9, noisy:60%@0-4, indices:FILE, files:FILE"
        ),
    ] = "",
    data: Annotated[str | None, typer.Option(help="default: what the run was trained on")] = None,
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="laf, lfssd, bad_teacher (no labels); scrub, duck, …; nmc, lda, ridge (exact)",
            autocompletion=completion.one_of(completion.FORGETTERS),
        ),
    ] = "laf",
    compare: Annotated[
        str,
        typer.Option(
            help="further methods for the table, comma-separated",
            autocompletion=completion.some_of(completion.FORGETTERS),
        ),
    ] = "",
    retrain: Annotated[bool, typer.Option(help="also train anew without the forget set, to compare with")] = True,
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds to measure")] = 1,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="the new run folder; default: beside the model's")] = None,
    quiet: Quiet = False,
) -> None:
    """Make a trained model forget images. Reads no labels by default, and shows whether the representation forgot."""
    from unlabeled.recipes.forget import forget
    from unlabeled.recipes.present import show_forgotten

    if not what:
        raise UserError("say what to forget, for instance --forget class:0 or --forget files:request.txt.")
    forgotten = forget(
        model,
        what,
        data=data,
        data_dir=data_dir,
        method=method,
        settings=settings or (),
        compare=[name for name in _parts(compare) if name not in ("retrain", "head_only", "original")],
        retrain=retrain,
        seeds=seeds,
        seed=seed,
        out=out,
    )
    typer.echo(show_forgotten(forgotten))


@app.command("finetune")
def finetune_command(
    model: Annotated[str, typer.Argument(help="a run folder or local-dir:PATH")],
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(help="default: what the run was trained on")] = None,
    labels: Annotated[str | None, typer.Option(help="how many labels may be used: 10% or 5-per-class")] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder; default: runs/…")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run stopped")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the run in the folder")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a pretrained backbone further, with labels. Leaves a run with a classifier."""
    from unlabeled.recipes.finetune import finetune
    from unlabeled.recipes.present import show_finetuned

    settings = tuple(overrides or ())
    done = finetune(model, data, labels=labels, overrides=settings, out=out, resume=resume, overwrite=overwrite)
    _result(show_finetuned(*done))


@app.command("report")
def report_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="run folders, shown side by side")],
    out: Annotated[Path | None, typer.Option(help="the page; default: report.html in the first run's folder")] = None,
    title: Annotated[str | None, typer.Option(help="of the page")] = None,
    data_dir: Annotated[str | None, typer.Option(help="where data sets lie")] = None,
    quiet: Quiet = False,
) -> None:
    """Write one page about one or several runs. Probes, curves, pictures; works without a network, prints well."""
    from unlabeled.recipes.report import report

    typer.echo(report(runs, out, title=title, data_dir=data_dir))


@app.command("export")
def export_command(
    model: Annotated[str, typer.Argument(help="a run folder, or a backbone folder")],
    to: Annotated[
        str,
        typer.Option(help=", ".join(completion.FORMATS), autocompletion=completion.one_of(completion.FORMATS)),
    ] = "timm",
    out: Annotated[Path | None, typer.Option(help="the file or folder; default: export/ in the run's folder")] = None,
    layer: Annotated[str | None, typer.Option(help="an inner stage of the backbone (torchscript, onnx)")] = None,
    pool: Annotated[str | None, typer.Option(help="avg, max, flat, cls, mean (torchscript, onnx)")] = None,
    licence: Annotated[str, typer.Option(help="of the weights, for the model card, e.g. apache-2.0")] = "unknown",
    repo: Annotated[str | None, typer.Option(help="OWNER/NAME on the Hugging Face Hub")] = None,
    push: Annotated[bool, typer.Option("--push", help="upload to --repo; nothing touches the network before")] = False,
    private: Annotated[bool, typer.Option(help="whether a new repository is private")] = True,
    quiet: Quiet = False,
) -> None:
    """Write a trained backbone for other tools. What computes is checked against torch."""
    from unlabeled.recipes.export import export

    path = export(model, to, out, layer=layer, pool=pool, repo=repo, push=push, private=private, licence=licence)
    typer.echo(path)


@app.command("import")
def import_command(
    file: Annotated[str, typer.Argument(help="weights of timm, torchvision, lightly, MAE, SwAV, DINO, MoCo, …")],
    model_args: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="of the timm model, e.g. global_pool=avg")
    ] = None,
    architecture: Annotated[str, typer.Option(help="timm's name of what it was trained as, e.g. resnet50")] = "",
    out: Annotated[Path | None, typer.Option(help="the folder; default: backbones/NAME-OF-THE-FILE")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="side of the images; default: the architecture's")] = None,
    channels: Annotated[int, typer.Option(min=1, help="of the images")] = 3,
    mean: Annotated[str, typer.Option(help="of the normalisation, e.g. 0.5,0.5,0.5; default: ImageNet's")] = "",
    std: Annotated[str, typer.Option(help="likewise")] = "",
    quiet: Quiet = False,
) -> None:
    """Make a backbone of another project's checkpoint. Says what matched and what did not."""
    from unlabeled.recipes.adopt import adopt

    if not architecture:
        raise UserError("say what the weights were trained as, in timm's words: --architecture resnet50.")
    out = out or Path("backbones") / Path(file).stem
    numbers = {"mean": _numbers("mean", mean), "std": _numbers("std", std)}
    report = adopt(file, architecture, out, image_size=size, in_chans=channels, model_args=model_args or (), **numbers)
    typer.echo(f"{report}\n{out}: unlabeled probe local-dir:{out}")


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in _parts(text)]
    except ValueError:
        raise UserError(f"--{name}: '{text}' is no list of numbers such as 0.5,0.5,0.5.") from None


@app.command("rerun")
def rerun_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a finished run folder; never changed")],
    out: Annotated[Path | None, typer.Option(help="the new run folder; default: beside the run")] = None,
    quiet: Quiet = False,
) -> None:
    """Repeat a run and compare the weights. Exit code 0 if they are identical, bit for bit, 1 if not."""
    from unlabeled.recipes.present import show_rerun
    from unlabeled.recipes.rerun import rerun

    found = rerun(run, out)
    typer.echo(show_rerun(found))
    if not found.identical:
        raise typer.Exit(1)


@app.command("runs")
def runs_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where runs lie")] = Path("runs"),
    sort: Annotated[
        str, typer.Option(help="started, run, method, data, epoch, megabytes, linear, knn, loss, …")
    ] = "started",
    compare: Annotated[bool, typer.Option("--compare", help="in what they differ, a column a run")] = False,
    clean: Annotated[
        str | None,
        typer.Option(
            help="unfinished (stopped runs) or checkpoints (of finished runs)",
            autocompletion=completion.one_of(completion.CLEANED),
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="really remove; without it --clean only says what would go")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """List, sort, compare and clean runs."""
    from unlabeled.recipes import runs

    found = runs.runs(folder, sort)
    if clean is not None:
        typer.echo(runs.show_cleaned(runs.clean(found, clean, really=yes), really=yes))
    else:
        typer.echo(runs.compare(found) if compare else runs.show_runs(found))


@app.command("doctor")
def doctor_command(
    data_dir: Annotated[str | None, typer.Option(help="a folder of data sets to look into")] = None,
) -> None:
    """Check installation, accelerator, disk and data. Says how to mend what is wrong; exit code 1 if anything is."""
    from unlabeled.recipes.doctor import doctor

    lines, healthy = doctor(data_dir)
    typer.echo("\n".join(lines))
    if not healthy:
        raise typer.Exit(1)


@app.command("bench")
def bench_command(
    what: Annotated[
        str,
        typer.Argument(help=", ".join(completion.BENCHES), autocompletion=completion.one_of(completion.BENCHES)),
    ] = "step",
    rounds: Annotated[int, typer.Option(min=1, help="turns of every contender; figures are medians")] = 7,
    profile: Annotated[bool, typer.Option("--profile", help="where the time goes instead (step, views)")] = False,
) -> None:
    """Measure the speed of this machine. Ratios to a peer, or to the bare model, in the same run."""
    from unlabeled.bench import bench

    set_quiet(True)
    for line in bench(what, rounds, profile):
        typer.echo(line)


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="where everything is written")] = Path("runs/demo"),
    quiet: Quiet = False,
) -> None:
    """Show a whole life on real images. Pretrain, probe, forget, report: five minutes on a laptop."""
    from unlabeled.recipes.demo import demo

    typer.echo(demo(out))


def console() -> None:
    """:func:`main` in a process of its own, which is left at once when it was interrupted."""
    try:
        main()
    except SystemExit as end:
        if isinstance(end.__context__, Interrupted):
            # everything is saved, and tearing down torch takes a busy machine seconds
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)
        raise


def main() -> None:
    """Run the command line: exit 0 when done, 1 when it did not finish, 2 when the user can mend it."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except UserError as error:
        _fail(error, 2)
    except (Interrupted, Diverged) as error:
        _fail(error, 1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        from unlabeled.core.files import refusal

        said = refusal(error)
        if said is None:
            raise
        _fail(UserError(said), 2)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt(" by SIGTERM")


def _fail(error: Exception, code: int) -> None:
    message, place, folder = " ".join(str(error).split()), launched(), os.environ.get(ERRORS)
    if place is not None and folder:  # the process that started this one says it, once for all ranks
        from unlabeled.core.files import atomic_write_json

        atomic_write_json(Path(folder) / str(place.rank), {"kind": type(error).__name__, "message": message})
    else:
        print(
            f"unlabeled: {message}" if leads() else f"unlabeled, rank {place and place.rank}: {message}",
            file=sys.stderr,
        )
    sys.exit(code)

"""The command line. Heavy imports wait until a command needs them: --help and ls answer in under a second."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from adbench.orchestrator.cli_reports import REPORT_COMMANDS
from adbench.orchestrator.exits import INTERRUPTED, SOME_FAILED, USAGE_ERROR
from adbench.orchestrator.exits import guarded as _guarded
from adbench.orchestrator.terminal import echo

if TYPE_CHECKING:
    from adbench.orchestrator.overrides import Overrides
    from adbench.orchestrator.plan import Plan

_OVERRIDES_HELP = """
Overrides are KEY=VALUE in Hydra's grammar:

\b
  suite=quickstart              a shipped suite, or PATH.yaml
  method=ckaad,recon            which methods        dataset=elpv,phantom   which datasets
  category=mono,weave           which categories     seed=range(0,5)        which seeds
  method.gamma=0.3              a method's parameter, of every chosen method that has it
  method.gamma=0.1,0.5          one run for each value
  dataset=folder dataset.root=PATH    your own images
  budget=smoke|quick|full  image_size=256  device=auto|cpu|cuda  out=FOLDER  lanes=auto
  launcher=ray|inprocess  address=auto  workers_per_lane=1  cpus_per_lane=1  gpus_per_lane=1
  cell_timeout=600
  n_normal=8                    few-shot: that many normal training images
  noise=0.1                     that share of the training images are anomalies taken for normal: of the labelled
                                pool, and with noise_from_test=true of test too, where the pool is too small
  multi_class=true              one model for all categories of a dataset, judged on each of them

`adbench show suite NAME` prints a suite, `adbench run suite=NAME --cfg` every key and its value.
"""


class _Group(click.Group):
    """Shows a wrong request as one message without a traceback, and sets the exit codes."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        words = list(kwargs.get("args") or (args[0] if args else sys.argv[1:]))
        if "--debug" in words:  # It belongs to every command; click wants it before theirs.
            words = ["--debug", *(word for word in words if word != "--debug")]
        try:
            result = super().main(**{**kwargs, "args": words, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            sys.exit(USAGE_ERROR)
        except click.exceptions.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(result if isinstance(result, int) else 0)


class _SweepCommand(click.Command):
    """Lists the keys of a search in its help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Called by click; after the options come the keys, each with its default."""
        from adbench.orchestrator.request import SearchSpec

        super().format_options(ctx, formatter)
        rows = []
        for key, field in SearchSpec.model_fields.items():
            default = field.get_default(call_default_factory=True)
            shown = ",".join(default) if isinstance(default, tuple) else json.dumps(default).strip('"')
            choices = f" ({', '.join(get_args(field.annotation))})" if get_origin(field.annotation) is Literal else ""
            word = f"search.{key}.NAME=RANGE" if isinstance(default, dict) else f"search.{key}={shown}"
            rows.append((word, f"{field.description}{choices}"))
        with formatter.section("Keys of the search, with their defaults"):
            formatter.write_dl(rows, col_max=42)


_SKIP_MISSING = click.option("--skip-missing", is_flag=True, help="Leave out datasets that are not on disk.")


def _cell_flags(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The flags of all commands that run cells."""
    for flag in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line."),
        click.option("--quiet", is_flag=True, help="Print failures only."),
        _SKIP_MISSING,
        click.option("--no-cache", is_flag=True, help="Neither read nor write cached images and features."),
    ):
        command = flag(command)
    return command


def _planned(
    overrides: tuple[str, ...], use_cache: bool = True, skip_missing: bool = False
) -> "tuple[Plan, Overrides]":
    """The plan of a request, and the overrides that made it."""
    from adbench.orchestrator.compose import compose
    from adbench.orchestrator.overrides import parse_overrides

    parsed = parse_overrides(overrides)
    request = compose(parsed)  # Before what is heavy: most requests that are wrong are refused here.
    from adbench.orchestrator.opening import open_data

    data = open_data(request, parsed, skip_missing)
    from adbench.datasets.file_index import kept_in
    from adbench.orchestrator.plan import make_plan
    from adbench.orchestrator.run import cache_folder

    with kept_in(cache_folder(request, use_cache), request.pixels(), progress=sys.stderr.isatty()):
        plan = make_plan(request, parsed, data)
    if plan.missing:
        echo(f"left out, for their data is not here: {', '.join(plan.missing)}", err=True)
    return plan, parsed


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show a traceback with every error.")
@click.version_option(package_name="adbench-vision", prog_name="adbench")
def main(debug: bool) -> None:
    """Benchmark visual anomaly detection: from images to a leaderboard you can trust.

    \b
    Start with:        adbench run suite=quickstart
    Your own images:   adbench show dataset folder
    Public datasets:   adbench ls datasets, then adbench show dataset NAME
    """


@main.command(short_help="Train and evaluate a suite's methods on its datasets.", epilog=_OVERRIDES_HELP)
@click.argument("overrides", nargs=-1, metavar="suite=NAME|PATH [KEY=VALUE ...]")
@click.option("--dry-run", is_flag=True, help="Show the plan and what is already recorded; run nothing.")
@click.option("--cfg", is_flag=True, help="Print the resolved configuration as YAML; run nothing.")
@click.option("--limit", type=click.IntRange(min=0), help="Run at most this many cells.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failed cell.")
@_cell_flags
@_guarded
def run(
    overrides: tuple[str, ...],
    dry_run: bool,
    cfg: bool,
    limit: int | None,
    fail_fast: bool,
    skip_missing: bool,
    no_cache: bool,
    quiet: bool,
    as_json: bool,
) -> int | None:
    """Train and evaluate every cell of a suite that is not yet recorded, then render the leaderboard.

    A cell is one method, with its parameters, on one category of a dataset with one seed.

    Exit codes: 0 every cell ok; 1 some cells failed; 2 the request is wrong; 130 interrupted.
    """
    plan, _ = _planned(overrides, not no_cache, skip_missing)
    from adbench.orchestrator import show
    from adbench.orchestrator.display import Style
    from adbench.orchestrator.run import RunOptions, execute, resolve_device, summary

    if cfg:
        echo(show.configuration(plan), nl=False)
        return 0
    if dry_run:
        resolve_device(plan.request)  # Refuses CUDA where there is none; execute() does so by itself.
        echo(show.dry_run(plan, limit, as_json))
        return 0
    style: Style = "json" if as_json else "quiet" if quiet else "live"
    outcome = execute(plan, RunOptions(limit, fail_fast, not no_cache, style))
    if as_json:
        echo(show.outcome_json(outcome))
    elif not quiet:
        echo("\n".join(summary(outcome)))
    return SOME_FAILED if outcome.failures else 0


@main.command(cls=_SweepCommand, short_help="Search a method's parameters.", epilog=_OVERRIDES_HELP)
@click.argument("overrides", nargs=-1, metavar="suite=NAME|PATH method=NAME [search.trials=N] [KEY=VALUE ...]")
@click.option("--dry-run", is_flag=True, help="Show what would be searched; run nothing.")
@click.option("--dashboard", is_flag=True, help="Open the study in optuna-dashboard meanwhile, if it is installed.")
@_cell_flags
@_guarded
def sweep(
    overrides: tuple[str, ...],
    dry_run: bool,
    dashboard: bool,
    skip_missing: bool,
    no_cache: bool,
    quiet: bool,
    as_json: bool,
) -> int | None:
    """Search the parameters of each method of the suite on validation data, with Ray Tune and Optuna.

    The best setting is then run on fresh seeds, and these runs alone enter the leaderboard, as tuned. The same
    command continues after an interruption, and with a larger search.trials= it goes on from there.
    """
    plan, parsed = _planned(overrides, not no_cache, skip_missing)
    if dry_run:
        from adbench.orchestrator.show_sweep import spaces

        echo(spaces(plan, parsed.method_params))
        return 0
    from adbench.orchestrator.display import Style
    from adbench.orchestrator.run import RunOptions, ray_resources

    ray_resources(plan.request)  # Before anything imports Ray, which then reads its environment.
    from adbench.orchestrator.dashboard import open_dashboard
    from adbench.orchestrator.sweep import execute_sweep, summary

    style: Style = "json" if as_json else "quiet" if quiet else "live"
    options = RunOptions(use_cache=not no_cache, style=style)
    with open_dashboard(plan.request.out, lambda text: echo(text, err=True)) if dashboard else nullcontext():
        outcome = execute_sweep(plan, parsed.method_params, options)
    if not quiet and not as_json:
        echo("\n".join(summary(outcome)))
    return SOME_FAILED if outcome.failures else 0


@main.command(short_help="How long a suite would take on many lanes.", epilog=_OVERRIDES_HELP)
@click.argument("overrides", nargs=-1, metavar="suite=NAME|PATH [lanes=1000] [KEY=VALUE ...]")
@click.option("--from", "source", metavar="FOLDER", help="Results folder with recorded runs (default: out=).")
@click.option("--price", type=click.FloatRange(min=0.0), help="What a lane costs an hour, in any currency.")
@_SKIP_MISSING
@_guarded
def simulate(overrides: tuple[str, ...], source: str | None, price: float | None, skip_missing: bool) -> int | None:
    """Replay recorded durations through the real plan and dispatcher in simulated time; trains nothing.

    Shows makespan, idle share of the lanes and their hours, for lanes= or for several numbers of lanes.
    """
    plan, _ = _planned(overrides, skip_missing=skip_missing)
    from adbench.orchestrator.keys import results_folder
    from adbench.orchestrator.simulate import simulation
    from adbench.reports.store import ResultStore

    runs = ResultStore(results_folder({"out": source or plan.request.out})).runs()
    lanes = None if plan.request.lanes == "auto" else plan.request.lanes
    echo(simulation(plan.cells, runs, lanes, price))
    return 0


@main.command(short_help="List methods, datasets, suites, metrics, runs or sweeps.")
@click.argument("what", type=click.Choice(["methods", "datasets", "suites", "metrics", "runs", "sweeps"]))
@click.argument("overrides", nargs=-1, metavar="[out=FOLDER]")
@_guarded
def ls(what: str, overrides: tuple[str, ...]) -> int | None:
    """List what there is; `adbench ls runs out=FOLDER` lists recorded runs, `ls sweeps` searches."""
    from adbench.orchestrator import listing

    echo(listing.table(what, overrides))
    return 0


@main.command(short_help="Explain a method, dataset, suite, recorded run or sweep.")
@click.argument("what", type=click.Choice(["method", "dataset", "suite", "run", "sweep"]))
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[out=FOLDER]")
@_guarded
def show(what: str, name: str, overrides: tuple[str, ...]) -> int | None:
    """Explain one thing in full: parameters, bounds and papers; licences and splits; YAML; every column; trials."""
    from adbench.orchestrator import show as pages

    echo(pages.page(what, name, overrides))
    return 0


@main.group(short_help="Prepare a dataset from its archives, or verify one.")
def data() -> None:
    """Datasets on disk: unpack their archives, and check every file.

    `adbench show dataset NAME` says where the archives are to be had, and how the files lie.
    """


@data.command("prepare", short_help="Unpack a dataset's archives, given or downloaded, and verify them.")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[ARCHIVE ...] [data_root=FOLDER] [dataset.KEY=VALUE ...]")
@click.option(
    "--download", is_flag=True, help="Fetch the archives; an interrupted download goes on. Not for all datasets."
)
@click.option("--force", is_flag=True, help="Replace the dataset if it was prepared before.")
@_guarded
def data_prepare(name: str, words: tuple[str, ...], download: bool, force: bool) -> int | None:
    """Unpack the archives of the dataset NAME (zip, tar, gz, xz, bz2), and verify what they hold.

    It goes to data_root/NAME (default: adbench-data/NAME), where `adbench run` finds it; nothing appears there if an
    archive is broken, unsafe or another dataset's. The archives stay as they are. dataset.KEY=VALUE are the dataset's
    parameters, for those who hold but a part of it.

    Exit codes: 0 all is well; 2 it cannot be prepared, or problems were found.
    """
    from adbench.orchestrator.data import run_prepare

    return 0 if run_prepare(name, words, download, force) else USAGE_ERROR


@data.command("verify", short_help="Check every file of a dataset.")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[data_root=FOLDER | root=FOLDER] [dataset.KEY=VALUE ...]")
@_guarded
def data_verify(name: str, words: tuple[str, ...]) -> int | None:
    """Print every problem of the dataset NAME: unreadable files, masks, wrong numbers, changes since it was prepared.

    It is looked for in data_root/NAME (default: adbench-data/NAME), or in root=FOLDER itself. dataset.KEY=VALUE are
    its parameters, as `adbench run` takes them.

    Exit codes: 0 none; 2 some, or it is not there.
    """
    from adbench.orchestrator.data import run_verify

    return 0 if run_verify(name, words) else USAGE_ERROR


@main.command(short_help="List or clear the cache of images and features.")
@click.argument("what", type=click.Choice(["ls", "clear"]))
@click.argument("overrides", nargs=-1, metavar="[cache_dir=FOLDER]")
@_guarded
def cache(what: str, overrides: tuple[str, ...]) -> int | None:
    """List or clear what adbench keeps to be fast; nothing in it is a result."""
    from adbench.orchestrator import listing

    echo(listing.cache(what, overrides))
    return 0


@main.command(short_help="What works on this machine, what does not, what to do.")
@click.argument("overrides", nargs=-1, metavar="[out=FOLDER] [cache_dir=FOLDER] [data_root=FOLDER]")
@_guarded
def doctor(overrides: tuple[str, ...]) -> int | None:
    """Check Python, packages, GPUs, Ray, disk, cache, bundled weights and datasets."""
    from adbench.orchestrator.doctor import examine

    healthy = True
    for finding in examine(overrides):
        healthy &= finding.ok is not False
        echo(finding.line())
    return 0 if healthy else 1


for command in REPORT_COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()

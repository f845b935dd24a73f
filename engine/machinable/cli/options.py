"""The interface of the command line: every command, its arguments and its options, each declared once.

Only click is imported here. The module with the body of a command is imported when the command is called, so that help
and completion of option names stay fast and those modules can import what they use at their top.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from machinable.cli.commands import COMMANDS, help_text
from machinable.errors import did_you_mean, near_names
from machinable.units import parse_duration

__all__ = ["program"]


def _late(path: str) -> Callable[..., Any]:
    """Return a function that calls `module:function` of this package, importing it then."""
    module, _, name = path.partition(":")

    def call(*arguments: Any, utc: bool = False, **settings: Any) -> Any:
        from machinable.serialization import without_collections

        with without_collections():  # what is imported stays
            command = getattr(import_module(f"machinable.cli.{module}"), name)
            output = import_module("machinable.cli.output")
        with output.short_warnings(), output.zone("UTC" if utc else None):
            return command(*arguments, **settings)

    return call


def _not_an_option(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse the next option as a value, as in `--storage $UNSET --quiet`, before a directory gets its name."""
    if value is not None and value.startswith("--"):
        raise click.BadParameter(f"{value!r} is an option; a directory of that name is ./{value}")
    return value


def _not_options(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        _not_an_option(context, option, value)
    return values


def _one_or_several(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> str | tuple[str, ...] | None:
    """Return the only value as itself, and None if there is none."""
    _not_options(context, option, values)
    return values if len(values) > 1 else next(iter(values), None)


def _duration(text: str) -> float:
    """Return the seconds of a duration; a number without a unit is seconds."""
    seconds = parse_duration(text)
    if seconds is not None:
        return seconds
    try:
        return float(text)
    except ValueError:
        expected = "write seconds, or a number with ms, s, m, h or d: 90, 500ms, 2h"
        raise click.BadParameter(f"{text!r} is not a duration; {expected}") from None


def _age(text: str) -> float:
    """Return the seconds of an age, which needs a unit."""
    seconds = parse_duration(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is not an age; write a number with m, h, d or w: 12h, 30d")
    return seconds


def _option(*names: str, complete: str = "", **settings: Any) -> click.Option:
    """Declare an option; `complete` is a kind of values, see `completion.values`."""
    return click.Option(names, shell_complete=_completer(complete) if complete else None, **settings)


def _argument(name: str, complete: str = "", **settings: Any) -> click.Argument:
    """Declare an argument; `complete` is a kind of values, see `completion.values`."""
    return click.Argument([name], shell_complete=_completer(complete) if complete else None, **settings)


def _completer(kind: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    return lambda context, _, incomplete: _late("completion:values")(kind, context, incomplete)


# --- parameters of several commands

_COMPONENT = _argument("component", "components")
_VERSIONS = _argument("versions", "versions_and_keys", nargs=-1, metavar="[~VERSION | @VERSION | KEY=VALUE]…")
_ID = _argument("identifier", "executions", metavar="ID")
_TARGET = _argument("identifier", "targets", metavar="ID[/TRIAL]")
_TARGET_OR_CONDITION = _argument("identifier", "targets_and_fields", metavar="ID[/TRIAL] | CONDITION")
_IDS = _argument("identifiers", "targets_and_fields", nargs=-1, required=True, metavar="[ID[/TRIAL] | CONDITION]…")
_ANY_IDS = _argument("identifiers", "executions", nargs=-1, metavar="[ID]…")
_STORAGE = _option(
    "--storage",
    complete="files",
    metavar="URL",
    callback=_not_an_option,
    help="Directory or URL. Default: MACHINABLE_STORAGE, then the project's storage, then the user's.",
)
_STORAGES = _option(
    "--storage",
    complete="files",
    multiple=True,
    metavar="URL",
    callback=_one_or_several,
    help="Directory or URL; several are read as one. Repeatable. Default: MACHINABLE_STORAGE, then the project's "
    "storage, then the user's.",
)
_JSON = _option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout, errors included.")
_WIDE = _option("--wide", is_flag=True, help="Do not fit tables to the terminal.")
_UTC = _option("--utc", is_flag=True, help="Show times in UTC. Default: the local zone.")
_WHERE = _option(
    "--where",
    "conditions",
    complete="fields",
    multiple=True,
    metavar="C",
    help="Condition, such as 'records.loss<0.3 and status=finished'; all given must hold. Repeatable.",
)
_DESCENDING = _option("--descending", is_flag=True, help="With --sort: the largest first.")
_QUIET = _option("--quiet", is_flag=True, help="Show no progress.")
_TRIAL = _option(
    "--trial", "uid", complete="trials", metavar="UID", help="Only this trial; a prefix of its uid is enough."
)
_TRIALS = _option(
    "--trial",
    "uids",
    complete="trials",
    multiple=True,
    metavar="UID",
    help="Only this trial and what it requires; a prefix of its uid is enough. Repeatable.",
)
_PROJECT = _option("--project", complete="files", metavar="DIR", help="Use the code in DIR instead of the code backup.")
_ALTERNATIVES = (
    _option(
        "--grid",
        complete="grids",
        multiple=True,
        metavar="KEY=VALUE,VALUE|@VERSION,@VERSION",
        help="One trial for each value or version; repeat it for all combinations, of which the last varies fastest.",
    ),
    _option("--repeat", type=int, metavar="N", help="Run all N times with different seeds."),
    _option("--split", type=int, metavar="N", help="Run all N times as parts, such as folds: flags SPLIT_NUMBER, …."),
)
_SEARCH = (
    _option(
        "--tune",
        complete="domains",
        multiple=True,
        metavar="KEY=DOMAIN",
        help="Search: try values of a key, such as 'rate=loguniform(1e-4,1e-1)' or 'layers=choice([32],[64,64])'; ~ "
        "for versions. Repeatable.",
    ),
    _option("--samples", type=int, metavar="N", help="With --tune: the number of configurations that are tried."),
    _option(
        "--metric", complete="metrics", metavar="FIELD", help="With --tune: what counts: records.loss.last, result."
    ),
    _option(
        "--mode", type=click.Choice(["min", "max"]), help="With --tune: whether the metric should be small or large."
    ),
    _option(
        "--sampler", complete="samplers", metavar="S", help="With --tune: random (default), grid, tpe, cmaes, gp, …."
    ),
    _option(
        "--prune", complete="pruners", metavar="P", help="With --tune: end trials early by their rows: median, asha, …."
    ),
    _option("--repeats", type=int, metavar="N", help="With --tune: the trials of each sample, whose mean counts."),
    _option("--stop", metavar="C", help="With --tune: no sample follows one that satisfies this condition."),
    _option(
        "--search-timeout", type=_duration, metavar="T", help="With --tune: no sample follows after this time: 90s, 2h."
    ),
)
_RUNNING = (
    _STORAGE,
    _option("--engine", complete="engines", metavar="E", help="Where trials run. Default: local."),
    _option("--dry", is_flag=True, help="Check everything and print what would run and why; run nothing."),
    _option("--detach", is_flag=True, help="Run in the background: print the id once it has begun, and return."),
    _option(
        "--rerun",
        complete="components",
        multiple=True,
        metavar="NAME",
        help="Run this component even if its result exists; may be a pattern such as net.*. Repeatable.",
    ),
    _option("--no-cascade", is_flag=True, help="With --rerun: do not rerun trials that have read the old results."),
    _option(
        "--reuse",
        type=click.Choice(["all", "same-code", "none"]),
        help="all: also reuse results of listed components. same-code: only results of the same code. "
        "none: run everything.",
    ),
    _option(
        "--on-busy",
        type=click.Choice(["wait", "skip", "fail"]),
        help="What to do about results that another execution is computing. Default: wait.",
    ),
    _option("--retries", type=int, metavar="N", help="Number of retries of a failed trial."),
    _option(
        "--retry-delay",
        type=_duration,
        metavar="T",
        help="Time to wait before a retry: seconds, or 500ms, 2m.",
    ),
    _option("--timeout", type=_duration, metavar="T", help="Time limit of an attempt: seconds, or 500ms, 30m, 2h."),
    _option(
        "--on-failure",
        type=click.Choice(["raise", "continue", "stop"]),
        help="After a failure: raise runs the other trials and exits with code 1 (default). "
        "continue runs them and exits with code 0. stop starts no further trials.",
    ),
    _QUIET,
    _JSON,
)


# --- commands


class _Config(click.Command):
    """Accept several words after `--diff`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--diff" in args:
            at = args.index("--diff")
            end = next((i for i in range(at + 1, len(args)) if args[i].startswith("--")), len(args))
            spread = [part for word in args[at + 1 : end] or [""] for part in ("--diff", word)]
            args = [*args[:at], *spread, *args[end:]]
        return super().parse_args(ctx, args)


class _Running(click.Command):
    """Accept several words after `--of NAME`: they are versions and values for that component."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        rest = list(args)
        while "--of" in rest:
            at = rest.index("--of")
            end = next((i for i in range(at + 1, len(rest)) if rest[i].startswith("--")), len(rest))
            name, *words = rest[at + 1 : end] or [""]
            if end == len(rest) and ctx.resilient_parsing:  # the last word is being completed
                ctx.meta["of"] = [name, *words]
            elif not words:
                raise click.UsageError(f"--of {name or 'NAME'} needs a version or KEY=VALUE: --of NAME rate=0.1", ctx)
            spread += [*rest[:at], *(part for word in words for part in ("--of", name, word))]
            rest = rest[end:]
        return super().parse_args(ctx, [*spread, *rest])


_OF = _option(
    "--of",
    "of",
    complete="of",
    multiple=True,
    nargs=2,
    metavar="NAME [~VERSION | KEY=VALUE]…",
    help="Versions and values for this component wherever it stands: required ones and children, too. Repeatable.",
)


class _Program(click.Group):
    """The program: help that needs no command, and suggestions for unknown names."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0][:1] != "-" and args[0] not in COMMANDS and not ctx.resilient_parsing:
            near = near_names(args[0], COMMANDS)
            hint = did_you_mean(near) if near else f"Known: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command named {args[0]!r}\n  {hint}", ctx)
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        return help_text()


program = _Program(
    name="machinable",
    params=[_option("--version", is_flag=True, expose_value=False, help="Show the version and exit.")],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _command(
    name: str, body: str, help: str, *params: click.Parameter, cls: type[click.Command] = click.Command
) -> None:
    """Declare a command; its body is `module:function` in this package."""
    program.add_command(cls(name, params=list(params), callback=_late(body), help=help, short_help=COMMANDS[name]))


_command(
    "init",
    "project:init_command",
    "Create a project in DIR (default: the working directory). Existing files are not overwritten.",
    _argument("directory", "files", default=".", metavar="[DIR]"),
)
_command(
    "execute",
    "run:execute_command",
    """Run a component or a task and store its results.

    A task is declared in machinable.yaml, or it is package.module:name: a Task, or a function that returns one.
    Versions and values are merged from left to right, for a task over those of all its components.
    A value is YAML: rate=1e-3, layers=[64,64], data.name=mnist. @name is the same as ~name, which some shells expand.
    Without a name, the only task of the project runs, or else its only component.
    """,
    _argument("component", "runnable", required=False, metavar="[COMPONENT|TASK]"),
    _VERSIONS,
    *_ALTERNATIVES,
    *_SEARCH,
    _option(
        "--seed",
        metavar="S",
        help="A number, the id of an execution (id:123456 if it is all digits), or content: seeds from the content of "
        "trials, whose results can then be reused.",
    ),
    _option("--name", metavar="N", help="Name the execution."),
    _OF,
    *_RUNNING,
    cls=_Running,
)
_command(
    "resume",
    "run:resume_command",
    """Continue the execution ID: run what has not finished, leave everything else unchanged.

    Without COMPONENT the stored task is resumed. With COMPONENT, given as for `execute`, the given task replaces it:
    new trials run; dropped ones stay on disk and are ignored. --engine, --timeout and others are not stored: give them
    again.
    """,
    _ID,
    _argument("component", "runnable", required=False, metavar="[COMPONENT|TASK]"),
    _VERSIONS,
    *_ALTERNATIVES,
    *_SEARCH,
    _option("--yes", is_flag=True, help="Add and drop trials without asking."),
    _OF,
    *_RUNNING,
    cls=_Running,
)
_command(
    "stop",
    "run:stop_command",
    """Stop the running execution ID, on whatever host it runs, and wait until it has ended.

    It ends as with Ctrl-C there: components that save a checkpoint do so first, and `machinable resume ID` continues.
    """,
    _ID,
    _STORAGE,
    _JSON,
)
_command(
    "components",
    "components:components_command",
    """List the components, tasks and mixins of the project, and of the projects that it imports.

    Each has its versions, the place where it is declared, and the first line of the docstring of its class or module.
    """,
    _WIDE,
    _JSON,
)
_command(
    "config",
    "config:config_command",
    "Show the configuration that COMPONENT receives, as YAML.",
    _COMPONENT,
    _VERSIONS,
    _option("--explain", complete="keys", metavar="KEY", help="Show where this key was set, in order."),
    _option(
        "--diff",
        complete="versions_and_keys",
        multiple=True,
        metavar="~VERSION…",
        help="Show only what differs with these versions.",
    ),
    _JSON,
    cls=_Config,
)
_command(
    "versions",
    "config:versions_command",
    "Show what each version of COMPONENT changes; a nested version, ~a:b, relative to its outer version.",
    _COMPONENT,
    _JSON,
)
_command(
    "check",
    "check:check_command",
    """Report every error in the project.

    Each component is resolved alone and with each of its versions, its module is imported, and its config methods and
    Config class are checked. The exit code is 2 if there are errors, 0 if there are only hints.
    """,
    _option("--no-import", is_flag=True, help="Import no module: check machinable.yaml only, and run no code."),
    _JSON,
)
_command(
    "list",
    "show:list_command",
    """List the executions in a storage, newest first.

    Conditions are on execution, id, name, started, status, trials, finished, failed and seed, or on a field of trials,
    which one of its trials must satisfy.
    """,
    _STORAGES,
    _WHERE,
    _option("--sort", metavar="F", help="Sort by started, status, trials, finished, failed or another column."),
    _DESCENDING,
    _option("--limit", type=click.IntRange(min=1), metavar="N", help="Show only the newest N, or the first N."),
    _UTC,
    _WIDE,
    _JSON,
)
_command(
    "trials",
    "trials:trials_command",
    """List the trials of a storage, or of the executions and trials ID, as a table, or a summary of them with --by.

    A field is status, config.rate, tags.study, records.loss, records.loss.min, seconds, …; a condition is a field, one
    of = != < <= > >= ~ in, and a value in YAML.
    """,
    _argument("identifiers", "targets_and_fields", nargs=-1, metavar="[ID[/TRIAL]]…"),
    _STORAGES,
    _WHERE,
    _option("--sort", complete="fields", metavar="F", help="Sort by a field; missing values are last."),
    _DESCENDING,
    _option(
        "--by",
        complete="fields",
        metavar="F,…",
        help="Summarise repetitions by these fields: n, mean, deviation, 95 % interval, median.",
    ),
    _option(
        "--columns",
        complete="fields",
        metavar="F,…",
        help="Show these fields; with --by, summarise these. Default: what differs, and the last rows.",
    ),
    _option(
        "--figures",
        complete="figures",
        metavar="F,…",
        help="With --by: only these of n, failed, mean, sd, low, high, median, min, max.",
    ),
    _option("--top", type=click.IntRange(min=1), metavar="N", help="Show only the first N rows."),
    _option("--csv", "as_csv", is_flag=True, help="Write CSV with all digits."),
    _option("--md", "as_md", is_flag=True, help="Write a Markdown table."),
    _option("--latex", "as_latex", is_flag=True, help="Write a LaTeX table for the package booktabs."),
    _UTC,
    _WIDE,
    _JSON,
)
_command(
    "show",
    "show:show_command",
    "Show the execution ID or one of its trials, or the trials that satisfy a condition.",
    _TARGET_OR_CONDITION,
    _STORAGES,
    _TRIAL,
    _option("--log", is_flag=True, help="Show the log."),
    _option("--output", is_flag=True, help="Show the output on stdout and stderr."),
    _UTC,
    _WIDE,
    _JSON,
)
_command(
    "tail",
    "show:tail_command",
    "Show the latest rows, log lines, output and events of the running trials of ID, or of the one that ran last.",
    _TARGET,
    _STORAGE,
    _TRIAL,
    _option("-n", "number", type=click.IntRange(min=0), default=10, metavar="N", help="Show the last N lines (10)."),
    _option("-f", "--follow", "follows", is_flag=True, help="Follow the execution until it ends."),
    _option("--json", "as_json", is_flag=True, help="Write one JSON document per line, errors included."),
)
_command(
    "compare",
    "compare:compare_command",
    """Show executions or trials side by side: the settings that differ, and the results.

    Repetitions in one execution share a line with mean ± standard deviation and the 95 % interval of the mean. ID/TRIAL
    is one trial; a prefix of its uid is enough. With conditions, only the trials that satisfy them are shown.
    """,
    _IDS,
    _STORAGES,
    _option(
        "--field",
        "fields",
        multiple=True,
        metavar="FIELD",
        help="Field to compare, such as records.loss.min. Default: the last row of each trial. Repeatable.",
    ),
    _WIDE,
    _JSON,
)
_command(
    "diff",
    "compare:diff_command",
    """Show the settings, code, packages, host, seeds and results in which A and B differ.

    Trials are matched by uid, or else by how they were requested.
    """,
    _argument("first", "targets", metavar="A[/TRIAL]"),
    _argument("second", "targets", metavar="B[/TRIAL]"),
    _STORAGE,
    _JSON,
)
_command(
    "plot",
    "plot:plot_command",
    """Draw a figure of fields of trials: means of repetitions with 95 % intervals.

    The trials are those of a storage, or of the executions and trials ID, that satisfy the conditions. Without --kind,
    the fields decide: curves over the iterations or over numbers of a setting, scatter over other numbers, else bars. A
    figure that exists is replaced, any other file is not.
    """,
    _argument("identifiers", "targets_and_fields", nargs=-1, metavar="[ID[/TRIAL] | CONDITION]…"),
    _STORAGES,
    _WHERE,
    _option(
        "--metric",
        complete="fields",
        metavar="F,…",
        help="The vertical axis, such as records.loss; several are drawn one below the other. Default: the only one.",
    ),
    _option(
        "--x",
        complete="fields",
        metavar="F",
        help="The horizontal axis: a column of rows, or a field. Default: the iteration, or a bar for each setting.",
    ),
    _option("--by", complete="fields", metavar="F,…", help="Fields with separate colours. Default: what differs."),
    _option(
        "--kind", type=click.Choice(["curves", "bars", "scatter", "heatmap"]), help="Default: what suits the fields."
    ),
    _option(
        "--band",
        type=click.Choice(["95%", "sd", "range", "none"]),
        default="95%",
        help="The interval: 95 % of the mean (default), standard deviation, minimum to maximum, or none.",
    ),
    _option(
        "--smooth", type=float, default=0.0, metavar="W", help="Weight of a moving average, such as 0.9. Default: 0."
    ),
    _option("--log", type=click.Choice(["x", "y", "xy"]), help="Logarithmic axes."),
    _option("--size", type=float, nargs=2, metavar="W H", help="Inches. Default: a column of a paper, 3.4 wide."),
    _option("-o", "--to", "file", complete="files", metavar="FILE", help="The file: .pdf, .svg or .png."),
    _JSON,
)
_command(
    "report",
    "show:report_command",
    """Write one self-contained HTML file about executions or trials.

    It shows the results first: a summary, curves with 95 % intervals, images and contrasts; then settings, failures,
    code and environment.
    """,
    _IDS,
    _STORAGES,
    _option("--to", "file", complete="files", metavar="FILE", help="The file; - for stdout. Default: report-ID.html."),
    _option(
        "--contrast",
        "contrasts",
        complete="fields",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Compare the values of a field with this baseline. Default: if only one differs, its first. Repeatable.",
    ),
    _option("--watch", "watches", is_flag=True, help="Write it again every few seconds until the executions end."),
    _option("--yes", is_flag=True, help="Replace an existing file."),
    _UTC,
    _JSON,
)
_command(
    "tag",
    "annotate:tag_command",
    """Add tags to the execution ID, that is to all of its trials, or to one trial.

    What ran is not changed; conditions and tables take the tag as tags.KEY. A value is YAML.
    """,
    _TARGET,
    _argument("words", nargs=-1, metavar="[KEY=VALUE]…"),
    _STORAGE,
    _option("--remove", "removed", multiple=True, metavar="KEY", help="Remove a tag. Repeatable."),
    _JSON,
)
_command(
    "note",
    "annotate:note_command",
    "Add a note to the execution ID or to one of its trials. What ran is not changed.",
    _TARGET,
    _argument("text"),
    _STORAGE,
    _JSON,
)
_command(
    "path",
    "artifacts:path_command",
    "Print the path of an execution, of a trial, or of its artifact NAME, in a storage that is a directory.",
    _TARGET,
    _argument("name", "artifacts", required=False),
    _STORAGE,
)
_command(
    "open",
    "artifacts:open_command",
    "Open the artifact NAME with the program of the desktop for it; one on a remote storage is fetched.",
    _TARGET,
    _argument("name", "artifacts"),
    _STORAGE,
)
_command(
    "ui",
    "ui:ui_command",
    """Show executions and trials in a page of the browser, at a URL with a token that is printed first.

    It answers only on this machine, changes nothing, and ends with Ctrl-C.
    """,
    _option(
        "--storage",
        "storages",
        complete="files",
        multiple=True,
        metavar="URL",
        callback=_not_options,
        help="Directory or URL; several are shown as one. Repeatable. Default: as for other commands.",
    ),
    _option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="Default: a free port."),
    _option("--edit", is_flag=True, help="Allow that tags and notes are added."),
    _option("--open", "opens", is_flag=True, help="Open it in the browser."),
)
_command(
    "reproduce",
    "replay:reproduce_command",
    """Restore the code of ID into a temporary directory, run it with the same seeds, and compare the results.

    The exit code is 0 if everything is identical or within --tolerance, and 1 otherwise.
    """,
    _ID,
    _STORAGE,
    _TRIALS,
    _option(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="T",
        help="Largest accepted difference of numbers, absolute up to 1 and relative beyond, such as 1e-6. Default: 0.",
    ),
    _PROJECT,
    _option("--engine", complete="engines", metavar="E", help="Where trials run. Default: the original engine."),
    _option("--keep", complete="files", metavar="DIR", help="Keep the restored code and the new results in DIR."),
    _QUIET,
    _JSON,
)
_command(
    "export",
    "replay:export_command",
    "Write a directory that runs the trials of ID without an installed machinable, with the same random numbers.",
    _ID,
    _STORAGE,
    _TRIALS,
    _option("--to", "directory", complete="files", metavar="DIR", help="The directory. Default: export-ID."),
    _PROJECT,
    _JSON,
)
_command(
    "restore",
    "replay:restore_command",
    "Unpack the code of the execution ID into DIR, which must be empty or not exist.",
    _ID,
    _argument("directory", "files", metavar="DIR"),
    _STORAGE,
    _JSON,
)
_command(
    "verify",
    "storage:verify_command",
    """Check that everything recorded exists and is readable, in the executions ID or in all.

    The exit code is 1 if there are faults that were not repaired.
    """,
    _ANY_IDS,
    _STORAGE,
    _option("--repair", is_flag=True, help="Repair what can be repaired without losing data."),
    _JSON,
)
_command(
    "rescue",
    "storage:rescue_command",
    """Copy the results in DIR, written there while a storage was unavailable, into the storage.

    Trials that have run again since are skipped.
    """,
    _argument("directory", "files", metavar="DIR"),
    _STORAGE,
    _JSON,
)
_command(
    "clean",
    "storage:clean_command",
    """Show what can be deleted from a storage, or delete it with --yes.

    These are leftovers of killed processes, and the executions that are named or match all given conditions;
    running executions are never deleted.
    """,
    _ANY_IDS,
    _STORAGE,
    _option("--failed", is_flag=True, help="Select failed executions."),
    _option("--interrupted", is_flag=True, help="Select interrupted executions."),
    _option(
        "--older-than",
        type=_age,
        metavar="AGE",
        help="Select executions that started longer ago than AGE, such as 12h, 30d, 8w.",
    ),
    _option("--yes", is_flag=True, help="Delete; without --yes, only show."),
    _JSON,
)
_command(
    "migrate",
    "migrate:migrate_command",
    """Show how names of earlier versions of machinable change in the components of the project.

    Names that a program cannot replace are listed with their places. Names that depend on the type of a value, such as
    those of a task, are errors when they are used, which say what replaces them.
    """,
    _option("--write", is_flag=True, help="Change the files; without --write, only show the difference."),
)
_command(
    "schema",
    "schema:schema_command",
    """Write a JSON Schema of this project's machinable.yaml.

    It describes components, mixins, versions, keys, reserved keys and sections; other keys stay allowed wherever the
    language allows them.
    """,
    _option("--output", "file", complete="files", metavar="FILE", help="Write to FILE instead of stdout."),
)
_command(
    "completion",
    "completion:completion_command",
    "Print a script that completes commands, components, versions and keys in a shell.",
    _argument("shell", type=click.Choice(["bash", "zsh", "fish"])),
)

_vendor = click.Group("vendor", help=COMMANDS["vendor"])
_vendor.add_command(
    click.Command(
        "fetch",
        params=[_argument("names", "imported_projects", nargs=-1, metavar="[NAME]…")],
        callback=_late("project:vendor_fetch_command"),
        help="""Fetch the imported projects, or those named, and their imports into vendor/.

        A directory is linked, git+URL is cloned. Existing entries are left unchanged.
        """,
    )
)
program.add_command(_vendor)

"""The commands of `stageflow` and their options. What they do is imported when they are invoked."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stageflow.cli.assets_app import assets
from stageflow.cli.commands import LightCommand, LightGroup, PluginCommands
from stageflow.cli.runs_app import runs

__all__ = ("app",)

app = typer.Typer(
    name="stageflow",
    cls=PluginCommands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""Examples:

\b
  stageflow run hello.py:pipeline                run the pipeline in hello.py
  stageflow run shop.audit:build -i folder=docs  call the function `build` first
  stageflow run hello.py:pipeline --json | jq    one JSON document, for programs
  stageflow graph hello.py:pipeline              draw it in the terminal
  stageflow lint hello.py:pipeline               find faults in its wiring
  stageflow runs show last                       tell the story of the newest run
  stageflow runs resume last                     go on with it, if it was interrupted

`stageflow COMMAND --help` explains one command.""",
)


class Durable(StrEnum):
    """What is kept of a run, and when."""

    NONE = "none"
    EXIT = "exit"
    STEP = "step"


class Drawing(StrEnum):
    """How a pipeline can be drawn."""

    ASCII = "ascii"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"stageflow {version('stageflow-core')}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Run graphs of stages, draw them, and read the records of their runs."""


TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="`module:name` or `path/file.py:name`: a pipeline, or a function that returns one.",
    ),
]
InputOption = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="An input; JSON if it is that, else text. `input_text` is the text the run is about.",
    ),
]
InputFileOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help="A JSON object with inputs; `-` reads stdin."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")]


@app.command(
    epilog="""Exit status: 0 done, also if the run cancelled itself; 1 failed; 2 not started, since
something is wrong with the command, the target or its definition; 130 cancelled by Ctrl-C, 143 by
SIGTERM, 129 by SIGHUP."""
)
def run(
    target: TargetArgument,
    input: InputOption = [],  # noqa: B006 - typer copies it
    input_file: InputFileOption = None,
    json: JsonOption = False,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Keep no record of the run.")
    ] = False,
    events: Annotated[
        bool,
        typer.Option("--events", help="A line for every event, as in a pipe; with --json, a list."),
    ] = False,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many stages may run at once.")
    ] = None,
    durability: Annotated[
        Durable | None,
        typer.Option(
            help="Keep what stages gave: `step` before anything that depends on it starts, `exit`"
            " when the run ends. A run that was interrupted goes on by `runs resume`."
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="End when all the run can do is to wait for signals."),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Run a pipeline and show how it goes.

    Runs are recorded in .stageflow/runs.sqlite3 beside the project's pyproject.toml.
    """
    from stageflow.cli.run_command import RunRequest, run_command

    request = RunRequest(
        target=target,
        inputs=tuple(input),
        input_file=input_file,
        json=json,
        record=not no_record,
        events=events,
        max_concurrency=max_concurrency,
        durability=None if durability is None else durability.value,
        detach=detach,
        debug=debug,
    )
    raise typer.Exit(run_command(request))


@app.command()
def graph(
    target: TargetArgument,
    input: InputOption = [],  # noqa: B006 - typer copies it
    input_file: InputFileOption = None,
    format: Annotated[
        Drawing, typer.Option("--format", "-f", help="How to draw it.")
    ] = Drawing.ASCII,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Draw into a file.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Draw a pipeline, without running it.

    SVG needs the extra `stageflow-core[svg]`, or Graphviz's `dot`.
    """
    from stageflow.cli.graph_command import graph_command

    graph_command(
        target,
        inputs=input,
        input_file=input_file,
        format=format.value,
        output=output,
        debug=debug,
    )


@app.command(
    epilog="""Exit status: 0 nothing found; 1 errors found, with --strict also hints; 2 not looked
at, since something is wrong with the command, the target or its definition."""
)
def lint(
    target: TargetArgument,
    input: InputOption = [],  # noqa: B006 - typer copies it
    input_file: InputFileOption = None,
    json: JsonOption = False,
    strict: Annotated[bool, typer.Option("--strict", help="Let hints fail, too.")] = False,
    debug: DebugOption = False,
) -> None:
    """Find faults in a pipeline's wiring, without running it.

    Stages that are read but not declared, or declared but not read; conditions that nothing
    decides, and stages that can never run.
    """
    from stageflow.cli.lint_command import lint_command

    status = lint_command(
        target, inputs=input, input_file=input_file, json=json, strict=strict, debug=debug
    )
    raise typer.Exit(status)


app.add_typer(runs, name="runs")
app.add_typer(assets, name="assets")


plugins = typer.Typer(
    cls=LightGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at what is installed.",
)
app.add_typer(plugins, name="plugins")


@plugins.command("list", cls=LightCommand)
def plugins_list(json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the plugins that are installed or configured, importing none."""
    from stageflow.cli.plugins_command import list_command

    list_command(json=json, debug=debug)


@plugins.command("check", cls=LightCommand)
def plugins_check(json: JsonOption = False, debug: DebugOption = False) -> None:
    """Import every plugin and open those in use; exit with 1 if one of these does not work."""
    from stageflow.cli.plugins_command import check_command

    raise typer.Exit(check_command(json=json, debug=debug))


@plugins.command("show")
def plugins_show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A name, or contract and name: `run_stores.sqlite`."),
    ],
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what a plugin is, and the settings it takes."""
    from stageflow.cli.plugins_command import show_command

    show_command(name, json=json, debug=debug)


@plugins.command("new")
def plugins_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What settings will call it.")],
    contract: Annotated[
        str, typer.Option(metavar="CONTRACT", help="What it implements, such as `io_manager`.")
    ],
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder that its own folder is made in.")
    ] = Path(),
    debug: DebugOption = False,
) -> None:
    """Write a new plugin: a distribution that installs, with tests that pass."""
    from stageflow.cli.plugins_command import new_command

    new_command(name, contract=contract, into=into, debug=debug)

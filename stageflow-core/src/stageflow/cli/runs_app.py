"""The commands of `stageflow runs` and their options; what they do is imported when invoked."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ("runs",)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="`module:name` or `path/file.py:name`: a pipeline, or a function that returns one.",
    ),
]


class OnChanged(StrEnum):
    """What to do with a run whose pipeline has changed."""

    REFUSE = "refuse"
    PIN = "pin"
    ADOPT = "adopt"


runs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Read the records of runs, and go on with those that were interrupted.",
)


@runs.command("list")
def runs_list(
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only runs that ended so, such as failed.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the runs of this project, newest first."""
    from stageflow.cli.runs_command import list_command

    list_command(status=status, limit=limit, json=json, debug=debug)


@runs.command("show")
def runs_show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="`last`, the id of a run, or its beginning.")
    ] = "last",
    json: JsonOption = False,
    events: Annotated[bool, typer.Option("--events", help="Show each event, too.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Show each stage, also of a very large run.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Tell the story of a run: how it ended, and when each stage ran."""
    from stageflow.cli.runs_command import show_command

    show_command(run, json=json, events=events, every=every, debug=debug)


RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="`last`, the id of a run, or its beginning.")
]
OnChangeOption = Annotated[
    OnChanged,
    typer.Option(
        help="If the pipeline has changed: `pin` keeps what was done and runs the rest as it is"
        " now; `adopt` does anew what changed and all that depends on it."
    ),
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="End when all the run can do is to wait for signals.")
]
MovedOption = Annotated[
    str | None,
    typer.Option("--target", metavar="TARGET", help="Where its pipeline is now, if it was moved."),
]


@runs.command("resume")
def runs_resume(
    run: RunArgument = "last",
    target: MovedOption = None,
    on_change: OnChangeOption = OnChanged.REFUSE,
    detach: DetachOption = False,
    json: JsonOption = False,
    events: Annotated[bool, typer.Option("--events", help="A line for every event.")] = False,
    debug: DebugOption = False,
) -> None:
    """Go on with a durable run that was interrupted, failed, was cancelled or waits.

    What was kept is not run again.
    """
    from stageflow.cli.resume_command import ResumeRequest, resume_command

    request = ResumeRequest(
        run=run,
        target=target,
        on_change=on_change.value,
        detach=detach,
        json=json,
        events=events,
        debug=debug,
    )
    raise typer.Exit(resume_command(request))


@runs.command("recover")
def runs_recover(
    on_change: OnChangeOption = OnChanged.REFUSE,
    detach: DetachOption = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="How many runs at most.")
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Go on with every run whose process is gone, or that waited for what has come."""
    from stageflow.cli.resume_command import recover_command

    status = recover_command(
        on_change=on_change.value, detach=detach, limit=limit, json=json, debug=debug
    )
    raise typer.Exit(status)


@runs.command("signal")
def runs_signal(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What a stage waits for.")],
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="What it is told; JSON if it is that, else text.")
    ] = "null",
    signal_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Given twice with the same id, it counts once."),
    ] = None,
    no_resume: Annotated[
        bool, typer.Option("--no-resume", help="Only give it; go on later, or elsewhere.")
    ] = False,
    target: MovedOption = None,
    on_change: OnChangeOption = OnChanged.REFUSE,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Answer what a run waits for, and go on with it if it has left memory."""
    from stageflow.cli.resume_command import ResumeRequest, signal_command

    request = ResumeRequest(
        run=run,
        target=target,
        on_change=on_change.value,
        signal=(name, None),
        signal_id=signal_id,
        resumes=not no_resume,
        detach=True,
        json=json,
        debug=debug,
    )
    raise typer.Exit(signal_command(request, value))


@runs.command("cancel")
def runs_cancel(
    run: RunArgument,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; its record says so.")
    ] = "cancelled from the command line",
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Cancel a durable run, wherever its process is."""
    from stageflow.cli.manage_command import cancel_command

    raise typer.Exit(cancel_command(run, reason=reason, json=json, debug=debug))


@runs.command("prune")
def runs_prune(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Ended longer ago than this: 90s, 30m, 12h, 30d, 4w.")
    ],
    status: Annotated[
        list[str], typer.Option(metavar="STATUS", help="Only runs that ended so; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say only what would be forgotten.")
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Forget runs that ended long ago."""
    from stageflow.cli.manage_command import prune_command

    status_code = prune_command(
        older_than, statuses=status, dry_run=dry_run, json=json, debug=debug
    )
    raise typer.Exit(status_code)


@runs.command(
    "check",
    epilog="Exit status: 0 all go on; 1 some do not without --on-change; 2 not looked at.",
)
def runs_check(
    target: TargetArgument,
    input: Annotated[
        list[str],
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="What the function takes."),
    ] = [],  # noqa: B006 - typer copies it
    input_file: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="A JSON object with inputs.")
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say which unfinished runs of a pipeline would go on under the code at hand."""
    from stageflow.cli.manage_command import check_command

    status = check_command(target, inputs=input, input_file=input_file, json=json, debug=debug)
    raise typer.Exit(status)

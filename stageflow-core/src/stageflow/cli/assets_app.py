"""The commands of `stageflow assets` and their options; what they do is imported when invoked."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ("assets",)

assets = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make assets, and tell how they stand."
)

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="`module` or `path/file.py` with assets, or `module:name` for one Assets([…]).",
    ),
]
AssetArgument = Annotated[str, typer.Argument(metavar="ASSET", help="The asset's name.")]
PartitionOption = Annotated[
    str | None,
    typer.Option(
        "--partition",
        "-p",
        metavar="KEY",
        help="Such as 2025-01-31, eu, eu,2025-01-31 or day=2025-01-31,region=eu.",
    ),
]
NoDepsOption = Annotated[
    bool, typer.Option("--no-deps", help="Make nothing that it is made from; that must be fresh.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")]


@assets.command("list")
def assets_list(
    target: TargetArgument, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """List assets with their partitions and what they are made from."""
    from stageflow.cli.assets_command import list_command

    list_command(target, json=json, debug=debug)


@assets.command(
    "materialize",
    epilog="Exit status: 0 it is there now; 1 it failed; 2 not started; 130 ended by Ctrl-C.",
)
def assets_materialize(
    target: TargetArgument,
    asset: AssetArgument,
    partition: PartitionOption = None,
    force: Annotated[bool, typer.Option("--force", help="Make it anew, also if fresh.")] = False,
    no_deps: NoDepsOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make an asset and what it is made from, as far as they are not fresh.

    Records lie where runs are recorded; data with the configured IO manager, or in
    .stageflow/assets beside the project's pyproject.toml.
    """
    from stageflow.cli.assets_command import materialize_command

    status = materialize_command(
        target,
        asset,
        partition=partition,
        force=force,
        with_deps=not no_deps,
        json=json,
        debug=debug,
    )
    raise typer.Exit(status)


@assets.command(
    "backfill",
    epilog="Exit status: 0 none failed; 1 some failed; 2 not started; 130 ended by Ctrl-C.",
)
def assets_backfill(
    target: TargetArgument,
    asset: AssetArgument,
    partition: Annotated[
        list[str],
        typer.Option("--partition", "-p", metavar="KEY", help="One of them; may be repeated."),
    ] = [],  # noqa: B006 - typer copies it
    first: Annotated[
        str | None, typer.Option("--from", metavar="KEY", help="The first; itself included.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="KEY", help="The last; itself included.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, metavar="N", help="How many at once.")] = 8,
    again: Annotated[bool, typer.Option("--again", help="Make fresh ones anew, too.")] = False,
    no_deps: NoDepsOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make many partitions of an asset: all of them, a range, or those named.

    The same command again makes only what is missing, stale or failed.
    """
    from stageflow.cli.assets_command import backfill_command

    status = backfill_command(
        target,
        asset,
        partitions=partition,
        first=first,
        last=last,
        parallel=parallel,
        again=again,
        with_deps=not no_deps,
        json=json,
        debug=debug,
    )
    raise typer.Exit(status)


@assets.command("lineage")
def assets_lineage(
    target: TargetArgument,
    asset: AssetArgument,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell what an asset is made from, and what is made from it."""
    from stageflow.cli.assets_command import lineage_command

    lineage_command(target, asset, json=json, debug=debug)


@assets.command("status")
def assets_status(
    target: TargetArgument,
    asset: Annotated[str | None, typer.Argument(metavar="[ASSET]", help="Only this one.")] = None,
    partition: PartitionOption = None,
    every: Annotated[bool, typer.Option("--all", help="Show every partition.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell which partitions are fresh, and of the others why they are not."""
    from stageflow.cli.assets_command import status_command

    status_command(target, asset, partition=partition, every=every, json=json, debug=debug)

"""`stageflow postgres`: what is done to the database itself."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = ("app",)

app = typer.Typer(
    help="Look after the tables in PostgreSQL.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def postgres() -> None:
    """Look after the tables in PostgreSQL."""


@app.command()
def migrate(
    *,
    resource: Annotated[
        str, typer.Option(help="Which of the configured resources is the database.")
    ] = "postgres",
    phase: Annotated[
        Literal["pre", "all"],
        typer.Option(
            help="`pre` leaves what code of the version before needs; `all` takes it away, too."
        ),
    ] = "all",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the SQL, and change nothing.")
    ] = False,
) -> None:
    """Bring the tables up to date."""
    import anyio

    from stageflow.errors import StageflowError
    from stageflow_io_postgres.migrating import migrate_configured

    try:
        lines = anyio.run(migrate_configured, resource, phase, dry_run)
    except StageflowError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    for line in lines:
        typer.echo(line)

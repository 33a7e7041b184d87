"""`stageflow runs cancel | prune | check`: end runs, forget old ones, see which would go on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import anyio

from stageflow.cli.errors import OptionError, RunLookupError
from stageflow.cli.making import build_target, prepare
from stageflow.cli.records import find_run, project_records
from stageflow.cli.session import FAILED, reporting, write_json
from stageflow.cli.text import Terminal, one_line, plural
from stageflow.plugins import Plugins, opened
from stageflow.runtime import RunCheck, Runtime

__all__ = ("cancel_command", "check_command", "prune_command")

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHOWN: Final = 20


@asynccontextmanager
async def _runtime() -> AsyncIterator[Runtime]:
    plugins = Plugins.load()
    records = project_records(plugins)
    if records.path is not None and not records.path.exists():
        raise RunLookupError(
            f"No run is recorded in {records.place}.",
            hint="Start one with `stageflow run`, or go to the project whose runs you look for.",
        )
    async with (
        records.store() as made,
        opened(made) as store,
        Runtime(run_store=store) as runtime,
    ):
        yield runtime


def _do(work: Callable[[Runtime], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with _runtime() as runtime:
            return await work(runtime)

    return anyio.run(run)


def cancel_command(run: str, *, reason: str, json: bool, debug: bool = False) -> int:
    """Have a run cancelled, wherever it is; return the exit status.

    Raises:
        SystemExit: If there is no such run; why has been told.
    """

    async def cancel(runtime: Runtime) -> tuple[UUID, bool, str]:
        store: Any = runtime.run_store
        run_id = (await find_run(store, run)).run_id
        done = await runtime.cancel(run_id, reason)
        return run_id, done, (await store.get_run(run_id)).status.value

    with reporting(json=json, debug=debug) as stream:
        run_id, done, status = _do(cancel)
        if json:
            write_json(stream, {"run_id": str(run_id), "requested": done, "status": status})
        else:
            short = str(run_id)[:8]
            out = Terminal(stream)
            if not done:
                out.line(f" Run {short} has ended already: {status}.")
            elif status == "cancelled":
                out.line(f" Run {short} is cancelled.")
            else:
                out.line(f" Run {short} was asked to stop; its process does so within seconds.")
        return 0 if done else FAILED


def prune_command(
    older_than: str, *, statuses: Sequence[str], dry_run: bool, json: bool, debug: bool = False
) -> int:
    """Forget runs that ended long ago; return the exit status.

    Raises:
        SystemExit: If that cannot be; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        age = _age(older_than)
        chosen: dict[str, Any] = {"statuses": tuple(statuses)} if statuses else {}
        found: list[UUID] = _do(lambda runtime: runtime.prune(age, dry_run=dry_run, **chosen))
        if json:
            write_json(stream, {"dry_run": dry_run, "runs": [str(each) for each in found]})
            return 0
        out = Terminal(stream)
        verb = "would be forgotten" if dry_run else "forgotten"
        out.line(f" {plural(len(found), 'run')} {verb}.")
        for each in found[:_SHOWN]:
            out.line(f"   {each}")
        if len(found) > _SHOWN:
            out.line(f"   … and {len(found) - _SHOWN:,} more; --json prints all")
        return 0


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if found is None:
        raise OptionError(
            f"{text!r} is no span of time.", hint="Write it as 90s, 30m, 12h, 30d or 4w."
        )
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        raise OptionError(f"{text!r} is longer than time is told.", hint="Choose less.") from None


def check_command(
    target: str,
    *,
    inputs: Sequence[str] = (),
    input_file: Path | None = None,
    json: bool,
    debug: bool = False,
) -> int:
    """Say which unfinished runs would go on under the code at hand; return the exit status.

    Args:
        target: The pipeline, or a function that returns one.
        inputs: What the function takes, each `NAME=VALUE`.
        input_file: A JSON object with more of them.
        json: Whether to print one JSON document.
        debug: Whether to show tracebacks.

    Raises:
        SystemExit: If that cannot be told; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        loaded, given = prepare(target, inputs, input_file)

        async def check(runtime: Runtime) -> list[RunCheck]:
            return await runtime.check(await build_target(loaded, given))

        found: list[RunCheck] = _do(check)
        if json:
            runs = [
                {
                    "run_id": str(each.run_id),
                    "status": each.status.value,
                    "continues": each.continues,
                    "changes": [str(change) for change in each.changes],
                }
                for each in found
            ]
            write_json(stream, {"runs": runs})
        else:
            _tell_checks(Terminal(stream), target, found)
        return 0 if all(each.continues for each in found) else FAILED


def _tell_checks(out: Terminal, target: str, found: Sequence[RunCheck]) -> None:
    if not found:
        out.line(f" No run of {one_line(target)} is unfinished.")
    for each in found:
        verdict = out.paint("goes on", "green") if each.continues else out.paint("changed", "red")
        out.line(f"   {str(each.run_id)[:8]}  {each.status.value:<8}  {verdict}")
        for change in each.changes[:_SHOWN]:
            out.line(f"        ↳ {one_line(change)}")
        if len(each.changes) > _SHOWN:
            out.line(f"        … and {len(each.changes) - _SHOWN:,} more; --json prints all")
    if not all(each.continues for each in found):
        out.line(
            "   Resume those that changed with --on-change pin, which keeps what was done, or"
            " --on-change adopt, which does anew what changed and all after it."
        )

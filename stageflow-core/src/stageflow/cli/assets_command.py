"""`stageflow assets`: list them, make them, and tell how they stand and what they are made from."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from stageflow._engine.announce import Listener
from stageflow.assets import (
    AssetFailedError,
    Assets,
    AssetStatus,
    BackfillProgress,
    BackfillSummary,
)
from stageflow.assets.declaration import Asset
from stageflow.assets.store import AssetStore, Materialization
from stageflow.cli.assets_target import (
    AssetOptionError,
    load_assets,
    naming,
    open_store,
    partition_of,
)
from stageflow.cli.failures import describe, tell
from stageflow.cli.interrupts import Interrupts
from stageflow.cli.session import FAILED, log_to_stderr, reporting, write_json
from stageflow.cli.text import GLYPHS, Terminal, ago, columns, one_line, plural, span
from stageflow.plugins import Plugins

__all__ = (
    "backfill_command",
    "lineage_command",
    "list_command",
    "materialize_command",
    "status_command",
)

_STYLES: Final = {
    "fresh": "green",
    "missing": "dim",
    "stale": "yellow",
    "failed": "red",
    "running": "cyan",
}
_MOST_LINES: Final = 20
_FEWEST_BETWEEN: Final = 25
_MOST_SHOWN: Final = 10


# --- list ---------------------------------------------------------------------------------------


def list_command(target: str, *, json: bool, debug: bool = False) -> None:
    """List assets with their partitions and what they are made from.

    Raises:
        SystemExit: If they cannot be listed; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        assets = load_assets(target)
        if json:
            write_json(stream, [_described(assets, name) for name in assets.order])
            return
        terminal = Terminal(stream)
        rows = [_row(assets, name) for name in assets.order]
        head = ("asset", "group", "partitions", "made from", "what it is")
        terminal.lines(columns(terminal, head, rows))


def _row(assets: Assets, name: str) -> list[str | tuple[str, str]]:
    asset = assets[name]
    partitions = "" if asset.partitions is None else asset.partitions.describe()
    needed = dict.fromkeys(need.dep.asset for need in assets.needs(name))
    return [
        one_line(name),
        one_line(asset.group),
        one_line(partitions),
        one_line(", ".join(needed)),
        (one_line(asset.description), "dim"),
    ]


def _described(assets: Assets, name: str) -> dict[str, Any]:
    asset = assets[name]
    own = asset.partitions
    return {
        "asset": name,
        "group": asset.group,
        "description": asset.description,
        "version": asset.version,
        "partitions": None
        if own is None
        else {"kind": own.kind, "count": len(own), "described": own.describe()},
        "made_from": [
            {
                "asset": need.dep.asset,
                "parameter": need.parameter,
                "mapping": type(need.dep.mapping).__name__,
                "optional": need.dep.optional,
            }
            for need in assets.needs(name)
        ],
        "io_manager": asset.io_manager
        if isinstance(asset.io_manager, str | None)
        else type(asset.io_manager).__name__,
        "resources": list(asset.resources),
        "metadata": dict(asset.metadata),
    }


# --- lineage ------------------------------------------------------------------------------------


def lineage_command(target: str, asset: str, *, json: bool, debug: bool = False) -> None:
    """Tell what an asset is made from, and what is made from it.

    Raises:
        SystemExit: If there is no such asset; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        assets = load_assets(target)
        found = assets.lineage(asset)
        if json:
            write_json(
                stream,
                {
                    "asset": found.asset,
                    "upstream": list(found.upstream),
                    "downstream": list(found.downstream),
                    "edges": [list(edge) for edge in found.edges],
                },
            )
            return
        terminal = Terminal(stream)
        near: dict[str, list[str]] = {}
        for upstream, downstream in found.edges:
            near.setdefault(downstream, []).append(upstream)
        for name in (*found.upstream, found.asset, *found.downstream):
            style = "bold" if name == found.asset else ""
            needed = ", ".join(map(one_line, near.get(name, ())))
            mark = "●" if name == found.asset else "○"
            told = f"  {mark} {terminal.paint(one_line(name), style)}"
            terminal.line(f"{told}  ← {needed}" if needed else told)


# --- status -------------------------------------------------------------------------------------


def status_command(
    target: str,
    asset: str | None,
    *,
    partition: str | None = None,
    every: bool = False,
    json: bool,
    debug: bool = False,
) -> None:
    """Tell how assets stand: which partitions are missing, stale, failed or fresh.

    Raises:
        SystemExit: If it cannot be told; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        assets = load_assets(target)
        chosen = assets.order if asset is None else (assets[asset].name,)
        if partition is not None and asset is None:
            raise AssetOptionError("--partition says nothing of which asset.", hint="Name one.")
        keys = None if partition is None else [partition_of(assets[chosen[0]], partition)]
        plugins = Plugins.load()
        found = anyio.run(_statuses, assets, plugins, chosen, keys)
        if json:
            write_json(stream, [_status_document(assets[name], found[name]) for name in chosen])
            return
        terminal = Terminal(stream)
        for name in chosen:
            _write_status(terminal, assets[name], found[name], every=every or partition is not None)


async def _statuses(
    assets: Assets, plugins: Plugins, chosen: Sequence[str], keys: Sequence[Any] | None
) -> dict[str, list[AssetStatus]]:
    async with open_store(assets, plugins, read_only=True) as store:
        return {name: [each async for each in store.statuses(name, keys)] for name in chosen}


def _status_document(asset: Asset, found: Sequence[AssetStatus]) -> dict[str, Any]:
    return {
        "asset": asset.name,
        "counts": dict(Counter(each.state for each in found)),
        "partitions": [
            {
                "partition": None if asset.partitions is None else asset.text(each.partition),
                "state": each.state,
                "why": each.why,
                "run_id": each.run_id,
                "materialized_at": None if each.record is None else each.record.at.isoformat(),
                "data_version": None if each.record is None else each.record.data_version,
                "metadata": {} if each.record is None else dict(each.record.metadata),
            }
            for each in found
        ],
    }


def _write_status(
    terminal: Terminal, asset: Asset, found: Sequence[AssetStatus], *, every: bool
) -> None:
    if asset.partitions is None or len(found) == 1:
        terminal.line(_status_line(terminal, asset, found[0]))
        return
    counts = Counter(each.state for each in found)
    told = ", ".join(
        terminal.paint(f"{counts[state]:,} {state}", style)
        for state, style in _STYLES.items()
        if counts[state]
    )
    terminal.line(f"  {terminal.paint(one_line(asset.name), 'bold')}  {told or 'no partitions'}")
    shown = list(found) if every else [each for each in found if _is_notable(each)]
    limit = len(shown) if every else _MOST_SHOWN
    for each in shown[:limit]:
        terminal.line(f"  {_status_line(terminal, asset, each)}")
    if len(shown) > limit:
        terminal.line(f"    {plural(len(shown) - limit, 'more partition')}; --all shows all.")


def _is_notable(status: AssetStatus) -> bool:
    """Whether people want to see it by itself: not what is well, nor what was never begun."""
    never = status.state == "missing" and status.run_id is None
    return not (status.is_fresh or never)


def _status_line(terminal: Terminal, asset: Asset, status: AssetStatus) -> str:
    label = one_line(asset.label(status.partition))
    state = terminal.paint(f"{status.state:<7}", _STYLES[status.state])
    made = "" if status.record is None else ago(status.record.at, datetime.now(UTC))
    told = status.why or (f"made {made}" if made else "")
    return f"  {state}  {label}  {terminal.paint(one_line(told), 'dim')}".rstrip()


# --- materialize ----------------------------------------------------------------------------------


def materialize_command(
    target: str,
    asset: str,
    *,
    partition: str | None,
    force: bool,
    with_deps: bool,
    json: bool,
    debug: bool = False,
) -> int:
    """Make an asset, and what it is made from, and return the exit status.

    Raises:
        SystemExit: If it could not be made; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        plugins = _prepared(debug=debug)
        assets = load_assets(target)
        found = assets[asset]
        key = partition_of(found, partition)
        terminal = Terminal(stream)

        async def materialize(store: AssetStore) -> Materialization:
            listeners = [] if json else [_Lines(terminal).note]
            return await store.materialize(
                found, key, force=force, with_deps=with_deps, listeners=listeners
            )

        try:
            done, status = _interruptible(assets, plugins, materialize)
        except AssetFailedError as error:
            tell(Terminal(sys.stderr), [error], debug=debug)
            if json:
                write_json(stream, {"state": "failed", "errors": [describe(error).to_dict()]})
            return FAILED
        if done is None:
            return status
        if json:
            write_json(stream, _materialization_document(assets, done))
        elif done.state == "fresh":
            terminal.line(f"  {one_line(found.label(key))} is fresh; --force makes it anew.")
        else:
            made = plural(len(done.steps), "partition")
            terminal.line(f"  {made} made in run {done.run_id}.")
    return 0


def _materialization_document(assets: Assets, done: Materialization) -> dict[str, Any]:
    key = done.partition
    return {
        "asset": done.asset,
        "partition": None if key is None else assets[done.asset].text(key),
        "state": done.state,
        "run_id": done.run_id,
        "data_version": None if done.record is None else done.record.data_version,
        "metadata": {} if done.record is None else dict(done.record.metadata),
        "materialized": [
            {"asset": name, "partition": None if key is None else assets[name].text(key)}
            for name, key in done.steps
        ],
    }


class _Lines:
    """Writes a line for each thing that happens to an asset."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def note_items(self, type: str, data: Mapping[str, Any]) -> None:
        """Write one event, if it is about items."""
        if type.startswith("asset.scatter_"):
            self.note(type, data)

    def note(self, type: str, data: Mapping[str, Any]) -> None:
        """Write one event, if people want to know of it."""
        if not type.startswith("asset."):
            return
        name = data["asset"] if data.get("partition") is None else _labelled(data)
        match type:
            case "asset.materialized":
                glyph, told = "ok", span(data["duration_ms"])
            case "asset.failed":
                glyph, told = "fail", str(data["error"])
            case "asset.skipped" if data["reason"] != "fresh":
                glyph, told = "skip", data["reason"].replace("_", " ")
            case "asset.waiting":
                glyph, told = "waiting", f"run {data['other_run_id']} is at it"
            case "asset.scatter_started" if data["resumed"]:
                glyph, told = "running", "goes on where another run had got to"
            case "asset.scatter_progress" if _is_under_way(data):
                glyph, told = "running", _items(data)
            case "asset.scatter_completed" if data["failed"]:
                glyph, told = "running", _items(data)
            case "asset.branch_ended" if data["status"] == "failed" and not data["required"]:
                glyph, told = "skip", f"goes without branch {data['branch']}: {data['why']}"
            case "asset.routed":
                why = f", {data['reason']}" if data["reason"] else ""
                glyph, told = "running", f"chose {data['route'] or 'no branch'}{why}"
            case _:
                return
        style = {"ok": "green", "fail": "red"}.get(glyph, "dim")
        out = self._terminal
        out.line(f"  {out.paint(GLYPHS[glyph], style)} {one_line(name)}  {one_line(told)}")


def _labelled(data: Mapping[str, Any]) -> str:
    return f"{data['asset']}[{data['partition']}]"


def _is_under_way(data: Mapping[str, Any]) -> bool:
    return bool(data["completed"] + data["failed"] < data["total"])


def _items(data: Mapping[str, Any]) -> str:
    """Return how far a scatter is, of the items that have been read so far."""
    failed = f", {data['failed']:,} failed" if data["failed"] else ""
    return f"{data['completed']:,} of {data['total']:,} items{failed}"


class _ItemCount:
    """Counts the items of all scatters of a backfill, and has them shown."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show = show
        self._ended = 0
        self._under_way: dict[str, int] = {}

    def note(self, type: str, data: Mapping[str, Any]) -> None:
        """Take one event into account, if it is about items."""
        if type == "asset.scatter_progress":
            self._under_way[data["barrier_id"]] = data["completed"] + data["failed"]
        elif type == "asset.scatter_completed":
            self._under_way.pop(data["barrier_id"], None)
            self._ended += data["completed"] + data["failed"]
        else:
            return
        self._show(f"{self._ended + sum(self._under_way.values()):,} items")


# --- backfill -------------------------------------------------------------------------------------


def backfill_command(
    target: str,
    asset: str,
    *,
    partitions: Sequence[str] = (),
    first: str | None = None,
    last: str | None = None,
    parallel: int = 8,
    again: bool = False,
    with_deps: bool = True,
    json: bool,
    debug: bool = False,
) -> int:
    """Make many partitions of an asset, and return the exit status.

    Raises:
        SystemExit: If it could not begin; why has been told.
    """
    with reporting(json=json, debug=debug) as stream:
        plugins = _prepared(debug=debug)
        assets = load_assets(target)
        found = assets[asset]
        chosen = _chosen(found, partitions, first, last)
        with _shown(found, Terminal(stream), json=json) as (note, listeners):

            async def backfill(store: AssetStore) -> BackfillSummary:
                return await store.backfill(
                    found,
                    chosen,
                    parallel=parallel,
                    skip_existing=not again,
                    with_deps=with_deps,
                    on_progress=note,
                    listeners=listeners,
                )

            done, status = _interruptible(assets, plugins, backfill)
        if done is None:
            told = "What was made stays; the same command goes on from there."
            Terminal(sys.stderr).line(told)
            return status
        if json:
            write_json(stream, _summary_document(found, done))
        else:
            _write_summary(Terminal(stream), found, done)
        return FAILED if done.failed else 0


def _chosen(
    asset: Asset, partitions: Sequence[str], first: str | None, last: str | None
) -> Sequence[Any] | None:
    own = asset.partitions
    if own is None:
        raise AssetOptionError(
            f"Asset {asset.name!r} has no partitions.",
            hint=f"`stageflow assets materialize … {asset.name}` makes it.",
        )
    if partitions and (first or last):
        raise AssetOptionError(
            "--partition lists partitions, and --from and --to give a range of them.",
            hint="Give the one or the other.",
        )
    if not partitions and (not len(own) or not (first or last)):
        return own
    with naming(asset):
        if partitions:
            return [own.parse(text) for text in partitions]
        start, stop = first or own.text(own[0]), last or own.text(own[-1])
        if chosen := own.select(start, stop):
            return chosen
    raise AssetOptionError(
        f"There are no partitions of {asset.name!r} from {start} to {stop}.",
        hint="Give the one that comes first with --from.",
    )


@contextmanager
def _shown(
    asset: Asset, terminal: Terminal, *, json: bool
) -> Iterator[tuple[Callable[[BackfillProgress], object] | None, Sequence[Listener]]]:
    """Give what shows how far it is: a bar on a terminal, else some lines; nothing in JSON.

    Of scatters the bar shows how many items are done, and the lines how far those are that take
    long.
    """
    err = Terminal(sys.stderr)
    if err.is_terminal:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        bars = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress("{task.description}", *bars, console=Console(stderr=True)) as progress:
            name = one_line(asset.name)
            task = progress.add_task(name, total=None)
            items = _ItemCount(lambda told: progress.update(task, description=f"{name} ({told})"))
            yield (
                lambda at: progress.update(task, total=at.total, completed=at.done),
                [items.note],
            )
    elif json:
        yield None, []
    else:
        lines = _Lines(terminal)
        yield _PlainProgress(terminal).note, [lines.note_items]


class _PlainProgress:
    """Writes a line now and then: some twenty over a whole backfill."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._next = 0

    def note(self, at: BackfillProgress) -> None:
        """Write where it is, if it is a good deal further than the last time."""
        total = at.total or 0
        self._next = self._next or _FEWEST_BETWEEN
        if at.done < self._next or at.done == total:
            return
        self._next = at.done + max(_FEWEST_BETWEEN, total // _MOST_LINES)
        failed = f", {at.failed:,} failed" if at.failed else ""
        left = at.remaining_seconds
        about = f", about {span(left * 1000.0)} left" if left and left > 1 else ""
        self._terminal.line(f"  {at.done:,} of {total:,}{failed}{about}")


def _write_summary(terminal: Terminal, asset: Asset, done: BackfillSummary) -> None:
    failed = terminal.paint(f"{done.failed:,} failed", "red") if done.failed else "none failed"
    terminal.line(
        f"  {one_line(done.asset)}: {plural(done.total, 'partition')}, {done.materialized:,} made,"
        f" {done.skipped:,} fresh already, {failed}, in {span(done.duration_ms)}"
    )
    for each in done.failures[:_MOST_SHOWN]:
        label = one_line(asset.label(each.partition))
        terminal.line(
            f"    {terminal.paint(GLYPHS['fail'], 'red')} {label}  {one_line(each.error)}"
        )
    if done.failed > _MOST_SHOWN:
        terminal.line(
            f"    {done.failed - _MOST_SHOWN:,} more; `stageflow assets status` lists them."
        )


def _summary_document(asset: Asset, done: BackfillSummary) -> dict[str, Any]:
    return {
        "asset": done.asset,
        "total": done.total,
        "materialized": done.materialized,
        "skipped": done.skipped,
        "failed": done.failed,
        "cancelled": done.cancelled,
        "duration_ms": done.duration_ms,
        "failures": [
            {"partition": asset.text(each.partition), "error": each.error, "run_id": each.run_id}
            for each in done.failures
        ],
    }


# --- what both share ------------------------------------------------------------------------------


def _prepared(*, debug: bool) -> Plugins:
    plugins = Plugins.load()
    log_to_stderr("debug" if debug else plugins.settings.log_level)
    return plugins


def _interruptible(
    assets: Assets, plugins: Plugins, work: Callable[[AssetStore], Any]
) -> tuple[Any, int]:
    """Do some work with the assets; return its result, or None and the status of a signal."""

    async def run() -> Any:
        with anyio.CancelScope() as scope:
            interrupts.cancel_by(lambda _: scope.cancel())
            async with open_store(assets, plugins) as store:
                return await work(store)
        return None

    with Interrupts() as interrupts:
        done = anyio.run(run)
    return done, interrupts.status

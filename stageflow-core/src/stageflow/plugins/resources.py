"""Resources: opened in the order in which they need each other, closed in the reverse one.

A resource that the settings, or its own class, call `on_failure = "continue"` may fail to open:
the others go on, and who asks for it is told why it is not there.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, final

import anyio
import attrs

from stageflow.errors import ContractErrorInfo
from stageflow.plugins.errors import (
    PluginError,
    ResourceCloseError,
    ResourceCycleError,
    ResourceOpenError,
    ResourceTeardownError,
    ResourceUnavailableError,
    ResourceUnhealthyError,
    SettingsError,
)
from stageflow.plugins.implementation import Implementation
from stageflow.plugins.registry import Registry
from stageflow.plugins.secret import redact, secrets_in
from stageflow.plugins.settings import Settings

if TYPE_CHECKING:
    # Where they are used they are imported then: contracts import structlog, which costs more
    # than all of this room, and listing plugins needs neither.
    from stageflow.contracts.resource import Healthy, Unhealthy

__all__ = ("ResourceManager", "ResourceStatus")


@attrs.frozen(kw_only=True)
class ResourceStatus:
    """How it is with one resource.

    Attributes:
        name: Its name.
        state: Whether it is open, failed to open, or has been closed.
        reason: Why it failed.
    """

    name: str
    state: Literal["open", "failed", "closed"]
    reason: str | None = None


@attrs.frozen(kw_only=True, eq=False)
class _Planned:
    """A resource that is to be opened."""

    name: str
    implementation: Implementation[Any]
    settings: Any
    requires: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False)
class _Open:
    """A resource that is open."""

    planned: _Planned
    manager: Any
    value: Any


@final
class ResourceManager:
    """Opens resources and what they require, checks their health, and closes all of them.

    Args:
        registry: The registry of resources.
        settings: Whose time limits hold.
    """

    def __init__(self, registry: Registry[Any], settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._open: dict[str, _Open] = {}
        self._status: dict[str, ResourceStatus] = {}
        self._values: dict[str, Any] = {}
        self._lock = anyio.Lock()

    @property
    def opened(self) -> Mapping[str, Any]:
        """What is open, by name: what each `setup` returned. It follows later changes."""
        return MappingProxyType(self._values)

    def get(self, name: str) -> Any:
        """Return what the resource's `setup` returned.

        Raises:
            ResourceUnavailableError: If it is not open; says why.
        """
        if name in self._values:
            return self._values[name]
        status = self._status.get(name)
        raise self._unavailable(name, status.reason if status and status.reason else "not open")

    def status(self) -> tuple[ResourceStatus, ...]:
        """Return how it is with every resource that was ever to be opened, in that order."""
        return tuple(self._status.values())

    def plan(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return *names* and all that they require, in the order of opening; opens nothing.

        Raises:
            PluginError: If one cannot be resolved.
            ResourceCycleError: If they require each other in a circle.
            SettingsError: With the faults of the settings of all of them.
        """
        planned, _ = self._plan(names)
        return tuple(each.name for each in planned)

    async def open(self, *names: str) -> Mapping[str, Any]:
        """Open resources and what they require; return everything that is open.

        If one fails, and may not, those that this call opened are closed again.

        Args:
            *names: Which ones; all that the settings configure, if none is named.

        Raises:
            ResourceOpenError: If one cannot be opened or is not healthy.
            PluginError: As `plan` does.
        """
        async with self._lock:
            planned, absent = self._plan(names or self._registry.instances())
            for name, reason in absent.items():
                self._fail(name, reason)
            begun: list[str] = []
            try:
                for each in planned:
                    if each.name not in self._open:
                        begun.append(each.name)
                        await self._open_one(each)
            except BaseException as error:
                failures = await self._close(reversed(begun))
                if isinstance(error, ResourceOpenError):
                    error.close_failures = tuple(failures)
                raise
        return self.opened

    async def health(self) -> Mapping[str, Healthy | Unhealthy]:
        """Return the health of everything that is open; what cannot be checked is healthy."""
        found: dict[str, Healthy | Unhealthy] = {}

        async def look_at(each: _Open) -> None:
            found[each.planned.name] = await self._check(each)

        async with anyio.create_task_group() as group:
            for each in self._open.values():
                group.start_soon(look_at, each)
        return {name: found[name] for name in self._open if name in found}

    async def aclose(self) -> None:
        """Close everything, the last opened first; every close is tried.

        Raises:
            ResourceCloseError: With all failures.
        """
        failures = await self.close_all()
        if failures:
            raise ResourceCloseError(failures)

    async def close_all(self) -> tuple[ResourceTeardownError, ...]:
        """Close everything as `aclose` does, and return the failures instead of raising them."""
        return tuple(await self._close(reversed(list(self._open))))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if getattr(self, "_open", None):
            told = f"Resources were never closed: {', '.join(self._open)}"
            warnings.warn(told, ResourceWarning, source=self, stacklevel=2)

    # --- planning -----------------------------------------------------------------------

    def _plan(self, names: Iterable[str]) -> tuple[list[_Planned], dict[str, PluginError]]:
        """Return what to open in order, and what may be missing with the reason why it is."""
        planned: dict[str, _Planned] = {}
        absent: dict[str, PluginError] = {}
        faults: list[ContractErrorInfo] = []
        waiting = deque(names)
        while waiting:
            name = waiting.popleft()
            if name in planned:
                continue
            try:
                implementation = self._registry.resolve(name)
            except PluginError as error:
                if self._section(name).get("on_failure") != "continue":
                    raise
                absent[name] = error
                continue
            settings, found = implementation.attempt()
            faults += found
            requires = () if found else implementation.requires(settings)
            planned[name] = _Planned(
                name=name, implementation=implementation, settings=settings, requires=requires
            )
            waiting += requires
        if faults:
            raise SettingsError(faults)
        return [planned[name] for name in _in_order(planned)], absent

    # --- opening ------------------------------------------------------------------------

    async def _open_one(self, planned: _Planned) -> None:
        name = planned.name
        try:
            await self._set_up(planned)
        except PluginError as error:
            self._fail(name, error)
            declared = getattr(planned.implementation.factory, "on_failure", "stop")
            if self._section(name).get("on_failure", declared) != "continue":
                raise
        else:
            self._status[name] = ResourceStatus(name=name, state="open")

    async def _set_up(self, planned: _Planned) -> None:
        from stageflow.contracts.resource import Healthy, settle

        implementation, secrets = planned.implementation, secrets_in(planned.settings)
        for name in planned.requires:
            if name not in self._open:
                raise self._unavailable(name, f"{planned.name} requires it and it is not open")
        manager = implementation.call(settings=planned.settings, resources=self._values)
        try:
            value = await settle(manager.setup(_as_mapping(planned.settings)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the resource failed to open
            failure = implementation.failed("failed to open", error, secrets, ResourceOpenError)
        else:
            self._open[planned.name] = _Open(planned=planned, manager=manager, value=value)
            self._values[planned.name] = value
            health = await self._check(self._open[planned.name])
            if isinstance(health, Healthy):
                return
            await self._close([planned.name])
            failure = ResourceUnhealthyError(
                f"{implementation.registry}.{planned.name} of {implementation.origin} opened, "
                f"but is not healthy: {health.reason}.",
                registry=implementation.registry,
                name=planned.name,
                origin=implementation.origin,
                hint="Check what it connects to, and its settings.",
            )
        raise failure

    async def _check(self, each: _Open) -> Healthy | Unhealthy:
        from stageflow.contracts.resource import Healthy, Unhealthy, settle

        check = getattr(each.manager, "health_check", None)
        if check is None:
            return Healthy()
        secrets = secrets_in(each.planned.settings)
        limit = self._settings.health_timeout
        try:
            with anyio.fail_after(limit):
                health = await settle(check(each.value))
        except TimeoutError:
            return Unhealthy(f"its health check took longer than {limit:g} s")
        except Exception as error:  # noqa: BLE001 - a check that raises has found something
            return Unhealthy(redact(f"{type(error).__name__}: {error}", secrets))
        if isinstance(health, Unhealthy):
            return Unhealthy(redact(str(health.reason), secrets))
        return Healthy()

    def _section(self, name: str) -> Mapping[str, Any]:
        return self._settings.tree.table("resources", name)

    def _fail(self, name: str, error: PluginError) -> None:
        self._status[name] = ResourceStatus(name=name, state="failed", reason=error.message)
        from stageflow.contracts.logs import get_logger

        log = get_logger("stageflow.plugins")
        log.warning("resource.failed", resource=name, reason=error.message)

    def _unavailable(self, name: str, reason: str) -> ResourceUnavailableError:
        return ResourceUnavailableError(
            f"The resource {name!r} is not available: {reason.removesuffix('.')}.",
            registry="resources",
            name=name,
            hint=f"Open it first; [tool.stageflow.resources.{name}] configures it.",
        )

    # --- closing ------------------------------------------------------------------------

    async def _close(self, names: Iterable[str]) -> list[ResourceTeardownError]:
        failures: list[ResourceTeardownError] = []
        for name in names:
            each = self._open.pop(name, None)
            if each is None:
                continue
            del self._values[name]
            self._status[name] = ResourceStatus(name=name, state="closed")
            try:
                await self._tear_down(each)
            except Exception as error:  # noqa: BLE001 - the others are to be closed, too
                implementation = each.planned.implementation
                secrets = secrets_in(each.planned.settings)
                failures.append(
                    implementation.failed("failed to close", error, secrets, ResourceTeardownError)
                )
        return failures

    async def _tear_down(self, each: _Open) -> None:
        from stageflow.contracts.resource import settle

        limit = self._settings.cleanup_timeout
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + limit) as scope:
            await settle(each.manager.teardown(each.value))
        if scope.cancelled_caught:
            raise TimeoutError(f"it took longer than {limit:g} s")


def _in_order(planned: Mapping[str, _Planned]) -> list[str]:
    graph = {name: each.requires for name, each in planned.items()}
    try:
        return [name for name in TopologicalSorter(graph).static_order() if name in planned]
    except CycleError as error:
        # The standard library lists who is required first; a reader follows who requires whom.
        raise ResourceCycleError(list(reversed(error.args[1]))) from None


def _as_mapping(settings: Any) -> Mapping[str, Any]:
    if attrs.has(type(settings)):
        fields = attrs.fields(type(settings))
        settings = {field.alias: getattr(settings, field.name) for field in fields}
    return MappingProxyType(dict(settings or {}))

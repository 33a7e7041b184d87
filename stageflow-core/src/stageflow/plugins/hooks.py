"""Hooks at work: plugins of the group `stageflow` are loaded, checked and called, each guarded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, final

import attrs

from stageflow.errors import StageflowError, did_you_mean
from stageflow.plugins.discovery import Found
from stageflow.plugins.errors import (
    DuplicatePluginError,
    HookSignatureError,
    PluginBuildError,
    PluginError,
    PluginImportError,
)

__all__ = ("HookCall", "HookPlugin", "Hooks", "Observers")

PREFIX = "stageflow_"

_OBSERVED: Mapping[str, str] = {
    "pipeline.started": "stageflow_run_started",
    "pipeline.completed": "stageflow_run_finished",
    "pipeline.failed": "stageflow_run_finished",
    "pipeline.cancelled": "stageflow_run_finished",
    "stage.started": "stageflow_stage_started",
    "stage.completed": "stageflow_stage_finished",
    "stage.skipped": "stageflow_stage_finished",
    "stage.cancelled": "stageflow_stage_finished",
    "stage.failed": "stageflow_stage_finished",
}
_ARGUMENTS: Mapping[str, str] = {
    "run_id": "pipeline_run_id",
    "pipeline": "pipeline_name",
    "stage": "stage",
    "status": "status",
    "duration_ms": "duration_ms",
}


@attrs.frozen(kw_only=True)
class HookPlugin:
    """One plugin with hooks, and whether it takes part.

    Attributes:
        name: Name of its entry point, or the name it was registered under.
        origin: Distribution and version, or whoever registered it.
        found: Its entry point; None if it was registered in code.
        state: Whether it takes part, was kept out by the settings, or failed.
        error: Why it failed.
        refusal: Why it was kept out.
    """

    name: str
    origin: str
    found: Found | None = None
    state: Literal["loaded", "blocked", "failed"]
    error: StageflowError | None = attrs.field(default=None, eq=False)
    refusal: str | None = None


@attrs.frozen
class HookCall:
    """One plugin's implementation of one hook.

    Attributes:
        key: What the plugin is known by.
        plugin: The plugin.
        function: The implementation.
        arguments: The hook's parameters that it wants.
    """

    key: str
    plugin: HookPlugin
    function: Callable[..., Any] = attrs.field(repr=False)
    arguments: tuple[str, ...]

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Return what the implementation returns for those of *values* that it wants."""
        return self.function(**{name: values[name] for name in self.arguments})


@final
class Observers:
    """Tells the hooks of all plugins what happens in runs; a listener of lifecycle events."""

    __slots__ = ("_by_event",)

    def __init__(self, by_hook: Mapping[str, Sequence[HookCall]]) -> None:
        self._by_event = {
            event: tuple(by_hook[hook]) for event, hook in _OBSERVED.items() if by_hook.get(hook)
        }

    def __call__(self, type: str, facts: Mapping[str, Any]) -> None:
        """Tell whoever observes events of this type."""
        observers = self._by_event.get(type)
        if observers is None:
            return
        shared = MappingProxyType(dict(facts))
        values = {name: facts.get(key) for name, key in _ARGUMENTS.items()}
        values["facts"] = shared
        for observer in observers:
            try:
                observer(values)
            except Exception as error:  # noqa: BLE001 - watching a run must not change how it goes
                _log_failure("hook.failed", observer.plugin.name, error, event_type=type)


@final
class Hooks:
    """The plugins with hooks, in one pluggy manager."""

    def __init__(self) -> None:
        self._manager: Any = None  # made for the first plugin, since importing pluggy costs
        self._plugins: dict[str, HookPlugin] = {}

    @property
    def plugins(self) -> tuple[HookPlugin, ...]:
        """Every plugin with hooks, also those kept out and those that failed."""
        return tuple(self._plugins.values())

    def load(self, found: Found, *, refusal: str | None = None) -> None:
        """Import a plugin and let it take part; note why not if that fails."""
        plugin = HookPlugin(name=found.name, origin=found.origin, found=found, state="loaded")
        key = f"{found.distribution}:{found.name}"
        if refusal is not None:
            self._plugins[key] = attrs.evolve(plugin, state="blocked", refusal=refusal)
            return
        self._plugins[key] = plugin
        try:
            self._add(_imported(found), key, plugin)
        except PluginError as error:
            self.fail(key, error)

    def register(self, value: Any, *, name: str, origin: str) -> None:
        """Let an object take part.

        Raises:
            DuplicatePluginError: If another one was registered under the name.
            HookSignatureError: If one of its hooks is not as the hook is specified.
        """
        if taken := self._plugins.get(name):
            raise DuplicatePluginError("hooks", name, [taken.origin, origin])
        plugin = HookPlugin(name=name, origin=origin, state="loaded")
        self._add(value, name, plugin)
        self._plugins[name] = plugin

    def fail(self, key: str, error: Exception) -> None:
        """Note that a plugin failed; it takes part no more."""
        plugin = self._plugins[key]
        if not isinstance(error, StageflowError):
            told = f"A hook of {plugin.name} of {plugin.origin} failed: {_told(error)}."
            failure = PluginBuildError(
                told,
                registry="hooks",
                name=plugin.name,
                origin=plugin.origin,
                hint="Report it to its authors, or list it in plugins.block of the settings.",
            )
            failure.__cause__ = error
            error = failure
        self._plugins[key] = attrs.evolve(plugin, state="failed", error=error)
        if self._manager is not None and self._manager.has_plugin(key):
            self._manager.unregister(name=key)
        _log_failure("plugin.failed", plugin.name, error)

    def implementations(self, hook: str) -> list[HookCall]:
        """Return what the plugins taking part have for one hook, in the order of pluggy."""
        if self._manager is None:
            return []
        found = reversed(getattr(self._manager.hook, hook).get_hookimpls())
        return [
            HookCall(key, self._plugins[key], each.function, each.argnames)
            for each in found
            for key in [each.plugin_name]
        ]

    def observers(self) -> Observers | None:
        """Return what tells the observing hooks of runs; None if there are none."""
        by_hook = {hook: self.implementations(hook) for hook in sorted(set(_OBSERVED.values()))}
        return Observers(by_hook) if any(by_hook.values()) else None

    def _add(self, value: Any, key: str, plugin: HookPlugin) -> None:
        """Register with pluggy what fits the hooks; nothing of it stays if it does not."""
        from pluggy import PluginManager, PluginValidationError

        from stageflow.plugins import hookspecs

        if self._manager is None:
            self._manager = PluginManager("stageflow")
            self._manager.add_hookspecs(hookspecs)
        try:
            self._manager.register(value, name=key)
            problems = list(self._problems(value))
        except PluginValidationError as error:
            problems = [str(error).splitlines()[-1].strip()]
        if problems:
            if self._manager.has_plugin(key):
                self._manager.unregister(name=key)
            raise HookSignatureError(
                f"The hooks of {plugin.name} of {plugin.origin} do not fit: {'; '.join(problems)}.",
                registry="hooks",
                name=plugin.name,
                origin=plugin.origin,
                hint="stageflow/plugins/hookspecs.py shows every hook with its parameters.",
            )

    def _problems(self, value: Any) -> Iterator[str]:
        """Give what is wrong with hooks that pluggy accepts."""
        specified = [name for name in vars(self._manager.hook) if name.startswith(PREFIX)]
        known = [name for name in specified if getattr(self._manager.hook, name).has_spec()]
        callers = self._manager.get_hookcallers(value) or []
        marked = {caller.name for caller in callers}
        for name in dir(value):
            if name.startswith(PREFIX) and name not in marked and callable(getattr(value, name)):
                yield f"{name} is not marked with @hookimpl"
        for caller in callers:
            if not caller.has_spec():
                yield f"there is no hook {caller.name} ({did_you_mean(caller.name, known)})"
            for each in caller.get_hookimpls():
                if each.plugin is value and inspect.iscoroutinefunction(each.function):
                    yield f"{caller.name} must not be async"
                if each.plugin is value and (each.hookwrapper or each.wrapper):
                    yield f"{caller.name} must not be a wrapper"


def _imported(found: Found) -> Any:
    try:
        value = found.load()
        return value() if inspect.isclass(value) else value
    except (Exception, SystemExit) as error:
        raise PluginImportError(
            f"The plugin {found.name} of {found.origin} cannot be imported "
            f"from {found.value}: {_told(error)}.",
            registry="hooks",
            name=found.name,
            origin=found.origin,
            hint=f"Reinstall {found.distribution}, or list it in plugins.block of the settings.",
        ) from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(".")


def _log_failure(event: str, plugin: str, error: Exception, **facts: Any) -> None:
    # Imported when something is wrong: structlog costs more than all the rest of this room.
    from stageflow.contracts.logs import get_logger

    get_logger("stageflow.plugins").warning(event, plugin=plugin, error=str(error), **facts)

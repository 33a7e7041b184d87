"""Implementation: one resolved plugin, ready to be built from its settings.

It is whatever an entry point names: a class or a function that is called to make one, or an
object that is one already. A class or function that takes settings says so with an attribute
`Settings`, an attrs class, and is called with one object of it. If it needs resources, its
attribute `requires` names them, or is a function from the settings to the names; it is then
called with the keyword `resources`, a mapping from these names to what is open.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

import anyio
import attrs

from stageflow.errors import ContractErrorInfo
from stageflow.plugins._conformity import shape_faults
from stageflow.plugins._structure import UNKNOWN_KEY, fault
from stageflow.plugins.errors import (
    MissingMethodError,
    PluginBuildError,
    PluginOpenError,
    PluginShapeError,
    SettingsError,
    SignatureError,
)
from stageflow.plugins.secret import redact, secrets_in
from stageflow.plugins.settings import Settings

__all__ = ("Implementation", "check_shape", "is_factory", "merged", "opened")

T = TypeVar("T")
V = TypeVar("V")
E = TypeVar("E", bound=PluginBuildError)


@attrs.frozen(kw_only=True, eq=False)
class Implementation(Generic[T]):
    """What a name stands for.

    Attributes:
        registry: Plural name of the contract.
        name: The name asked for: of an instance or of an implementation.
        implementation: Name of the implementation.
        origin: Where it comes from: distribution and version, or whoever registered it.
        factory: What the entry point names.
        settings_type: The attrs class of its settings; None if it takes none.
        configured: Its settings as written, without overrides.
    """

    registry: str
    name: str
    implementation: str
    origin: str
    factory: Any = attrs.field(repr=False)
    settings_type: type | None
    configured: Mapping[str, Any] = attrs.field(repr=False)
    _protocol: type | None = attrs.field(repr=False)
    _settings: Settings = attrs.field(repr=False)

    @property
    def path(self) -> tuple[str, str]:
        """Where its table stands in the settings."""
        return (self.registry, self.name)

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Any:
        """Return its settings object; None if it takes no settings.

        Args:
            overrides: Win over what is configured; tables are merged.

        Raises:
            SettingsError: With every fault there is.
        """
        made, faults = self.attempt(overrides)
        if faults:
            raise SettingsError(faults)
        return made

    def attempt(
        self, overrides: Mapping[str, Any] | None = None
    ) -> tuple[Any, tuple[ContractErrorInfo, ...]]:
        """Return its settings object, or every fault of its settings."""
        given = overrides or {}
        written = merged(self.configured, given)
        if self.settings_type is not None:
            attempt = self._settings.structurer.attempt
            return attempt(written, self.settings_type, self.path, given=given.keys())
        told, origin = f"{self.implementation} takes no settings", self._settings.origin
        places = [(*self.path, key) for key in sorted(written)]
        return None, tuple(
            fault(UNKNOWN_KEY, place, told, origin=origin(*place)) for place in places
        )

    def requires(self, settings: Any) -> tuple[str, ...]:
        """Return the names of the resources it needs with these settings."""
        names = inspect.getattr_static(self.factory, "requires", ())
        if not isinstance(names, (tuple, list, frozenset, set)):
            names = self.factory.requires(settings)
        return tuple(cast("Iterable[str]", names))

    def build(
        self,
        overrides: Mapping[str, Any] | None = None,
        *,
        resources: Mapping[str, Any] | None = None,
    ) -> T:
        """Return an object that implements the contract; not opened yet.

        Args:
            overrides: Settings that win over what is configured.
            resources: What is open, by name of the resource; at least what it requires.

        Raises:
            SettingsError: If its settings are wrong.
            PluginBuildError: If making it fails, or a resource that it requires is not given.
            PluginShapeError: If what has been made does not fit the contract.
        """
        return self._make(self.settings(overrides), resources)

    @asynccontextmanager
    async def open(
        self,
        overrides: Mapping[str, Any] | None = None,
        *,
        resources: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[T]:
        """Build an object, open it for the time of the block, and close it after.

        Args:
            overrides: Settings that win over what is configured.
            resources: What is open, by name of the resource; at least what it requires.

        Raises:
            PluginOpenError: If opening it fails.
            SettingsError: As `build` does.
            PluginError: As `build` does.
        """
        settings = self.settings(overrides)
        made = self._make(settings, resources)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(opened(made))
            except Exception as error:  # noqa: BLE001 - whatever it is, the plugin failed to open
                secrets = secrets_in(settings)
                failure = self.failed("could not be opened", error, secrets, PluginOpenError)
            else:
                yield made
                return
        raise failure

    def call(
        self, *arguments: Any, settings: Any = None, resources: Mapping[str, Any] | None = None
    ) -> T:
        """Return what calling the factory with *arguments* makes, checked against the contract."""
        if not is_factory(self.factory):
            return cast("T", self.factory)
        keywords = {}
        if needed := self.requires(settings):
            keywords["resources"] = self._needed(needed, resources or {})
        try:
            made = self.factory(*arguments, **keywords)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the plugin's failure
            secrets = secrets_in(settings)
            failure = self.failed("could not be built", error, secrets, PluginBuildError)
        else:
            check_shape(self._protocol, made, self.registry, self.implementation, self.origin)
            return cast("T", made)
        raise failure

    def _make(self, settings: Any, resources: Mapping[str, Any] | None) -> T:
        arguments = () if self.settings_type is None else (settings,)
        return self.call(*arguments, settings=settings, resources=resources)

    def failed(
        self,
        what: str,
        error: BaseException,
        secrets: frozenset[str],
        kind: type[E],
    ) -> E:
        """Return the error that tells of a failure, with no secret in it or behind it."""
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        shown = redact(told, secrets)
        failure = kind(
            f"{self.registry}.{self.name} of {self.origin} {what}: {shown.removesuffix('.')}.",
            registry=self.registry,
            name=self.name,
            origin=self.origin,
            hint=getattr(error, "hint", "") or "Check its settings and what they point at.",
        )
        # A cause that quotes a secret would show it in every traceback.
        failure.__cause__ = error if shown == told else None
        return failure

    def _needed(self, names: tuple[str, ...], resources: Mapping[str, Any]) -> Mapping[str, Any]:
        missing = [name for name in names if name not in resources]
        if missing:
            raise PluginBuildError(
                f"{self.registry}.{self.name} of {self.origin} requires resources "
                f"that are not open: {', '.join(missing)}.",
                registry=self.registry,
                name=self.name,
                origin=self.origin,
                hint="Open them with the resource manager first, and pass them on.",
            )
        return MappingProxyType({name: resources[name] for name in names})


@asynccontextmanager
async def opened(value: V) -> AsyncIterator[V]:
    """Open an object that implements any contract for the time of the block, and close it after.

    One that is an async context manager is entered and left; one that has `aclose` is closed.
    """
    if hasattr(value, "__aenter__"):
        async with value:  # type: ignore[attr-defined]
            yield value
        return
    try:
        yield value
    finally:
        close = getattr(value, "aclose", None)
        if close is not None:
            with anyio.CancelScope(shield=True):
                await close()


def is_factory(value: Any) -> bool:
    """Whether an entry point's object makes implementations, rather than being one."""
    is_partial = isinstance(value, functools.partial)
    return is_partial or inspect.isclass(value) or inspect.isroutine(value)


def check_shape(
    protocol: type | None, candidate: Any, registry: str, name: str, origin: str
) -> None:
    """Return if *candidate* fits the contract, or there is nothing to compare it with.

    Raises:
        MissingMethodError: If it lacks something; other faults are listed with it.
        SignatureError: If some method cannot be called as the contract says.
    """
    faults = () if protocol is None else shape_faults(protocol, candidate)
    if faults:
        is_missing = any(fault.code == MissingMethodError.code for fault in faults)
        kind: type[PluginShapeError] = MissingMethodError if is_missing else SignatureError
        raise kind(registry, name, origin, faults)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables in one; *over* wins, and tables in both are merged in turn."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result

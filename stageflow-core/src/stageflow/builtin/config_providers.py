"""Config providers: from the environment, from a dictionary, from a TOML file."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from stageflow.builtin._configured import configured_by
from stageflow.contracts.config_provider import ConfigSourceError, check_config_key
from stageflow.errors import did_you_mean

__all__ = (
    "DictConfigProvider",
    "DictConfigSettings",
    "EnvConfigProvider",
    "EnvConfigSettings",
    "TomlConfigProvider",
    "TomlConfigSettings",
    "make_dict_config_provider",
    "make_env_config_provider",
    "make_toml_config_provider",
)

_MISSING = object()


class EnvConfigProvider:
    """Answers from environment variables, always as they are at the moment.

    `database.pool-size` is looked for as it is written and then, as variables are called by
    custom, as `DATABASE__POOL_SIZE`; a prefix stands before either.

    Args:
        prefix: What the names of the variables begin with, such as `APP_`.
        environ: The variables; those of the process unless given.
    """

    def __init__(self, prefix: str = "", *, environ: Mapping[str, str] | None = None) -> None:
        self._prefix = prefix
        self._environ = os.environ if environ is None else environ

    def get(self, key: str, default: Any = None) -> Any:
        """See `ConfigProvider.get`; every value is a text."""
        check_config_key(key)
        as_written = self._environ.get(self._prefix + key)
        if as_written is not None:
            return as_written
        return self._environ.get(self._prefix + _variable(key), default)

    def __repr__(self) -> str:
        return f"EnvConfigProvider({self._prefix!r})"


class DictConfigProvider:
    """Answers from a dictionary, which may be nested.

    A key is looked for as it is written; then a dotted one, such as `database.url`, leads
    from one dictionary to the next.

    Args:
        config: The configuration; what becomes of it later does not matter.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = copy.deepcopy(dict(config))

    def get(self, key: str, default: Any = None) -> Any:
        """See `ConfigProvider.get`."""
        check_config_key(key)
        value = _look_up(self._config, key)
        return default if value is _MISSING else copy.deepcopy(value)

    def __repr__(self) -> str:
        # Names only: values may be secret.
        return f"DictConfigProvider({', '.join(map(repr, self._config))})"


class TomlConfigProvider(DictConfigProvider):
    """Answers from a TOML file, read once when the provider is made.

    Args:
        path: The file.
        table: Which table of it, dotted, such as `tool.app`; all of it unless given.

    Raises:
        ConfigSourceError: The file cannot be read, is not TOML, or has no such table.
    """

    def __init__(self, path: str | Path, *, table: str | None = None) -> None:
        super().__init__(_table(Path(path), table))
        self._source = f"{path}, table {table}" if table else str(path)

    def __repr__(self) -> str:
        return f"TomlConfigProvider({self._source!r})"


@attrs.frozen(kw_only=True)
class EnvConfigSettings:
    """Which environment variables are configuration.

    Attributes:
        prefix: What their names begin with.
    """

    prefix: str = ""


@attrs.frozen(kw_only=True)
class DictConfigSettings:
    """Configuration that is written among the settings.

    Attributes:
        values: The configuration; may be nested.
    """

    values: dict[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class TomlConfigSettings:
    """Where configuration is read from.

    Attributes:
        path: The file, seen from the current folder.
        table: Which table of it, dotted; all of it unless given.
    """

    path: Path
    table: str | None = None


@configured_by(EnvConfigSettings)
def make_env_config_provider(settings: EnvConfigSettings) -> EnvConfigProvider:
    """Return a provider that answers from environment variables."""
    return EnvConfigProvider(settings.prefix)


@configured_by(DictConfigSettings)
def make_dict_config_provider(settings: DictConfigSettings) -> DictConfigProvider:
    """Return a provider that answers from the settings."""
    return DictConfigProvider(settings.values)


@configured_by(TomlConfigSettings)
def make_toml_config_provider(settings: TomlConfigSettings) -> TomlConfigProvider:
    """Return a provider that answers from a file."""
    return TomlConfigProvider(settings.path, table=settings.table)


def _variable(key: str) -> str:
    return key.upper().replace(".", "__").replace("-", "_")


def _look_up(config: Any, key: str) -> Any:
    """Return what *key* leads to, preferring the longest names, or `_MISSING`."""
    if not isinstance(config, Mapping):
        return _MISSING
    if key in config:
        return config[key]
    for dot in (at for at in range(len(key) - 1, 0, -1) if key[at] == "."):
        value = _look_up(config.get(key[:dot]), key[dot + 1 :])
        if value is not _MISSING:
            return value
    return _MISSING


def _table(path: Path, table: str | None) -> Mapping[str, Any]:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise ConfigSourceError(
            f"{path} cannot be read: {reason}.",
            source=str(path),
            hint="Is the path right, seen from the current folder, and may this user read it?",
        ) from exc
    except ValueError as exc:  # of TOML or of UTF-8
        raise ConfigSourceError(
            f"{path} is not TOML: {exc}.", source=str(path), hint="Mend that place in the file."
        ) from exc
    if table is None:
        return config
    found = _look_up(config, table)
    if not isinstance(found, Mapping):
        source = f"{path}, table {table}"
        what = "has no table" if found is _MISSING else "has a value, not a table,"
        raise ConfigSourceError(
            f"{path} {what} {table!r}.", source=source, hint=did_you_mean(table, _tables(config))
        )
    return found


def _tables(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            names += [f"{prefix}{name}", *_tables(value, f"{prefix}{name}.")]
    return names

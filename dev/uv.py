"""Run uv with the index, certificate and proxy settings that the user gave to pip.

uv does not read pip's configuration. Whoever set up pip for a mirror, a proxy or a
company's certificates should not have to say it all again to build this project.

    .venv/bin/python dev/uv.py pip install ...
    .venv/bin/python dev/uv.py --portable pip compile ...

With `--portable` packages lying on this machine's own disk are left out: what comes out must
hold on other machines.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from collections.abc import Mapping

VENV = Path(sys.prefix)

# pip's option -> uv's variable, for options that name places to look for packages.
SOURCES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
}
# The same for all other options that matter to an installation.
OPTIONS = {
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "retries": "UV_HTTP_RETRIES",
    "timeout": "UV_HTTP_TIMEOUT",
    "trusted-host": "UV_INSECURE_HOST",
}
# Older names that uv also reads; if the user has set one, that is an answer too.
SYNONYMS = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def pip_options() -> dict[str, str]:
    """Return pip's options as `pip install` would see them: files first, then variables."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    ranked: list[tuple[int, str, str]] = []
    for line in listed.splitlines():
        key, _, shown = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in (ranks := ("global", "install", ":env:")):
            ranked.append((ranks.index(section), option, str(ast.literal_eval(shown))))
    return {option: value for _, option, value in sorted(ranked) if value.strip()}


def local_path(location: str) -> Path | None:
    """Return the place on this machine that *location* names, or None if it is elsewhere."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme else Path(location)


def usable(location: str, *, portable: bool) -> bool:
    """Tell whether packages may be looked for at *location*; pip, too, passes over what is gone."""
    path = local_path(location)
    return path is None or (not portable and path.exists())


def environment(options: Mapping[str, str], *, portable: bool = False) -> dict[str, str]:
    """Return the environment in which uv does what pip would; variables set for uv itself win."""
    settings = {
        # As pip: the best version of all indexes. Safe, because the lock holds every file's hash.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
        "VIRTUAL_ENV": str(VENV),
    }
    for option, value in options.items():
        if option in SOURCES:
            kept = [place for place in value.split() if usable(place, portable=portable)]
            # uv separates the places to find links in by commas, and indexes by blanks.
            settings[SOURCES[option]] = ("," if option == "find-links" else " ").join(kept)
        elif option in OPTIONS:
            settings[OPTIONS[option]] = value
    if not cache_is_writable(os.environ):
        settings["UV_CACHE_DIR"] = str(VENV / "cache")
    given = {name for name, value in os.environ.items() if value}
    for name, older in SYNONYMS.items():
        if older in given:
            settings.pop(name, None)
    return {**os.environ, **{k: v for k, v in settings.items() if v and k not in given}}


def cache_is_writable(env: Mapping[str, str]) -> bool:
    """Tell whether uv can use its usual cache; a service account may have no home."""
    home = env.get("HOME")
    usual = env.get("UV_CACHE_DIR") or env.get("XDG_CACHE_HOME") or (home and f"{home}/.cache")
    if not usual:
        return False
    try:
        Path(usual).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=usual):
            return True
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    """Run uv with *arguments* and return its exit status."""
    portable = arguments[:1] == ["--portable"]
    options = pip_options()
    command = [str(VENV / "bin" / "uv"), *arguments[portable:]]
    if options.get("no-index", "").lower() in {"1", "on", "true", "yes"} and "pip" in command:
        command.append("--no-index")  # uv has no variable for it
    env = environment(options, portable=portable)
    return subprocess.run(command, check=False, env=env).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

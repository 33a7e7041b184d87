"""What must not stand in any committed file: places of one machine, hosts, unfinished business."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.workspace import ROOT, committed_files

FILES = {
    path.relative_to(ROOT).as_posix(): text
    for path in committed_files()
    if "\0" not in (text := path.read_bytes().decode("utf-8", errors="replace"))
}
SOURCES = {name: text for name, text in FILES.items() if "/src/" in name and name.endswith(".py")}

# An address is there to be read by people, or as a name that nobody fetches; a package index, a
# download host or a company's server has no business in the project.
HOSTS = re.compile(
    r"[\w-]+|127(\.\d+){3}|0\.0\.0\.0|\[?::1\]?|"
    r"([\w-]+\.)*(example|test|invalid)(\.(com|net|org))?|"
    r"(www\.)?w3\.org|json-schema\.org|(www\.|docs\.|peps\.)?python\.org|"
    r"(www\.)?rfc-editor\.org|opentelemetry\.io"
)
URL = re.compile(r"\b(?:https?|ftp|git|s3|ssh)://[^\s\"'`<>)\]}\\]+")
# Put together here, so that this file does not hold them.
UNFINISHED = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b"
)
DRAFT = re.compile("place" + "holder|# st" + r"ub\b", re.IGNORECASE)
HOMES = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w+")


def lines(files: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    """Return "file:line: text" for every match of *pattern*."""
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in files.items()
        for match in pattern.finditer(text)
    ]


def host(url: str) -> str:
    # A template such as http://{host}:{port}/ names no host; brackets mark an IPv6 address.
    place = urlsplit(url).netloc.rpartition("@")[2]
    return "localhost" if not place or place[0] in "{%$" else re.sub(r":[^:\]]*$", "", place)


def test_there_is_something_to_look_at():
    assert {"pyproject.toml", "requirements.lock", "Makefile"} <= set(FILES)
    assert SOURCES


def test_nothing_is_left_unfinished():
    assert lines(FILES, UNFINISHED) == []
    assert lines(SOURCES, DRAFT) == []


def test_no_path_of_one_machine():
    here = re.compile(re.escape(str(ROOT)) if len(ROOT.parts) > 2 else r"(?!)")
    assert lines(FILES, here) + lines(FILES, HOMES) == []


def test_no_host_that_could_be_fetched_from():
    found = [
        line for line in lines(FILES, URL) if not HOSTS.fullmatch(host(line.split(": ", 1)[1]))
    ]
    assert found == []


def test_no_settings_for_a_package_index():
    # The hosts themselves cannot be named here; settings that would hold one can.
    options = re.compile(r"^\s*(?:--?)?(?:extra-)?index(?:-url|es)?\s*[ =].*$", re.MULTILINE)
    settings = {n: t for n, t in FILES.items() if n.endswith((".toml", ".lock", ".cfg", ".txt"))}
    assert lines(settings, options) == []


def test_no_value_is_pickled():
    module = re.compile(
        r"^\s*(?:import|from) (?:_?pickle|cloudpickle|dill|marshal|shelve)\b", re.MULTILINE
    )
    assert lines(SOURCES, module) == []


def test_no_error_is_swallowed_without_a_trace():
    swallowed = re.compile(
        r"except(?: \(?(?:Base)?Exception\)?(?: as \w+)?)?:\s*(?:#[^\n]*)?\n\s+pass\b"
    )
    assert lines(SOURCES, swallowed) == []


@pytest.mark.parametrize(
    ("place", "allowed"),
    [
        ("127.0.0.1:8080/x", True),
        ("{host}:{port}/", True),
        ("localhost/x", True),
        ("api.example.com/v1", True),
        ("user:secret@db.test/x", True),
        ("[::1]:80/", True),
        ("files.company.io/simple", False),
        ("example.com.company.io/", False),
    ],
)
def test_hosts_are_told_apart(place: str, *, allowed: bool):
    assert bool(HOSTS.fullmatch(host(f"http://{place}"))) is allowed


def test_files_end_in_one_line_break():
    odd = [
        name
        for name, text in FILES.items()
        if text
        and Path(name).suffix not in {".svg", ".golden"}
        and not re.search(r"[^\n]\n\Z", text)
    ]
    assert odd == []

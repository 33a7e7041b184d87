"""Find keys, tokens and passwords that were left in a text.

Every pattern is looked for in two steps: a plain search for a few letters that it must
hold, which is fast, and a match at that place alone. No pattern can take more than linear
time, so a hostile file cannot hold up an audit.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from document_audit.findings import Hit, blank_out

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("find_secrets", "looks_random")


@attrs.frozen
class _Token:
    """A token that can be told by how it begins; so much of the beginning may be shown."""

    rule: str
    begins: tuple[str, ...]
    pattern: re.Pattern[str]
    shown: int = 4
    severity: str = "high"


def _token(rule: str, begins: str, rest: str, *, shown: int = 4, severity: str = "high") -> _Token:
    words = tuple(begins.split())
    start = "|".join(map(re.escape, words))
    pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{start}){rest}", re.ASCII)
    return _Token(rule, words, pattern, shown, severity)


_TOKENS: Final = (
    _token("AWS access key", "AKIA ASIA", r"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _token("Google API key", "AIza", r"[\w-]{35}(?![\w-])"),
    _token("Google client secret", "GOCSPX-", r"[\w-]{28}(?![\w-])", shown=7),
    _token("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,255}\b"),
    _token("GitHub token", "github_pat_", r"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b", shown=11),
    _token("GitLab token", "glpat-", r"[\w-]{20,64}", shown=6),
    _token("Slack token", "xoxa- xoxb- xoxe- xoxp- xoxr- xoxs-", r"[\w-]{10,250}", shown=5),
    _token(
        "Slack webhook",
        "hooks.slack.com/services/",
        r"T[A-Z0-9]{7,}/B[A-Z0-9]{7,}/[A-Za-z0-9]{20,}",
        shown=25,
    ),
    _token("Stripe key", "sk_live_ rk_live_", r"[A-Za-z0-9]{20,250}", shown=8),
    _token("npm token", "npm_", r"[A-Za-z0-9]{36}\b"),
    _token("SendGrid key", "SG.", r"[\w-]{22}\.[\w-]{43}(?![\w-])", shown=3),
    _token("AI provider key", "sk-ant- sk-proj-", r"[\w-]{40,250}", shown=3),
    _token("AI provider key", "sk-", r"[A-Za-z0-9]{40,64}\b", shown=3),
    _token("Hugging Face token", "hf_", r"[A-Za-z0-9]{34}\b", shown=3),
    _token("age key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}\b", shown=16),
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----)[\s\S]){0,400}?[A-Za-z0-9+/]{40}"
)
_JWT = re.compile(r"(?<![\w-])(eyJ[\w-]{10,2000})\.eyJ[\w-]{10,8000}\.[\w-]{16,2000}", re.ASCII)
_URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}\Z")
_URL_PASSWORD = re.compile(
    r"""://[^\s/:@'"`<>{}\\]{0,64}:([^\s/:@'"`<>\\]{3,128})@([\w.-]{1,253}|\[)"""
)
_BEARER = re.compile(r"bearer[ \t]{1,4}([A-Za-z0-9._~+/-]{20,1000}={0,2})", re.IGNORECASE)

# What names of secrets hold, in lower case.
_SECRET_WORDS: Final = (
    "passw", "passphrase", "pwd", "secret", "token", "api_key", "api-key", "apikey", "access_key",
    "access-key", "accesskey", "private_key", "privatekey", "account_key", "accountkey",
    "encryption_key", "signing_key", "auth_key", "credential",
)  # fmt: skip
_ASSIGNED = re.compile(
    r"""(?P<tail>[\w-]{0,40})["']?\]?        # the rest of the name, perhaps a key in quotes
    (?:[ ]?:[ ]?[&\w]{1,20})?               # perhaps its type
    [ \t]{0,20}(?::=|=>|==?|:)[ \t]{0,20}
    (?:(?P<quote>["'`])(?P<quoted>[^"'`\s\\]{6,256})(?P=quote)
      |(?P<bare>[^\s"'`,;<>(){}\[\]\\#]{6,256})[ \t\r]*(?:\#[^\n]*)?$)""",
    re.VERBOSE | re.MULTILINE,
)
_NAME_HEAD = re.compile(r"[\w.-]{0,40}\Z")
_BARE_LEAD = re.compile(r"""\s*(?:(?:export|set|-)\s+)?["']?""")
_NOT_SECRET_NAME = re.compile(
    r"public|hash|digest|checksum|fingerprint|sha\d|length|size|type|name$|id$|url|path|file|field"
    r"|next|page|continu|cursor|csrf"
    r"|prompt|label|regex|pattern|policy|format|column|header|count|limit|ttl|expir",
)
_MADE_UP = re.compile(
    r"example|sample|dummy|fake|change.?(?:me|it)|your|insert|replace|redact|placehold|not.?real"
    r"|x{4,}|\*{3,}|\.{3}|(.)\1{5,}|1234567|abcdef|\$[({\w]|\{\{?|%[({s]|^env[:.]|environ|secrets\.",
    re.IGNORECASE,
)
_WEAK = frozenset({
    "password", "passwd", "secret", "admin", "root", "postgres", "mysql", "guest", "test", "user",
    "username", "testing", "default", "changeme", "pass", "token", "none", "null", "true", "false",
    "undefined", "required", "optional", "string", "hidden",
})  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-fA-F]+")
_RANDOM_CHARACTERS = re.compile(r"[A-Za-z0-9+/_.~=-]{16,}", re.ASCII)
_CLASSES = str.maketrans(
    dict.fromkeys("0123456789", "0")
    | dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a")
    | dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A")
)
_CLASS_CHANGE = re.compile(r"(?=0[aA]|a[0A]|A0)")


def find_secrets(text: str, *, is_code: bool = False) -> Iterator[Hit]:
    """Yield the secrets in *text*, those that are surest first.

    Args:
        text: Where to look.
        is_code: Whether a value without quotes is an expression rather than a value.
    """
    if "PRIVATE KEY" in text:
        yield from _private_keys(text)
    for token in _TOKENS:
        yield from _tokens(text, token)
    if "eyJ" in text:
        yield from _web_tokens(text)
    if "://" in text:
        yield from _url_passwords(text)
    lowered = _lower(text)
    for position in _places(lowered, "bearer"):
        match = _BEARER.match(text, position)
        if match and looks_random(match[1]):
            yield Hit(*match.span(1), "bearer token", "high", blank_out(match[1]))
    for word in _SECRET_WORDS:
        for position in _places(lowered, word):
            hit = _assigned(text, position, is_code)
            if hit is not None:
                yield hit


def looks_random(value: str) -> bool:
    """Return whether *value* looks made by a generator rather than by a person."""
    if not _RANDOM_CHARACTERS.fullmatch(value) or _MADE_UP.search(value):
        return False
    classes = value.translate(_CLASSES)
    if "0" not in classes or ("a" not in classes and "A" not in classes):
        return False
    if _HEX.fullmatch(value):  # a shorter one is more often the name of a version
        return len(value) >= 24 and _entropy(value) >= 2.6
    changes = len(_CLASS_CHANGE.findall(classes))
    return changes >= 0.25 * len(value) and _entropy(value) >= 3.0


def _entropy(value: str) -> float:
    """Bits of information in each character, by how often each occurs."""
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values())


def _lower(text: str) -> str:
    """Lower case of the same length: of all letters, one alone becomes two."""
    return text.replace("\u0130", "I").lower()


def _places(text: str, word: str) -> Iterator[int]:
    position = text.find(word)
    while position >= 0:
        yield position
        position = text.find(word, position + len(word))


def _private_keys(text: str) -> Iterator[Hit]:
    for position in _places(text, "-----BEGIN "):
        match = _PRIVATE_KEY.match(text, position)
        if match is None:
            continue
        end = text.find("-----END", match.end(), match.end() + 16_000)
        locked = "ENCRYPTED" in match[0]
        rule = "encrypted private key" if locked else "private key"
        shown = f"{match[0].partition('KEY')[0]}KEY\u2026"
        yield Hit(position, max(end, match.end()), rule, "medium" if locked else "high", shown)


def _tokens(text: str, token: _Token) -> Iterator[Hit]:
    for begin in token.begins:
        for position in _places(text, begin):
            match = token.pattern.match(text, position)
            if match is None:
                continue
            body = match[0][len(begin) :]
            if len(set(body)) >= 8 and not _MADE_UP.search(body):
                excerpt = blank_out(match[0], keep_start=token.shown)
                yield Hit(*match.span(), token.rule, token.severity, excerpt)


def _web_tokens(text: str) -> Iterator[Hit]:
    for position in _places(text, "eyJ"):
        match = _JWT.match(text, position)
        if match is None:
            continue
        head = match[1]
        try:
            fields = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        except (binascii.Error, ValueError, RecursionError):
            continue
        if isinstance(fields, dict) and "alg" in fields:
            yield Hit(*match.span(), "JSON web token", "medium", blank_out(match[0], keep_start=3))


def _url_passwords(text: str) -> Iterator[Hit]:
    for position in _places(text, "://"):
        match = _URL_PASSWORD.match(text, position)
        if match is None or not (
            scheme := _URL_SCHEME.search(text[max(0, position - 21) : position])
        ):
            continue
        password, host = match.groups()
        if _MADE_UP.search(password) or password.lower() in _WEAK or password.isdigit():
            continue
        local = host in ("localhost", "127.0.0.1", "[") or "example" in host or "." not in host
        excerpt = f"{scheme[0]}://\u2026:{blank_out(password)}@\u2026"
        yield Hit(*match.span(1), "password in URL", "low" if local else "high", excerpt)


def _assigned(text: str, position: int, is_code: bool) -> Hit | None:
    """Judge what is assigned to the name that has a telling word at *position*."""
    match = _ASSIGNED.match(text, position)
    if match is None:
        return None
    line = text[max(0, position - 200) : position].rpartition("\n")[2]
    head = _NAME_HEAD.search(line)
    name_head = head[0] if head else ""
    name = name_head + match["tail"]
    if _NOT_SECRET_NAME.search(name.lower()):
        return None
    kind = "quoted" if match["quoted"] else "bare"
    lead = line[: len(line) - len(name_head)]
    if kind == "bare" and (is_code or not _BARE_LEAD.fullmatch(lead)):
        return None
    value, start = match[kind], match.start(kind)
    if _UUID.fullmatch(value) or "://" in value:
        return None
    if looks_random(value):
        rule, severity = "assigned secret", "high"
    elif "pass" in name.lower() or "pwd" in name.lower():
        if not _is_password(value):
            return None
        rule, severity = "hard-coded password", "medium"
    else:
        return None
    return Hit(start, start + len(value), rule, severity, f"{name[:40]} = {blank_out(value)}")


def _is_password(value: str) -> bool:
    """Return whether *value* could be a password that a person thought of."""
    if _MADE_UP.search(value) or value.lower().strip("!123") in _WEAK or len(value) > 64:
        return False
    if value.startswith(("-", "/", ".", "$", "#", "@", "&", "%", "<")):
        return False
    digits = any(map(str.isdigit, value))
    symbols = any(not char.isalnum() and char not in "_-./:" for char in value)
    mixed = value.lower() != value != value.upper()
    return digits + symbols + mixed >= 2

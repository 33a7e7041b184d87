"""Find personal data in a text: mail addresses, card and account numbers, IP addresses, phones.

What has a check digit is checked, and what cannot belong to anybody (documentation
addresses, private networks) is told apart or left out.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from document_audit.findings import Hit, blank_out

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("find_personal", "iban_is_valid", "luhn_is_valid")

_LOCAL_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?\Z", re.ASCII)
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9@-])",
    re.ASCII,
)
_NOT_A_PERSON = frozenset(
    {"git", "hg", "svn", "noreply", "no-reply", "donotreply", "mailer-daemon"}
)
_RESERVED_DOMAIN = re.compile(
    r"(?:^|\.)(?:example|invalid|test|localhost|local|internal)$|(?:^|\.)example\.(?:com|net|org)$"
)
_IN_AN_ADDRESS = re.compile(r"://[^\s/]*\Z")
_A_PATH = re.compile(r":[\w~/.]")
_FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts"})
# Every number worth a look is within a run of digits and what people put between them.
_RUN = re.compile(r"[0-9][0-9 .()\u00a0-]{5,}[0-9]")
_CARD = re.compile(
    r"(?<![\w.+-])(?:\d{14,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"
    r"|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|\.\d)",
    re.ASCII,
)
_BRANDS: Final = (
    ("Visa", re.compile(r"4\d{15}(?:\d{3})?")),
    ("Mastercard", re.compile(r"(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}")),
    ("American Express", re.compile(r"3[47]\d{13}")),
    ("Discover", re.compile(r"(?:6011|65\d\d|64[4-9]\d)\d{12}(?:\d{3})?")),
    ("Diners Club", re.compile(r"3(?:0[0-5]|[689]\d)\d{11}")),
    ("JCB", re.compile(r"35(?:2[89]|[3-8]\d)\d{12}")),
    ("UnionPay", re.compile(r"62\d{14,17}")),
)
_IBAN = re.compile(
    r"[A-Z](?<![A-Za-z0-9][A-Z])[A-Z]\d{2} ?(?:[A-Z0-9]{4} ?){2,7}[A-Z0-9]{0,3}", re.ASCII
)
_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_IPV4 = re.compile(r"(?<![\w.+/-])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w/-]|\.\w)", re.ASCII)
_IPV6 = re.compile(r"[23](?<![\w:.][23])[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])", re.ASCII)
_NO_ADDRESS = re.compile(
    r"(?:version|release|\bv|==|~=|>=|<=|\^|oid|identifier)\W{0,4}\Z", re.IGNORECASE
)
_PHONE_ABROAD = re.compile(r"(?<![\w+.=)\]-])\+[1-9][0-9 .()\u00a0-]{6,24}[0-9](?![\w+]|[.,-]\d)")
_NO_PHONE_BEHIND = re.compile(r"[ .\u00a0-]{2}")
_A_FRACTION = re.compile(r"\+\d+\.\d+")
_PHONE_AT_HOME = re.compile(
    r"(?<![\w.+/-])(?:\([2-9]\d\d\) ?|[2-9]\d\d([.-]))[2-9]\d\d(?(1)\1|-)\d{4}(?![\w-]|\.\d)",
    re.ASCII,
)


def find_personal(text: str) -> Iterator[Hit]:
    """Yield the personal data in *text*, what has a check digit first."""
    if "@" in text:
        yield from _mail_addresses(text)
    yield from _account_numbers(text)
    for run in _RUN.finditer(text):
        # From just before the run to just behind it: patterns look at their surroundings.
        yield from _numbers(text, max(0, run.start() - 1), run.end() + 2)
    if "+" in text:
        for match in _PHONE_ABROAD.finditer(text):
            yield from _phone(match)
    if "::" in text or text.count(":") > 6:
        for match in _IPV6.finditer(text):
            yield from _ip_address(text, match)


def _numbers(text: str, start: int, end: int) -> Iterator[Hit]:
    length = end - start
    if length > 14:
        for match in _CARD.finditer(text, start, end):
            yield from _card(match)
    if text.count(".", start, end) > 2:
        for match in _IPV4.finditer(text, start, end):
            yield from _ip_address(text, match)
    if length > 11:
        for match in _PHONE_AT_HOME.finditer(text, start, end):
            yield from _phone(match)


def luhn_is_valid(number: str) -> bool:
    """Return whether the digits of *number* end in the check digit of Luhn's formula."""
    if not number.isascii() or not number.isdigit():
        return False
    digits = list(map(int, reversed(number)))
    doubled = sum(digit * 2 - 9 * (digit > 4) for digit in digits[1::2])
    return (sum(digits[::2]) + doubled) % 10 == 0


def iban_is_valid(iban: str) -> bool:
    """Return whether *iban*, without spaces, has its country's length and right check digits."""
    if _IBAN_LENGTHS.get(iban[:2]) != len(iban) or not (iban.isascii() and iban.isalnum()):
        return False
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def _card(match: re.Match[str]) -> Iterator[Hit]:
    number = match[0].replace(" ", "").replace("-", "")
    brand = next((name for name, pattern in _BRANDS if pattern.fullmatch(number)), "")
    if brand and luhn_is_valid(number) and len(set(number)) > 2:
        yield Hit(*match.span(), "card number", "high", f"{brand} {blank_out(number, keep_end=4)}")


def _account_numbers(text: str) -> Iterator[Hit]:
    for match in _IBAN.finditer(text):
        # What follows may look like more of it: take as much as the country says.
        length, used = _IBAN_LENGTHS.get(match[0][:2], 0), 0
        for char in match[0]:
            length -= char != " "
            used += 1
            if length <= 0:
                break
        end = match.start() + used
        iban = match[0][:used].replace(" ", "")
        if iban_is_valid(iban) and not text[end : end + 1].isalnum():
            shown = blank_out(iban, keep_start=2, keep_end=4)
            yield Hit(match.start(), end, "IBAN", "high", shown)


def _mail_addresses(text: str) -> Iterator[Hit]:
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL_PART.search(text[max(0, at - 64) : at]) if domain else None
        if domain and local and not _is_no_mailbox(text, at, local[0], domain):
            top = domain[0].rpartition(".")[2]
            severity = "info" if _RESERVED_DOMAIN.search(domain[0].lower()) else "low"
            shown = f"{local[0][0]}\u2022\u2022\u2022@\u2022\u2022\u2022.{top}"
            yield Hit(at - len(local[0]), domain.end(), "e-mail address", severity, shown)
        at = text.find("@", domain.end() if domain else at + 1)


def _is_no_mailbox(text: str, at: int, local: str, domain: re.Match[str]) -> bool:
    """Tell apart what looks like a mail address: a login in a URL, a remote path, a file name."""
    return (
        local.lower() in _NOT_A_PERSON
        or domain[0].rpartition(".")[2].lower() in _FILE_ENDINGS
        or _A_PATH.match(text, domain.end()) is not None
        or _IN_AN_ADDRESS.search(text[max(0, at - 130) : at]) is not None
    )


def _phone(match: re.Match[str]) -> Iterator[Hit]:
    number = _NO_PHONE_BEHIND.split(match[0], maxsplit=1)[0]
    digits = re.sub(r"\D", "", number)
    grouped = len(digits) < len(number.lstrip("+"))
    if not 8 <= len(digits) <= 15 or len(set(digits)) < 4 or _A_FRACTION.fullmatch(number):
        return
    if grouped or len(digits) >= 11:
        fiction = digits[-7:-2] == "55501"  # set aside in North America for stories
        shown = blank_out(number, keep_start=3 if number[0] == "+" else 0, keep_end=2)
        end = match.start() + len(number)
        yield Hit(match.start(), end, "phone number", "info" if fiction else "low", shown)


def _ip_address(text: str, match: re.Match[str]) -> Iterator[Hit]:
    try:
        address = ipaddress.ip_address(match[0].rstrip(":"))
    except ValueError:
        return
    if address.version == 4 and max(address.packed) < 32:
        return  # a version or the number of a section: of addresses, one in 4,096 looks so
    before = text[max(0, match.start() - 16) : match.start()]
    if address.is_global and not address.is_multicast and not _NO_ADDRESS.search(before):
        first, mark = re.split(r"([.:])", match[0], maxsplit=1)[:2]
        shown = f"{first}{mark}\u2022\u2022\u2022"
        yield Hit(*match.span(), f"IPv{address.version} address", "low", shown)

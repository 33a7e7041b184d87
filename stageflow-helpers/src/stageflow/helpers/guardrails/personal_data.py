"""Find what belongs to a person in a text: numbers of cards and accounts, addresses, phones.

What has check digits is checked. Nothing here undoes disguises: that is done before, see
`normal_form`. No pattern takes more than linear time, and each is only tried where a few plain
characters say that it could match.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

__all__ = (
    "KINDS",
    "PersonalData",
    "card_brand",
    "find_personal_data",
    "iban_is_valid",
    "luhn_is_valid",
)

KINDS: Final = ("iban", "credit_card", "ssn", "ip_address", "email", "phone")
"""The kinds of personal data, those that are surest first."""


class PersonalData(NamedTuple):
    """A part of a text that belongs to a person.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        kind: One of `KINDS`.
        value: The part, as it is written.
    """

    start: int
    end: int
    kind: str
    value: str


# Every number worth a look is within a run of digits and what people put between them.
_RUN: Final = re.compile(r"[0-9][0-9 .()\u00a0/-]{5,}[0-9]")
_CARD: Final = re.compile(
    r"(?<![\w.+])(?<!\d-)[1-9]\d{3}(?:[ .-]?\d){9,15}(?![\w]|[.-]\d)", re.ASCII
)
_BRANDS: Final = (
    ("Visa", re.compile(r"4\d{12}(?:\d{3}(?:\d{3})?)?")),
    ("Mastercard", re.compile(r"(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}")),
    ("American Express", re.compile(r"3[47]\d{13}")),
    ("Discover", re.compile(r"(?:6011|65\d\d|64[4-9]\d)\d{12}(?:\d{3})?")),
    ("Diners Club", re.compile(r"3(?:0[0-5]|[689]\d)\d{11}")),
    ("JCB", re.compile(r"35(?:2[89]|[3-8]\d)\d{12}")),
    ("UnionPay", re.compile(r"62\d{14,17}")),
)
# From its first digit, since there are fewer digits than letters to begin at.
_IBAN: Final = re.compile(
    r"\d(?<=[A-Za-z]{2}\d)(?<![A-Za-z0-9][A-Za-z]{2}\d)\d(?:[ -]?[A-Za-z0-9]){11,30}", re.ASCII
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
_SSN: Final = re.compile(
    r"(?<![\w.+-])(?!000|666|9)\d{3}[ .-](?!00)\d\d[ .-](?!0000)\d{4}(?![\w-]|\.\d)", re.ASCII
)
_BARE_SSN: Final = re.compile(r"(?<!\w)(?!000|666|9)\d{3}(?!00)\d\d(?!0000)\d{4}(?!\w)", re.ASCII)
_ABOUT_SSN: Final = re.compile(r"\bssn\b|social security", re.IGNORECASE)
_IPV4: Final = re.compile(r"(?<![\w.+])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\w)", re.ASCII)
_IPV6: Final = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:(?=:))[0-9A-Fa-f:]{2,34}[0-9A-Fa-f:](?![\w:])", re.ASCII
)
_NO_ADDRESS: Final = re.compile(
    r"(?:version|release|section|chapter|clause|\bv|==|~=|>=|<=|\^|oid|identifier|§)\W{0,4}\Z",
    re.IGNORECASE,
)
_LOCAL_PART: Final = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?\Z", re.ASCII
)
_DOMAIN: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9@-])",
    re.ASCII,
)
_FILE_ENDINGS: Final = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts"}
)
_PHONE_ABROAD: Final = re.compile(
    r"(?<![\w+.=)\]-])\+[1-9][0-9 .()\u00a0/-]{5,24}[0-9](?![\w+]|[.,-]\d)"
)
# Three, three and four digits, as written in North America.
_PHONE_AT_HOME: Final = re.compile(
    r"(?<![\w.+/-])(?:1[ .-])?(?:\( ?\d{3} ?\)[ .-]?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}(?![\w-]|\.\d)",
    re.ASCII,
)
# Written otherwise, a number is a phone's if the text says so.
_BARE_PHONE: Final = re.compile(
    r"(?<![\w.+/-])(?:\(?0\d{2,5}\)?(?:[ ./-]{1,2}\d{2,8}){1,4}|0\d{8,11}|[2-9]\d{9})"
    r"(?![\w-]|\.\d)",
    re.ASCII,
)
_ABOUT_PHONES: Final = re.compile(
    r"phone|\bcall|\btel\b|\bmobile|\bcell|\bfax|\btext(?:ed)? (?:me|us)|whatsapp|\breach|\bdial"
    r"|\bring|\bsms\b|\bnumber is|telefon|handy",
    re.IGNORECASE,
)
_TWO_SEPARATORS: Final = re.compile(r"[ .\u00a0-]{3}|\.[ \u00a0]|[ \u00a0]{2}")
_A_FRACTION: Final = re.compile(r"\+\d+\.\d+")


def find_personal_data(text: str, kinds: Collection[str] = KINDS) -> Iterator[PersonalData]:
    """Yield the personal data in *text*; what one kind claims, another may claim as well.

    Args:
        text: Where to look.
        kinds: Which of `KINDS` to look for.
    """
    if "iban" in kinds:
        yield from _account_numbers(text)
    if not _IN_NUMBERS.isdisjoint(kinds):
        for run in _RUN.finditer(text):
            # From just before the run to just behind it: patterns look at their surroundings.
            yield from _numbers(text, max(0, run.start() - 2), run.end() + 2, kinds)
    if "ip_address" in kinds and ("::" in text or text.count(":") > 6):
        for match in _IPV6.finditer(text):
            yield from _ip_address(text, match)
    if "email" in kinds and "@" in text:
        yield from _mail_addresses(text)
    if "phone" in kinds and "+" in text:
        yield from _phones_abroad(text)


_IN_NUMBERS: Final = frozenset({"credit_card", "ssn", "ip_address", "phone"})


def _numbers(text: str, start: int, end: int, kinds: Collection[str]) -> Iterator[PersonalData]:
    """Yield what is within one run of digits."""
    length = end - start
    if length > 12 and "credit_card" in kinds:
        for match in _CARD.finditer(text, start, end):
            yield from _card(match)
    if length > 8 and "ssn" in kinds:
        yield from _social_security(text, start, end)
    if "ip_address" in kinds and text.count(".", start, end) > 2:
        for match in _IPV4.finditer(text, start, end):
            yield from _ip_address(text, match)
    if length > 9 and "phone" in kinds:
        for match in _PHONE_AT_HOME.finditer(text, start, end):
            yield PersonalData(*match.span(), "phone", match[0])
        for match in _BARE_PHONE.finditer(text, start, end):
            if _ABOUT_PHONES.search(text, max(0, match.start() - 40), match.start()):
                yield PersonalData(*match.span(), "phone", match[0])


# --- numbers with check digits -------------------------------------------------------------


def luhn_is_valid(number: str) -> bool:
    """Return whether the digits of *number* end in the check digit of Luhn's formula."""
    if not number.isascii() or not number.isdigit():
        return False
    digits = list(map(int, reversed(number)))
    doubled = sum(digit * 2 - 9 * (digit > 4) for digit in digits[1::2])
    return (sum(digits[::2]) + doubled) % 10 == 0


def card_brand(number: str) -> str | None:
    """Return whose card has *number*, all digits, going by how it begins and its length."""
    return next((name for name, pattern in _BRANDS if pattern.fullmatch(number)), None)


def iban_is_valid(iban: str) -> bool:
    """Return whether *iban*, without spaces, has its country's length and right check digits."""
    if _IBAN_LENGTHS.get(iban[:2]) != len(iban) or not (iban.isascii() and iban.isalnum()):
        return False
    moved = iban[4:] + iban[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def _card(match: re.Match[str]) -> Iterator[PersonalData]:
    number = re.sub(r"\D", "", match[0])
    if luhn_is_valid(number) and card_brand(number):
        yield PersonalData(*match.span(), "credit_card", match[0])


def _account_numbers(text: str) -> Iterator[PersonalData]:
    for match in _IBAN.finditer(text):
        start = match.start() - 2
        # What follows may look like more of it: take as much as the country says.
        length, end = _IBAN_LENGTHS.get(text[start : start + 2].upper(), 0), start
        while length > 0 and end < match.end():
            length -= text[end] not in " -"
            end += 1
        value = text[start:end]
        iban = value.replace(" ", "").replace("-", "").upper()
        if iban_is_valid(iban) and not text[end : end + 1].isalnum():
            yield PersonalData(start, end, "iban", value)


# --- the others ----------------------------------------------------------------------------


def _social_security(text: str, start: int, end: int) -> Iterator[PersonalData]:
    for match in _SSN.finditer(text, start, end):
        yield PersonalData(*match.span(), "ssn", match[0])
    for match in _BARE_SSN.finditer(text, start, end):
        if _ABOUT_SSN.search(text, max(0, match.start() - 40), match.start()):
            yield PersonalData(*match.span(), "ssn", match[0])


def _mail_addresses(text: str) -> Iterator[PersonalData]:
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL_PART.search(text[max(0, at - 64) : at]) if domain else None
        if domain and local and domain[0].rpartition(".")[2].lower() not in _FILE_ENDINGS:
            start = at - len(local[0])
            yield PersonalData(start, domain.end(), "email", text[start : domain.end()])
        at = text.find("@", domain.end() if domain else at + 1)


def _phones_abroad(text: str) -> Iterator[PersonalData]:
    for match in _PHONE_ABROAD.finditer(text):
        number = _TWO_SEPARATORS.split(match[0], maxsplit=1)[0]
        digits = re.sub(r"\D", "", number)
        if 8 <= len(digits) <= 15 and len(set(digits)) > 2 and not _A_FRACTION.fullmatch(number):
            yield PersonalData(match.start(), match.start() + len(number), "phone", number)


def _ip_address(text: str, match: re.Match[str]) -> Iterator[PersonalData]:
    value = match[0]
    if ":" in value:
        value = value if value.endswith("::") else value.rstrip(":")
        groups = [group for group in value.split(":") if group]
        if len(groups) < 2 or not any(map(str.isdigit, value)):
            return
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return
    if not _NO_ADDRESS.search(text[max(0, match.start() - 16) : match.start()]):
        end = match.start() + len(value)
        yield PersonalData(match.start(), end, "ip_address", value)

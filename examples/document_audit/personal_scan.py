"""Judge personal data in a text: mail addresses, card and account numbers, IP addresses, phones.

What is there is found by the guardrails of `stageflow.helpers`, which check what has check digits.
Here, what cannot belong to anybody (documentation addresses, private networks) is told apart or
left out, and so is what in a folder of files is more often something else.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from document_audit.findings import Hit, blank_out
from stageflow.helpers.guardrails.personal_data import card_brand, find_personal_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stageflow.helpers.guardrails.personal_data import PersonalData

__all__ = ("find_personal",)

_KINDS: Final = ("iban", "credit_card", "ip_address", "email", "phone")
_NOT_A_PERSON = frozenset(
    {"git", "hg", "svn", "noreply", "no-reply", "donotreply", "mailer-daemon"}
)
_RESERVED_DOMAIN = re.compile(
    r"(?:^|\.)(?:example|invalid|test|localhost|local|internal)$|(?:^|\.)example\.(?:com|net|org)$"
)
_IN_AN_ADDRESS = re.compile(r"://[^\s/]*\Z")
_A_PATH = re.compile(r":[\w~/.]")
# In groups as printed on the card, with the same sign between them, or in no groups.
_CARD = re.compile(
    r"\d{14,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5}", re.ASCII
)
_A_FRACTION = re.compile(r"\+\d+\.\d+")
_PHONE_AT_HOME = re.compile(
    r"(?:\([2-9]\d\d\) ?|[2-9]\d\d([.-]))[2-9]\d\d(?(1)\1|-)\d{4}", re.ASCII
)


def find_personal(text: str) -> Iterator[Hit]:
    """Yield the personal data in *text*, what has a check digit first."""
    for found in find_personal_data(text, _KINDS):
        if (hit := _JUDGES[found.kind](text, found)) is not None:
            yield hit


def _account_number(_text: str, found: PersonalData) -> Hit | None:
    iban = re.sub(r"[ -]", "", found.value)
    if not iban.isupper() or "-" in found.value:
        return None
    shown = blank_out(iban, keep_start=2, keep_end=4)
    return Hit(found.start, found.end, "IBAN", "high", shown)


def _card(_text: str, found: PersonalData) -> Hit | None:
    number = re.sub(r"\D", "", found.value)
    if not _CARD.fullmatch(found.value) or len(set(number)) <= 2:
        return None
    shown = f"{card_brand(number)} {blank_out(number, keep_end=4)}"
    return Hit(found.start, found.end, "card number", "high", shown)


def _mail_address(text: str, found: PersonalData) -> Hit | None:
    """Judge a mail address, unless it is a login in a URL, or a path on another computer."""
    local, _, domain = found.value.rpartition("@")
    if (
        local.lower() in _NOT_A_PERSON
        or _A_PATH.match(text, found.end)
        or _IN_AN_ADDRESS.search(text[max(0, found.start - 66) : found.start])
    ):
        return None
    severity = "info" if _RESERVED_DOMAIN.search(domain.lower()) else "low"
    top = domain.rpartition(".")[2]
    shown = f"{local[0]}\u2022\u2022\u2022@\u2022\u2022\u2022.{top}"
    return Hit(found.start, found.end, "e-mail address", severity, shown)


def _phone(_text: str, found: PersonalData) -> Hit | None:
    number = found.value
    digits = re.sub(r"\D", "", number)
    if len(set(digits)) < 4:
        return None
    if number[0] == "+":
        grouped = len(digits) < len(number) - 1
        if "/" in number or _A_FRACTION.fullmatch(number) or not (grouped or len(digits) >= 11):
            return None
    elif not _PHONE_AT_HOME.fullmatch(number):
        return None
    fiction = digits[-7:-2] == "55501"  # set aside in North America for stories
    shown = blank_out(number, keep_start=3 if number[0] == "+" else 0, keep_end=2)
    return Hit(found.start, found.end, "phone number", "info" if fiction else "low", shown)


def _ip_address(text: str, found: PersonalData) -> Hit | None:
    around = text[max(0, found.start - 1) : found.start] + text[found.end : found.end + 1]
    if "/" in around or "-" in around:
        return None  # a network, or a part of a path
    address = ipaddress.ip_address(found.value)
    if address.version == 4 and max(address.packed) < 32:
        return None  # a version or the number of a section: of addresses, one in 4,096 looks so
    if not address.is_global or address.is_multicast:
        return None
    first, mark = re.split(r"([.:])", found.value, maxsplit=1)[:2]
    shown = f"{first}{mark}\u2022\u2022\u2022"
    return Hit(found.start, found.end, f"IPv{address.version} address", "low", shown)


_JUDGES: Final = {
    "iban": _account_number,
    "credit_card": _card,
    "ip_address": _ip_address,
    "email": _mail_address,
    "phone": _phone,
}

"""A folder of files of which it is known what an audit must find in each.

Secrets and personal data are made up while the folder is made, from a fixed seed: no file of
this project holds anything that looks like one.
"""

from __future__ import annotations

import os
import random
import string
from pathlib import Path

import attrs

__all__ = (
    "Expected",
    "LabelledFolder",
    "card_number",
    "drawing",
    "iban",
    "make_folder",
    "token",
)

ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + "234567"

ENGLISH = (
    "The river had been rising for three days, and the people of the town were moving what "
    "they could to the upper floors. Nobody had seen the water so high before. When the bridge "
    "was closed, the baker still carried his bread across the fields to those who had stayed. "
)
GERMAN = (
    "Der Fluss war seit drei Tagen gestiegen, und die Leute der Stadt trugen, was sie konnten, "
    "in die oberen Stockwerke. Niemand hatte das Wasser je so hoch gesehen. Als die Brücke "
    "gesperrt wurde, trug der Bäcker sein Brot noch über die Felder zu denen, die blieben. "
)
FRENCH = (
    "La rivière montait depuis trois jours et les gens de la ville portaient ce qu'ils pouvaient "
    "dans les étages. Personne n'avait jamais vu les eaux si hautes. Quand le pont fut fermé, le "
    "boulanger porta encore son pain à travers les champs pour ceux qui étaient restés. "
)
RUSSIAN = (
    "Река поднималась уже три дня, и жители города переносили всё, что могли, на верхние этажи. "
    "Никто ещё не видел воду так высоко. Когда мост закрыли, пекарь всё равно нёс хлеб через поля. "
)
PROGRAM = '''#!/usr/bin/env python3
"""Say how high the water stands."""

import sys


def main() -> int:
    # the gauge is in centimetres
    height = int(sys.argv[1])
    print(height / 100)
    return 0


if __name__ == "__main__":
    sys.exit(main())
'''


@attrs.frozen(kw_only=True)
class Expected:
    """What an audit must say of one file."""

    kind: str
    format: str
    encoding: str = "ascii"
    language: str = ""
    secrets: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    problem: str = ""


@attrs.frozen(kw_only=True)
class LabelledFolder:
    """The folder and its labels.

    Attributes:
        root: Where it is.
        files: What is expected of each file, by its path below the root.
        equal: The groups of equal files.
        near: The groups of similar texts.
        hidden: Values that must not appear in any report.
        left_out: Paths that must be reported as not audited.
    """

    root: Path
    files: dict[str, Expected]
    equal: frozenset[frozenset[str]]
    near: frozenset[frozenset[str]]
    hidden: tuple[str, ...]
    left_out: tuple[str, ...]


def drawing(seed: int) -> random.Random:
    """Return what draws the same for the same *seed*."""
    return random.Random(seed)  # noqa: S311 - nothing drawn here is really secret


def token(draw: random.Random, length: int, alphabet: str = ALNUM) -> str:
    """Return characters drawn from *alphabet*, with digits and letters among them."""
    while True:
        made = "".join(draw.choices(alphabet, k=length))
        if sum(map(str.isdigit, made)) >= 2 and sum(map(str.isalpha, made)) >= 2:
            return made


def card_number(draw: random.Random, begins: str = "4", length: int = 16) -> str:
    """Return a card number whose last digit is right by Luhn's formula."""
    body = begins + "".join(draw.choices(string.digits, k=length - 1 - len(begins)))
    for last in string.digits:
        total = 0
        for place, digit in enumerate(reversed(body + last)):
            value = int(digit) * (1 + place % 2)
            total += value // 10 + value % 10
        if total % 10 == 0:
            return body + last
    raise AssertionError(body)


def iban(draw: random.Random, country: str = "DE", length: int = 22) -> str:
    """Return an account number whose two check digits are right."""
    body = "".join(draw.choices(string.digits, k=length - 4))
    number = int("".join(str(int(char, 36)) for char in body + country) + "00")
    return f"{country}{98 - number % 97:02d}{body}"


def make_folder(root: Path) -> LabelledFolder:
    """Make the folder at *root*, which may exist and must be empty."""
    maker = _Maker(root=root)
    maker.texts()
    maker.binaries()
    maker.duplicates()
    maker.secrets()
    maker.personal()
    maker.troubles()
    return LabelledFolder(
        root=root,
        files=maker.files,
        equal=frozenset(
            {frozenset({"copies/one.txt", "copies/two.txt", "copies/below/three.txt"})}
        ),
        near=frozenset(
            {
                frozenset({"similar/first.md", "similar/second.md"}),
                frozenset({"tools/gauge", "tools/gauge.py"}),
            }
        ),
        hidden=tuple(maker.hidden),
        left_out=tuple(maker.left_out),
    )


@attrs.define
class _Maker:
    root: Path
    draw: random.Random = attrs.field(factory=lambda: drawing(7))
    files: dict[str, Expected] = attrs.field(factory=dict)
    hidden: list[str] = attrs.field(factory=list)
    left_out: list[str] = attrs.field(factory=list)

    def put(self, path: str, content: str | bytes, expected: Expected) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        self.files[path] = expected
        return place

    def hide(self, value: str) -> str:
        self.hidden.append(value)
        return value

    def prose(self, words: int) -> str:
        chosen = self.draw.choices(ENGLISH.split(), k=words)
        return " ".join(
            f"{word}.\n" if place % 17 == 16 else word for place, word in enumerate(chosen)
        )

    def texts(self) -> None:
        english = Expected(kind="document", format="Plain text", language="English")
        for path, codec, encoding in (
            ("texts/marked-8.txt", "utf-8-sig", "utf-8-sig"),
            ("texts/marked-16.txt", "utf-16", "utf-16-le"),
            ("texts/marked-32.txt", "utf-32", "utf-32-le"),
            ("texts/big-16.txt", "utf-16-be", "utf-16-be"),
            ("texts/small-16.txt", "utf-16-le", "utf-16-le"),
        ):
            text = self.prose(90)
            self.put(path, text.encode(codec), attrs.evolve(english, encoding=encoding))
        quoted = f"\u201c{self.prose(80)}\u201d \u2013 {self.prose(9)}"
        self.put(
            "texts/quoted.txt",
            quoted.encode("cp1252"),
            attrs.evolve(english, encoding="windows-1252"),
        )
        self.put(
            "texts/read me.md", f"# Flood\n\n{ENGLISH}", attrs.evolve(english, format="Markdown")
        )
        for path, text, codec, encoding, language in (
            ("texts/german.txt", GERMAN, "utf-8", "utf-8", "German"),
            ("texts/french.txt", FRENCH, "latin-1", "iso-8859-1", "French"),
            ("texts/russian.txt", RUSSIAN, "utf-8", "utf-8", "Russian"),
        ):
            self.put(
                path,
                text.encode(codec),
                attrs.evolve(english, encoding=encoding, language=language),
            )
        self.put("tools/gauge.py", PROGRAM, Expected(kind="source", format="Python"))
        self.put("tools/gauge", PROGRAM[:-1], Expected(kind="source", format="Python"))
        self.put(
            "tools/run.sh",
            "#!/bin/sh\n# start\nexec true\n",
            Expected(kind="source", format="Shell"),
        )
        self.put("data/levels.json", '{"level": [1, 2, 3]}\n', Expected(kind="data", format="JSON"))
        line = "level " * 60_000
        self.put("data/long.csv", line, Expected(kind="data", format="CSV"))
        self.put("empty.txt", "", Expected(kind="empty", format="empty", encoding="empty"))

    def binaries(self) -> None:
        noise = self.draw.randbytes(3_000)
        binary = Expected(kind="binary", format="binary data", encoding="")
        self.put("pictures/noise.bin", noise, binary)
        picture = b"\x89PNG\r\n\x1a\n" + noise[:500]
        self.put("pictures/map.png", picture, attrs.evolve(binary, format="PNG image"))
        letter = b"%PDF-1.7\n" + b"plain words in a page\n" * 9
        self.put("letters/letter.pdf", letter, attrs.evolve(binary, format="PDF"))

    def duplicates(self) -> None:
        english = Expected(kind="document", format="Plain text", language="English")
        copy = self.prose(120)
        for path in ("copies/one.txt", "copies/two.txt", "copies/below/three.txt"):
            self.put(path, copy, english)
        words = self.prose(600).split(" ")
        changed = list(words)
        for place in range(20, 600, 120):
            changed[place] = "elsewhere"
        markdown = attrs.evolve(english, format="Markdown")
        self.put("similar/first.md", " ".join(words), markdown)
        self.put("similar/second.md", " ".join(changed), markdown)

    def secrets(self) -> None:
        draw, hide = self.draw, self.hide
        settings = Expected(kind="source", format="Python")
        cloud = "AK" + "IA" + hide(token(draw, 16, UPPER))
        hub = "gh" + "p_" + hide(token(draw, 36))
        self.put(
            "secrets/keys.py",
            f'CLOUD = "{cloud}"\n\n# for the hub\nHUB = "{hub}"\n',
            attrs.evolve(settings, secrets=("AWS access key", "GitHub token")),
        )
        body = "\n".join(hide(token(draw, 64)) for _ in range(9))
        kind = "RSA " + "PRIVATE" + " KEY"
        self.put(
            "secrets/host.pem",
            f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n",
            Expected(kind="data", format="PEM", secrets=("private key",)),
        )
        self.put(
            "secrets/.env",
            f"DEBUG=1\nexport API_{'TOKEN'}={hide(token(draw, 40))}\n",
            Expected(kind="data", format="Environment", secrets=("assigned secret",)),
        )
        address = f"postgres://keeper:{hide(token(draw, 12))}@db.river-gauge.net/levels"
        self.put(
            "secrets/store.yaml",
            f"url: {address}\n",
            Expected(kind="data", format="YAML", secrets=("password in URL",)),
        )
        self.put(
            "secrets/harmless.py",
            'password = "change-me"\ntoken = os.environ["TOKEN"]\nsecret = read_secret("db")\n'
            'key_hash = "0123456789abcdef0123456789abcdef"\n',
            settings,
        )

    def personal(self) -> None:
        draw, hide = self.draw, self.hide
        good, account = hide(card_number(draw)), hide(iban(draw))
        wrong = good[:-1] + str((int(good[-1]) + 1) % 10)
        mail = hide("baker" + "@" + "river-gauge.net")
        self.put(
            "people/guests.csv",
            f"name,card\none,{good}\ntwo,{wrong}\n",
            Expected(kind="data", format="CSV", personal=("card number",)),
        )
        self.put(
            "people/wrong.csv",
            f"name,card\ntwo,{wrong}\n",
            Expected(kind="data", format="CSV"),
        )
        self.put(
            "people/contact.md",
            f"Write to {mail}, or pay to {account}.\n",
            Expected(
                kind="document",
                format="Markdown",
                language="English",
                personal=("IBAN", "e-mail address"),
            ),
        )

    def troubles(self) -> None:
        self.put("odd/<b>\"&'.txt", "nothing", Expected(kind="document", format="Plain text"))
        links = self.root / "links"
        links.mkdir()
        (links / "nowhere").symlink_to("missing")
        (links / "upwards").symlink_to("..")
        self.left_out += ["links/nowhere", "links/upwards"]
        os.mkfifo(links / "pipe")
        self.left_out.append("links/pipe")
        if os.geteuid() != 0:  # root may read everything
            locked = self.put(
                "locked.txt",
                "closed",
                Expected(
                    kind="unreadable", format="unreadable", encoding="", problem="Permission denied"
                ),
            )
            locked.chmod(0)

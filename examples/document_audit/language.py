"""Tell in which natural language a text is written, by its script and its small words."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Final

__all__ = ("natural_language", "prose_of")

_SAMPLE = 20_000
_MIN_WORDS = 8
_MIN_SHARE = 0.12
_MAX_DIFFERENT = 10

# Words so frequent that a few sentences hold many of them; some belong to several languages.
# None of one letter: names in formulas and code are too often like them.
_SMALL_WORDS: Final = {
    "English": "the of and to in is that it for was on are as with his they be at one have this "
    "from or had by not but what all were when we there can an your which their if will each how "
    "you has been its would who been more no these than only into may do so",
    "German": "der die das und ist nicht ein eine ich sie es mit sich auf für von zu den dem des "
    "im auch als an wird werden sind war bei nach wie über so aus oder einen einer wir kann noch "
    "nur zum zur durch wenn hat haben um dass wurde diese dieser",
    "French": "le la les de des du et est un une dans que qui pour pas sur au avec ce il sont ne "
    "par plus se vous nous je son sa ses mais ou cette aux leur été être ont fait comme tout si "
    "elle on même sans ces",
    "Spanish": "el la los las de del que en un una es por con no se su para como más lo al "
    "pero sus le ha este sí porque esta entre cuando muy sin sobre también me hasta hay donde "
    "quien desde todo nos son fue ser",
    "Italian": "il lo la gli le di del della dei che in un una per con non si da come più "
    "su al alla ma anche sono nel nella questo questa dal ha ho se cui tra essere era stato "
    "suo sua loro ci delle degli",
    "Portuguese": "os as de do da dos das que em um uma por com não se para como mais no "
    "na ao mas foi ele ela seu sua ou quando muito há nos já está eu também só pelo pela até isso "
    "são ser tem entre sem",
    "Dutch": "de het een en van ik te dat die in is niet op zijn met voor er aan om ook als maar "
    "bij nog uit wordt door naar heeft hebben we kan of over dan was werd deze dit worden tot je "
    "geen meer wel zij hij",
    "Swedish": "och det att en jag som på är av för med till den har de inte om ett men var sig "
    "från vi så kan när nu han hon ska eller efter vid också där hur alla sin detta under mycket "
    "finns bli blev",
    "Danish": "og det at en jeg som på er af for med til den har de ikke om et men var sig fra "
    "vi så kan når nu han hun skal eller efter ved også der hvor alle sin dette under meget blev "
    "være kun over op hvad mig efter blevet",
    "Norwegian": "og det at jeg som på er av for med til den har de ikke om et men var seg fra "
    "vi så kan når nå han hun skal eller etter ved også der hvor alle sin dette under ble bli meg "
    "deg være bare noe hva mye må før over dere opp blitt",
    "Polish": "na się nie to jest że do jak ale po co tak za od przez dla już był czy "
    "który która które jego jej ich oraz lub być może tylko tym przy są także ten tego",
    "Turkish": "ve bir bu için ile de da olarak çok daha olan gibi ama ne var en sonra kadar her "
    "ya ki değil mi ben sen biz olduğu olduğunu ancak veya hem göre iki",
    "Finnish": "ja on ei se että oli hän mutta niin kuin ovat joka myös ole sen sekä tai jos kun "
    "ne mitä vain hänen olla voi tämä sitä jo nyt mukaan ollut siitä",
}
_SCRIPTS: Final = (
    ("Japanese", re.compile(r"[\u3040-\u30ff]")),  # before Chinese: Japanese uses Han as well
    ("Korean", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("Chinese", re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("Ukrainian", re.compile(r"[\u0456\u0457\u0454\u0491]", re.IGNORECASE)),
    ("Russian", re.compile(r"[\u0400-\u04ff]")),
    ("Greek", re.compile(r"[\u0370-\u03ff]")),
    ("Hebrew", re.compile(r"[\u0590-\u05ff]")),
    ("Arabic", re.compile(r"[\u0600-\u06ff]")),
    ("Hindi", re.compile(r"[\u0900-\u097f]")),
    ("Thai", re.compile(r"[\u0e00-\u0e7f]")),
)
# Of a text in that language, so much at least is written in the letters that tell it.
_SCRIPT_SHARE: Final = {"Japanese": 0.1, "Ukrainian": 0.02}
_WORDS = re.compile(r"[^\W\d_]+")
_FENCED = re.compile(r"^(```+|~~~+).*?^\1", re.MULTILINE | re.DOTALL)
_MARKUP = re.compile(r"<[^<>]{1,300}>|`[^`\n]{1,200}`|https?://\S{1,500}")


@cache
def _languages_of_words() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, words in _SMALL_WORDS.items():
        for word in set(words.split()):
            found[word] = (*found.get(word, ()), language)
    return found


def prose_of(text: str) -> str:
    """Return the beginning of *text* without code blocks, tags and addresses."""
    sample = text[:_SAMPLE]
    if "```" in sample or "~~~" in sample:
        sample = _FENCED.sub(" ", sample)
    return _MARKUP.sub(" ", sample)


def natural_language(prose: str) -> str:
    """Return the language that *prose* is written in; empty if it is too short or too mixed."""
    if not prose.isascii():
        by_script = _by_script(prose)
        if by_script:
            return by_script
    words = _WORDS.findall(prose.lower())
    if len(words) < _MIN_WORDS:
        return ""
    table = _languages_of_words()
    scores = dict.fromkeys(_SMALL_WORDS, 0)
    different = dict.fromkeys(_SMALL_WORDS, 0)
    for word, count in Counter(words).items():
        for language in table.get(word, ()):
            scores[language] += count
            different[language] += 1
    second, best = sorted(scores, key=lambda language: scores[language])[-2:]
    # Codes and identifiers hold short words by chance, but the same few again and again.
    enough = min(_MAX_DIFFERENT, 2 + len(words) // 15)
    if scores[best] < _MIN_SHARE * len(words) or different[best] < enough:
        return ""
    return best if scores[best] > scores[second] else ""


def _by_script(prose: str) -> str:
    letters = sum(map(len, _WORDS.findall(prose)))
    if letters < _MIN_WORDS:
        return ""
    for language, pattern in _SCRIPTS:
        share = _SCRIPT_SHARE.get(language, 0.4)
        if len(pattern.findall(prose)) > share * letters:
            return language
    return ""

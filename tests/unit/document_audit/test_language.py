"""Formats by name and content, natural languages by script and small words."""

from __future__ import annotations

import pytest

from document_audit.formats import format_of
from document_audit.language import natural_language, prose_of

# ruff: noqa: E501, RUF001 - sentences of many languages, each in one line
SENTENCES = {
    "English": "The river had been rising for three days, and the people were moving what they could.",
    "German": "Der Fluss war seit drei Tagen gestiegen und die Leute trugen nach oben, was sie konnten.",
    "French": "La rivière montait depuis trois jours et les gens portaient ce qu'ils pouvaient dans les rues.",
    "Spanish": "El río llevaba tres días creciendo y la gente subía lo que podía a los pisos de la casa.",
    "Italian": "Il fiume cresceva da tre giorni e la gente della città portava quello che poteva nella casa.",
    "Portuguese": "O rio subia há três dias e as pessoas da cidade levavam o que podiam para os andares.",
    "Dutch": "De rivier steeg al drie dagen en de mensen in de stad brachten wat zij konden naar boven.",
    "Swedish": "Floden hade stigit i tre dagar och folket i staden bar upp det som de kunde till husen.",
    "Danish": "Floden var steget i tre dage, og folk i byen bar op, hvad de kunne, til de øverste etager.",
    "Norwegian": "Elven hadde steget i tre dager, og folk i byen bar opp det de kunne etter at broen ble stengt.",
    "Polish": "Rzeka podnosiła się od trzech dni, a ludzie w mieście nie mieli już co z sobą zabrać do domu.",
    "Turkish": "Nehir üç gündür yükseliyordu ve kentte kimse bu kadar çok su için ne yapacağını bilmiyordu.",
    "Finnish": "Joki oli noussut jo kolme päivää, ja ihmiset kantoivat mitä voivat, kun vesi ei ollut laskenut.",
    "Russian": "Река поднималась уже три дня, и жители города переносили всё на верхние этажи.",
    "Ukrainian": "Річка піднімалася вже три дні, і мешканці міста переносили все на верхні поверхи.",
    "Greek": "Το ποτάμι ανέβαινε τρεις μέρες και οι άνθρωποι μετέφεραν ό,τι μπορούσαν.",
    "Hebrew": "הנהר עלה כבר שלושה ימים ואנשי העיר העבירו את חפציהם לקומות העליונות",
    "Arabic": "كان النهر يرتفع منذ ثلاثة أيام وكان أهل المدينة ينقلون ما استطاعوا",
    "Japanese": "三日続けて川の水が上がり、町の人々は持てるものを上の階へ運んでいた。",
    "Chinese": "河水已经涨了三天，城里的人们把能搬的东西都搬到楼上去了。",
    "Korean": "강물은 사흘째 불어나고 있었고 마을 사람들은 옮길 수 있는 것을 위층으로 옮겼다.",
    "Hindi": "नदी तीन दिन से बढ़ रही थी और शहर के लोग अपना सामान ऊपर की मंज़िल पर ले जा रहे थे।",
    "Thai": "แม่น้ำเพิ่มสูงขึ้นสามวันแล้ว และชาวเมืองกำลังขนของขึ้นไปไว้ชั้นบน เพราะไม่เคยเห็นน้ำสูงเท่านี้",
}  # fmt: skip


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_tells_its_language(language):
    assert natural_language(SENTENCES[language]) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Short words.",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda sigma",
        "und und und und und und und und und und und und und und und und und und",
        "og det at jeg som på er for med til den har de ikke om et men var fra vi så kan",
        "0x1 0x2 4711 1.5 == != <= >= && || ++ -- ** // %% $$ ## @@",
    ],
)
def test_what_is_no_prose_has_no_language(text):
    assert natural_language(text) == ""


def test_code_and_tags_are_not_prose():
    text = "Before.\n```python\nthe_code = the(of, the)\n```\nAfter `the the` and <b class='the'>it</b>."
    assert prose_of(text).split() == ["Before.", "After", "and", "it", "."]


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("a/b/tool.py", "", "Python"),
        ("Tool.PY", "", "Python"),
        ("page.test.tsx", "", "TypeScript"),
        ("Makefile", "", "Makefile"),
        ("docker/Dockerfile.dev", "", "Dockerfile"),
        (".env.local", "", "Environment"),
        (".gitignore", "", "Ignore list"),
        ("package-lock.json", "", "Lock file"),
        ("README", "", "Plain text"),
        ("README.rst", "", "reStructuredText"),
        ("CMakeLists.txt", "", "CMake"),
        ("bin/run", "#!/usr/bin/env python3\n", "Python"),
        ("bin/run", "#!/bin/bash -e\n", "Shell"),
        ("bin/run", "#!/usr/bin/env -S node --test\n", "JavaScript"),
        ("bin/run", "#!/opt/strange/interpreter\n", "Shell"),
        ("page", "\n<!DOCTYPE HTML>\n<p>", "HTML"),
        ("feed", '<?xml version="1.0"?>', "XML"),
        ("data", '{"a": 1}', "JSON"),
        ("data", "[1, 2]", "JSON"),
        ("key", f"-----BEGIN {'CERTIFICATE'}-----\n", "PEM"),
        ("change", "diff --git a/x b/x\n", "Patch"),
        ("notes", "Dear all,\n", "Plain text"),
        ("notes.unheard-of", "Dear all,\n", "Plain text"),
        ("", "", "Plain text"),
        (".", "", "Plain text"),
    ],
)
def test_the_format_is_told_by_name_then_by_content(path, text, name):
    assert format_of(path, text).name == name

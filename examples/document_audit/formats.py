"""Tell what sort of file a text is: by its name, by its first line, or by how it begins."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import attrs

__all__ = ("Comments", "Format", "format_of")

SOURCE: Final = "source"
DOCUMENT: Final = "document"
DATA: Final = "data"


@attrs.frozen(kw_only=True)
class Comments:
    """How comments are written.

    Attributes:
        line: What begins a comment that ends with the line.
        blocks: Pairs of what begins and what ends a comment of several lines.
        quotes: Marks that both begin and end a string of several lines.
    """

    line: tuple[str, ...] = ()
    blocks: tuple[tuple[str, str], ...] = ()
    quotes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Format:
    """The sort of a text file.

    Attributes:
        name: As people call it.
        kind: ``source``, ``document`` or ``data``.
        comments: How comments are written in it; None if there are none.
    """

    name: str
    kind: str
    comments: Comments | None = None


_C = Comments(line=("//",), blocks=(("/*", "*/"),))
_HASH = Comments(line=("#",))
_XML = Comments(blocks=(("<!--", "-->"),))
_COMMENTS: Final = {
    "-": None,
    "c": _C,
    "css": Comments(blocks=(("/*", "*/"),)),
    "hash": _HASH,
    "python": Comments(line=("#",), quotes=('"""', "'''")),
    "php": Comments(line=("//", "#"), blocks=(("/*", "*/"),)),
    "xml": _XML,
    "vue": Comments(line=("//",), blocks=(("<!--", "-->"), ("/*", "*/"))),
    "sql": Comments(line=("--",), blocks=(("/*", "*/"),)),
    "lua": Comments(line=("--",), blocks=(("--[[", "]]"),)),
    "dash": Comments(line=("--",), blocks=(("{-", "-}"),)),
    "lisp": Comments(line=(";",), blocks=(("#|", "|#"),)),
    "ini": Comments(line=("#", ";")),
    "percent": Comments(line=("%",)),
    "ml": Comments(blocks=(("(*", "*)"),)),
    "fsharp": Comments(line=("//",), blocks=(("(*", "*)"),)),
    "pascal": Comments(line=("//",), blocks=(("(*", "*)"), ("{", "}"))),
    "ruby": Comments(line=("#",), blocks=(("=begin", "=end"),)),
    "perl": Comments(line=("#",), blocks=(("=pod", "=cut"), ("=head", "=cut"))),
    "julia": Comments(line=("#",), blocks=(("#=", "=#"),)),
    "powershell": Comments(line=("#",), blocks=(("<#", "#>"),)),
    "batch": Comments(line=("rem ", "REM ", "Rem ", "::")),
    "vb": Comments(line=("'", "rem ", "REM ")),
    "vim": Comments(line=('"',)),
    "bang": Comments(line=("!",)),
    "terraform": Comments(line=("#", "//"), blocks=(("/*", "*/"),)),
    "rst": Comments(line=(".. ",)),
}
# name | kind | comments | what file names end in, or are as a whole
_TABLE: Final = """
Python|source|python|.py .pyi .pyw .pyx .pxd SConstruct
JavaScript|source|c|.js .mjs .cjs .jsx
TypeScript|source|c|.ts .tsx .mts .cts
Java|source|c|.java
Kotlin|source|c|.kt .kts
Scala|source|c|.scala .sc
Groovy|source|c|.groovy .gradle Jenkinsfile
C|source|c|.c .h
C++|source|c|.cc .cpp .cxx .c++ .hh .hpp .hxx .ipp
C#|source|c|.cs
Objective-C|source|c|.m .mm
Go|source|c|.go
Rust|source|c|.rs
Swift|source|c|.swift
Dart|source|c|.dart
Zig|source|c|.zig
PHP|source|php|.php
Ruby|source|ruby|.rb .rake .gemspec Rakefile Gemfile Vagrantfile
Perl|source|perl|.pl .pm .t
Lua|source|lua|.lua
R|source|hash|.r
Julia|source|julia|.jl
Haskell|source|dash|.hs
Elm|source|dash|.elm
PureScript|source|dash|.purs
Elixir|source|hash|.ex .exs
Erlang|source|percent|.erl .hrl
Clojure|source|lisp|.clj .cljs .cljc .edn
Lisp|source|lisp|.lisp .el .scm .rkt
OCaml|source|ml|.ml .mli
F#|source|fsharp|.fs .fsx
Pascal|source|pascal|.pas .dpr
Fortran|source|bang|.f90 .f95 .f03
Visual Basic|source|vb|.vb .vbs .bas
Assembly|source|lisp|.asm .s
SQL|source|sql|.sql
Shell|source|hash|.sh .bash .zsh .fish .ksh .bats .profile .bashrc .zshrc
PowerShell|source|powershell|.ps1 .psm1 .psd1
Batch|source|batch|.bat .cmd
Tcl|source|hash|.tcl
Vim script|source|vim|.vim .vimrc
Makefile|source|hash|.mk .mak Makefile makefile GNUmakefile
CMake|source|hash|.cmake CMakeLists.txt
Dockerfile|source|hash|.dockerfile Dockerfile Containerfile
Nix|source|hash|.nix
Terraform|source|terraform|.tf .tfvars .hcl
Protocol Buffers|source|c|.proto
GraphQL|source|hash|.graphql .gql
CSS|source|css|.css
Sass|source|c|.scss .sass .less
HTML|document|xml|.html .htm .xhtml
Template|source|xml|.jinja .jinja2 .j2 .ejs .hbs .mustache .erb
Vue|source|vue|.vue .svelte
Markdown|document|-|.md .markdown .mdx
reStructuredText|document|rst|.rst .rest
AsciiDoc|document|c|.adoc .asciidoc
Org|document|hash|.org
LaTeX|document|percent|.tex .sty .bib .ltx
Plain text|document|-|.txt .text .log README LICENSE LICENCE COPYING NOTICE CHANGELOG CHANGES NEWS
Manual page|document|-|.man
Subtitles|document|-|.srt .vtt
E-mail|document|-|.eml .mbox
Jupyter notebook|data|-|.ipynb
JSON|data|-|.json .jsonc .json5 .geojson .webmanifest
JSON lines|data|-|.jsonl .ndjson
YAML|data|hash|.yaml .yml
TOML|data|hash|.toml
INI|data|ini|.ini .cfg .conf .properties .editorconfig .gitconfig .desktop .service
Environment|data|hash|.env .envrc
XML|data|xml|.xml .xsd .xsl .xslt .svg .rss .plist .pom .wsdl
CSV|data|-|.csv .tsv
Ignore list|data|hash|.gitignore .dockerignore .npmignore .gitattributes
Lock file|data|-|.lock package-lock.json yarn.lock pnpm-lock.yaml
Patch|data|-|.diff .patch
PEM|data|-|.pem .crt .cer .key .asc
"""
_SHEBANGS: Final = (
    (re.compile(r"\bpython[\d.]*\b|\buv run\b"), ".py"),
    (re.compile(r"\b(?:ba|z|k|da|a)?sh\b|\bfish\b"), ".sh"),
    (re.compile(r"\bnode\b|\bdeno\b|\bbun\b"), ".js"),
    (re.compile(r"\bruby\b"), ".rb"),
    (re.compile(r"\bperl\b"), ".pl"),
    (re.compile(r"\bphp\b"), ".php"),
    (re.compile(r"\blua(?:jit)?\b"), ".lua"),
    (re.compile(r"\bRscript\b"), ".r"),
    (re.compile(r"\btclsh\b|\bwish\b"), ".tcl"),
    (re.compile(r"\bmake\b"), ".mk"),
)
_BEGINNINGS: Final = (
    (re.compile(r"<\?php"), ".php"),
    (re.compile(r"<!doctype html|<html[\s>]", re.IGNORECASE), ".html"),
    (re.compile(r"<\?xml|<svg[\s>]", re.IGNORECASE), ".xml"),
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----"), ".pem"),
    (re.compile(r"diff --git |--- a/|Index: \S+\n=====", re.IGNORECASE), ".diff"),
    (re.compile(r"%YAML|---\s*\n\w[\w-]*:"), ".yaml"),
    (re.compile(r'[{\[]\s*(?:["{\[\]}]|-?\d)'), ".json"),
    (re.compile(r"[\w.-]+\s*=.*\n[\w.-]+\s*="), ".env"),
    (re.compile(r"\[[\w. -]+\]\s*\n"), ".ini"),
    (re.compile(r"# \w.*\n"), ".md"),
)


@cache
def _formats() -> dict[str, Format]:
    found: dict[str, Format] = {}
    for row in _TABLE.strip().splitlines():
        name, kind, comments, endings = row.split("|")
        made = Format(name=name, kind=kind, comments=_COMMENTS[comments])
        found.update(dict.fromkeys(endings.split(), made))
    return found


def format_of(path: str, text: str) -> Format:
    """Return what sort of file *text*, found at *path*, is; plain text if nothing tells."""
    formats = _formats()
    name = path.rsplit("/", 1)[-1]
    whole = formats.get(name)
    if whole is not None:
        return whole
    stem, dot, ending = name.rpartition(".")
    known = formats.get(f".{ending.lower()}") if dot else None
    if known is None and stem:
        known = formats.get(stem.partition(".")[0])  # Dockerfile.dev, .env.local, README.old
    if name.startswith(".env"):
        known = formats[".env"]
    return known or formats[_by_content(text[:1_000])]


def _by_content(head: str) -> str:
    if head.startswith("#!"):
        first_line = head.partition("\n")[0]
        return next((end for pattern, end in _SHEBANGS if pattern.search(first_line)), ".sh")
    head = head.lstrip()
    return next((end for pattern, end in _BEGINNINGS if pattern.match(head)), ".txt")

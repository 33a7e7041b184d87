"""All code that the documentation, the READMEs and the docstrings show, runs."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

from dev.reference import committed_pages, modules
from support.pages import FLAGS, pages, run_page
from support.workspace import ROOT


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_runs_as_it_stands(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run_page(page, tmp_path, monkeypatch)


def test_the_page_on_plugins_shows_the_sample_as_it_is():
    page = (ROOT / "docs" / "how-to" / "write-a-plugin.md").read_text(encoding="utf-8")
    sample = ROOT / "tests" / "plugins" / "stageflow-sample"
    files = [path for kind in ("py", "toml") for path in sample.rglob(f"*.{kind}")]
    for path in files:
        name = path.relative_to(sample).as_posix()
        text = path.read_text(encoding="utf-8")
        assert f"# {name}\n{text}```" in page, f"show {name} as it is"
    assert len(files) >= 6


def test_generated_pages_say_what_the_source_says():
    stale = [
        path.name
        for path, page in committed_pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != page
    ]
    assert stale == [], "run `python -m dev.reference`"


def test_docstrings_run_as_they_stand():
    showing = [module for module in modules() if ">>>" in inspect.getsource(module)]
    results = {m.__name__: doctest.testmod(m, optionflags=FLAGS).failed for m in showing}
    assert not any(results.values()), results


def run_text(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    story = folder / "story"
    story.mkdir(exist_ok=True)
    run_page(page, story, monkeypatch)


def test_blocks_share_one_module_and_make_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = """
```python
# orders.py
count = 41
```

```python
>>> import orders
>>> orders.count + 1, count
(42, 41)
```

```toml
# deep/stageflow.toml
x = 1
```

```console
$ cat deep/stageflow.toml
...
x = 1
$ make never
```
"""
    run_text(text, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nassert 1 == 2\n```",
        "```python\n>>> 1 + 1\n3\n```",
        "```console\n$ python -c 'print(1)'\n2\n```",
        "```console\n$ python -c 'raise SystemExit(1)'\n```",
    ],
)
def test_a_block_that_is_wrong_is_found(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(Exception):  # noqa: B017 - each kind of block fails in its own way
        run_text(f"\n{block}\n", tmp_path, monkeypatch)


def test_a_block_may_be_left_out_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    left_out = '<!-- skip: next "needs a server" -->\n\n```python\nassert 1 == 2\n```\n'
    run_text(f"\n{left_out}\n```python\ny = 2\n```\n", tmp_path, monkeypatch)
    with pytest.raises(AssertionError):
        run_text(f"\n{left_out}\n```python\nassert 1 == 2\n```\n", tmp_path, monkeypatch)

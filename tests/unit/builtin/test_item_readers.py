"""Core's item readers: bad rows, checkpoints of files that have changed, patterns, functions."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stageflow.builtin.custom_reader import CustomItemReader, CustomReaderSettings
from stageflow.builtin.files_reader import FilesItemReader, FilesReaderSettings, _compiled
from stageflow.builtin.row_readers import (
    CsvItemReader,
    CsvReaderSettings,
    JsonlItemReader,
    JsonlReaderSettings,
    ReaderConfigError,
)
from stageflow.contracts.item_reader import BadRowError, CheckpointError, ItemReaderError
from stageflow.contracts.storage import StorageUnavailableError
from stageflow.plugins import Plugins, SettingsError

pytestmark = pytest.mark.anyio


async def everything(reader, config=MappingProxyType({}), n=2, state=None):
    """Return the items that are left, how many rows were passed over, and a closed state."""
    state = state or await reader.init(config, {})
    items, skipped, last = [], 0, state
    try:
        while state is not None:
            page = await reader.read(state, n)
            items += page.items
            skipped += page.skipped
            last, state = state, page.state
    finally:
        await reader.close(last)
    return items, skipped


# --- rows ---------------------------------------------------------------------------------


@pytest.fixture
def jsonl():
    return JsonlItemReader(JsonlReaderSettings())


@pytest.fixture
def csv():
    return CsvItemReader(CsvReaderSettings())


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (b"{", "no JSON"),
        (b"NaN", "NaN is not JSON"),
        (b'"\xff"', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'"' + b"x" * 3_000_000 + b'"', "longer than"),
    ],
)
async def test_a_bad_line_is_told_by_file_and_line_or_passed_over(jsonl, tmp_path, row, told):
    path = tmp_path / "items.jsonl"
    path.write_bytes(b"1\n\n2\n" + row + b"\n3\n4")
    config = {"path": str(path), "max_row_bytes": 1_000_000}
    with pytest.raises(BadRowError, match=told) as caught:
        await everything(jsonl, config)
    assert (caught.value.source, caught.value.line) == (str(path), 4)
    assert f"{path}, line 4" in str(caught.value)
    assert await everything(jsonl, {**config, "on_error": "skip"}) == ([1, 2, 3, 4], 1)
    for n in (1, 3):
        assert await everything(jsonl, {**config, "on_error": "skip"}, n) == ([1, 2, 3, 4], 1)


@pytest.mark.parametrize(
    ("rows", "told", "line"),
    [
        (b"1,a\n2\n3,c", "1 values for 2 columns", 3),
        (b'1,a\n2,"b\nb",x\n3,c', "3 values for 2 columns", 3),
        (b'1,a\n2,"b\n3,c', "unexpected end of data", 3),
        (b'1,a\n2,"b"x\n3,c', "expected after", 3),
        (b"1,a\n2,\xff\n3,c", "can't decode", 3),
        (b"1,a\n2," + b"x" * 200_000 + b"\n3,c", "field limit", 3),
    ],
)
async def test_a_bad_record_is_told_by_file_and_line_or_passed_over(
    csv, tmp_path, rows, told, line
):
    path = tmp_path / "items.csv"
    path.write_bytes(b"id,name\n" + rows)
    with pytest.raises(BadRowError, match=told) as caught:
        await everything(csv, {"path": path})
    assert (caught.value.source, caught.value.line) == (str(path), line)
    good = [{"id": "1", "name": "a"}, {"id": "3", "name": "c"}]
    assert await everything(csv, {"path": path, "on_error": "skip"}) == (good, 1)


async def test_columns_may_be_given_and_must_differ(csv, tmp_path):
    path = tmp_path / "items.csv"
    path.write_bytes(b"1;\xe9")
    config = {"path": path, "columns": ["id", "name"], "delimiter": ";", "encoding": "latin-1"}
    assert await everything(csv, config) == ([{"id": "1", "name": "é"}], 0)
    path.write_bytes(b"a,b,a\n1,2,3")
    with pytest.raises(BadRowError, match="two columns are called 'a'"):
        await csv.init({"path": path}, {})


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
async def test_a_file_without_items_has_none(jsonl, csv, tmp_path, data):
    (tmp_path / "items").write_bytes(data)
    assert await everything(jsonl, {"path": tmp_path / "items"}) == ([], 0)
    assert await everything(csv, {"path": tmp_path / "items"}) == ([], 0)


async def test_what_cannot_be_read_is_told(jsonl, csv, tmp_path):
    for reader in (jsonl, csv):
        with pytest.raises(ReaderConfigError, match="No file is named"):
            await reader.init({}, {})
        with pytest.raises(StorageUnavailableError, match="absent"):
            await reader.init({"path": tmp_path / "absent"}, {})
        with pytest.raises(SettingsError, match="Did you mean 'path'"):
            await reader.init({"pth": "x"}, {})
    with pytest.raises(ReaderConfigError, match="utf-16"):
        await csv.init({"path": tmp_path / "x", "encoding": "utf-16"}, {})


async def test_cut_compressed_data_is_told_with_its_line(jsonl, tmp_path):
    path = tmp_path / "items.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d\n" % n for n in range(10_000)))[:-2000])
    with pytest.raises(ItemReaderError, match=r"damaged after line \d+"):
        await everything(jsonl, {"path": path}, 100)


# --- checkpoints --------------------------------------------------------------------------


async def halfway(reader, path):
    state = await reader.init({"path": path}, {})
    page = await reader.read(state, 2)
    await reader.close(state)
    return json.loads(json.dumps(reader.checkpoint(page.state)))


async def restored(reader, path, checkpoint):
    state = await reader.init({"path": path}, {})
    try:
        return await reader.restore(state, checkpoint)
    except BaseException:
        await reader.close(state)
        raise


async def test_a_checkpoint_outlives_the_process_and_a_file_that_grows(jsonl, tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_bytes(b"1\n2\n3\n")
    checkpoint = await halfway(jsonl, path)
    with path.open("ab") as file:
        file.write(b"4\n")
    other = JsonlItemReader(JsonlReaderSettings(path=path))
    state = await restored(other, path, checkpoint)
    assert await everything(other, state=state) == ([3, 4], 0)


@pytest.mark.parametrize(
    "changed", [b"1\n", b"", b"9\n9\n3\n", b"11\n2\n3\n", gzip.compress(b"1\n")]
)
async def test_a_checkpoint_of_a_file_that_has_changed_is_refused(jsonl, tmp_path, changed):
    path = tmp_path / "items.jsonl"
    path.write_bytes(b"1\n2\n3\n")
    checkpoint = await halfway(jsonl, path)
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match="has changed") as caught:
        await restored(jsonl, path, checkpoint)
    assert caught.value.source == str(path)


async def test_a_checkpoint_of_another_reading_is_refused(jsonl, csv, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1\n2\n3\n")
    checkpoint = await halfway(jsonl, tmp_path / "a")
    with pytest.raises(CheckpointError, match="its path is"):
        await restored(jsonl, tmp_path / "b", checkpoint)
    with pytest.raises(CheckpointError, match="its reader is 'jsonl'"):
        await restored(csv, tmp_path / "a", checkpoint)
    with pytest.raises(CheckpointError, match="its format is 99"):
        await restored(jsonl, tmp_path / "a", {**checkpoint, "format": 99})
    with pytest.raises(CheckpointError, match="damaged"):
        await restored(jsonl, tmp_path / "a", {**checkpoint, "offset": -1})


async def test_passed_over_rows_are_counted_across_a_checkpoint(jsonl, tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_bytes(b"bad\n1\nbad\n2\nbad\nbad\n3\n")
    config = {"path": path, "on_error": "skip"}
    state = await jsonl.init(config, {})
    page = await jsonl.read(state, 2)
    checkpoint = jsonl.checkpoint(page.state)
    await jsonl.close(state)
    assert (page.skipped, checkpoint["skipped"]) == (2, 2)
    again = await jsonl.restore(await jsonl.init(config, {}), checkpoint)
    page = await jsonl.read(again, 5)
    assert (list(page.items), page.skipped) == ([3], 2)
    await jsonl.close(again)


values = st.dictionaries(
    st.sampled_from(["a", "b"]), st.text(st.characters(codec="utf-8"), max_size=4), max_size=2
)


@given(st.lists(values, max_size=6), st.integers(1, 4), st.integers(0, 6), st.booleans())
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
async def test_a_csv_file_restored_anywhere_gives_the_rest(rows, n, at, compressed):
    import csv as standard
    import io

    written = io.StringIO(newline="")
    writer = standard.DictWriter(written, ["a", "b"])
    writer.writeheader()
    rows = [{"a": row.get("a", ""), "b": row.get("b", "x")} for row in rows]
    writer.writerows(rows)
    data = written.getvalue().encode()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "items"
        path.write_bytes(gzip.compress(data) if compressed else data)
        reader = CsvItemReader(CsvReaderSettings(path=path))
        state = first = await reader.init({}, {})
        given = []
        while state is not None and len(given) < at:
            page = await reader.read(state, n)
            given += page.items
            state = page.state
        if state is not None:
            checkpoint = json.loads(json.dumps(reader.checkpoint(state)))
            again = await reader.restore(await reader.init({}, {}), checkpoint)
            given += (await everything(reader, state=again, n=n))[0]
        await reader.close(first)
        assert given == rows


# --- files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*.txt", ["a.txt", ".txt"], ["b/a.txt", "a.txtx", "atxt"]),
        ("**", ["a", "b/a", "b/c/a"], []),
        ("**/*.txt", ["a.txt", "b/a.txt", "b/c/a.txt"], ["a", "b/a.txt/c"]),
        ("b/**/x", ["b/x", "b/c/x", "b/c/d/x"], ["x", "c/x", "bx"]),
        ("b/?", ["b/x"], ["b/xy", "b/", "x"]),
        ("[ab]/[!c]", ["a/b", "b/x"], ["c/x", "a/c", "a/xx"]),
        ("a[.]b+", ["a.b+"], ["axb+", "a.bb"]),
        ("a**b", ["ab", "axb"], ["a/b"]),
        ("[]]", ["]"], ["["]),
        ("x[", ["x["], ["x"]),
    ],
)
def test_patterns_are_of_whole_paths(pattern, matching, others):
    compiled = _compiled(pattern)
    assert [name for name in matching if not compiled.fullmatch(name)] == []
    assert [name for name in others if compiled.fullmatch(name)] == []


@pytest.mark.parametrize("pattern", ["", "/a", "a/", "a//b", "../a", "a/..", "[z-a]"])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(ReaderConfigError, match="pattern"):
        _compiled(pattern)


async def test_files_that_come_and_go_while_reading(tmp_path):
    for name in "abcdef":
        (tmp_path / name).write_text(name)
    reader = FilesItemReader(FilesReaderSettings(root=tmp_path))
    page = await reader.read(await reader.init({}, {}), 2)
    assert [item["name"] for item in page.items] == ["a", "b"]
    assert page.items[0]["path"] == str(tmp_path / "a")
    assert page.items[0]["size"] == 1
    checkpoint = reader.checkpoint(page.state)
    for gone in "bc":
        (tmp_path / gone).unlink()
    (tmp_path / "bb").write_text("later")
    (tmp_path / "aa").write_text("too late")
    again = await reader.restore(await reader.init({}, {}), checkpoint)
    rest, _ = await everything(reader, state=again)
    assert [item["name"] for item in rest] == ["bb", "d", "e", "f"]


async def test_a_root_must_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailableError, match="file"):
        await FilesItemReader(FilesReaderSettings(root=tmp_path / "file")).init({}, {})
    with pytest.raises(ReaderConfigError, match="No folder"):
        await FilesItemReader(FilesReaderSettings()).init({}, {})


# --- functions ----------------------------------------------------------------------------


def custom(**functions):
    return CustomItemReader(CustomReaderSettings(**functions))


@pytest.mark.parametrize(
    ("functions", "told"),
    [
        ({}, "both or neither"),
        ({"items": [], "read": len}, "both or neither"),
        ({"items": [], "init": len}, "init would have nothing to do"),
        ({"read": len, "checkpoint": len}, "go together"),
        ({"read": 3}, "read is int"),
        ({"items": 3}, "items is int"),
        ({"read": "no_such_module:read"}, "No module named"),
        ({"read": "json:no_such_name"}, "no_such_name"),
        ({"read": "json"}, "not written as module:name"),
    ],
)
def test_functions_must_go_together(functions, told):
    with pytest.raises(ReaderConfigError, match=re.escape(told)):
        custom(**functions)


async def test_functions_may_be_named_and_are_chosen_by_settings(tmp_path):
    plugins = Plugins.load(
        directory=tmp_path, environ={}, arguments={"item_readers.custom.items": "string:digits"}
    )
    reader = plugins.registry("item_reader").resolve_with_config("custom")
    assert await everything(reader, n=7) == (list("0123456789"), 0)
    given = plugins.registry("item_reader").resolve_with_config("custom", {"items": [1, 2]})
    assert await everything(given) == ([1, 2], 0)


async def test_an_iterator_is_read_once():
    reader = custom(items=iter([1, 2, 3]))
    assert not reader.capabilities.checkpoint
    assert await everything(reader) == ([1, 2, 3], 0)
    with pytest.raises(ItemReaderError, match="can be read once"):
        await reader.init({}, {})


async def test_an_iterator_that_was_broken_off_says_so():
    async def numbers():
        yield 1
        waiting.set()
        await anyio.sleep_forever()

    waiting = anyio.Event()
    reader = custom(items=numbers())
    state = await reader.init({}, {})
    async with anyio.create_task_group() as group:
        group.start_soon(reader.read, state, 2)
        await waiting.wait()
        group.cancel_scope.cancel()
    with pytest.raises(ItemReaderError, match="broken off"):
        await reader.read(state, 2)
    await reader.close(state)


async def test_what_functions_raise_is_raised_and_too_many_items_are_refused():
    def broken(state, n):
        raise LookupError("no such table")

    reader = custom(read=broken)
    with pytest.raises(LookupError, match="no such table"):
        await reader.read(await reader.init({}, {}), 1)
    reader = custom(read=lambda state, n: ([1, 2], None))
    with pytest.raises(ItemReaderError, match="gave 2 items when asked for 1"):
        await reader.read(await reader.init({}, {}), 1)
    reader = custom(read=len, init=lambda config, deps: None)
    with pytest.raises(ItemReaderError, match="returned no state"):
        await reader.init({}, {})


async def test_an_iterable_with_fewer_items_than_before_is_refused():
    items = [1, 2, 3]
    reader = custom(items=items)
    page = await reader.read(await reader.init({}, {}), 2)
    checkpoint = reader.checkpoint(page.state)
    items.clear()
    with pytest.raises(CheckpointError, match="now there are fewer"):
        await reader.restore(await reader.init({}, {}), checkpoint)

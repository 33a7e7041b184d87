"""Every item reader of core keeps every clause of the contract."""

from __future__ import annotations

import gzip
from types import MappingProxyType

import anyio.lowlevel
import pytest

from stageflow.builtin.custom_reader import CustomItemReader, CustomReaderSettings
from stageflow.builtin.files_reader import FilesItemReader, FilesReaderSettings
from stageflow.builtin.row_readers import (
    CsvItemReader,
    CsvReaderSettings,
    JsonlItemReader,
    JsonlReaderSettings,
)
from stageflow.contracts.item_reader import CheckpointError, ItemReaderCapabilities, ReadPage
from stageflow.testing import ItemReaderConformance

JSONL = b'\xef\xbb\xbf{"id": 1}\n\n{"id": 2, "name": "na\xc3\xafve"}\r\n[3]\n"four"\nnull\n6\n7'
CSV = b'id,name\n1,a\n2,"b, or\nB"\n\n3,\r\n4,"""d"""\n5,na\xc3\xafve\n6,f'


class TestJsonl(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = ({"id": 1}, {"id": 2, "name": "naïve"}, [3], "four", None, 6, 7)
    wrong_configs = ({"path": 1}, {"pth": "x"}, {"on_error": "ignore"}, {"path": "absent.jsonl"})
    data = JSONL

    @pytest.fixture
    def item_reader(self, tmp_path):
        (tmp_path / "items").write_bytes(self.data)
        return JsonlItemReader(JsonlReaderSettings(path=tmp_path / "items"))


class TestCompressedJsonl(TestJsonl):
    data = gzip.compress(JSONL)


class TestCsv(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = tuple(
        {"id": str(number), "name": name}
        for number, name in enumerate(["a", "b, or\nB", "", '"d"', "naïve", "f"], 1)
    )
    wrong_configs = ({"columns": 1}, {"delimiter": ";;"}, {"encoding": "utf-16"})
    data = CSV

    @pytest.fixture
    def item_reader(self, tmp_path):
        (tmp_path / "items").write_bytes(self.data)
        return CsvItemReader(CsvReaderSettings(path=tmp_path / "items"))


class TestCompressedCsv(TestCsv):
    data = gzip.compress(CSV)


class TestFiles(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = ("B/c.txt", "B/d/e.txt", "B/d/f.txt", "a.txt", "b/z.txt", "b.txt")
    config = MappingProxyType({"pattern": "**/*.txt"})
    wrong_configs = (
        *({"root": "absent"}, {"pattern": "../*"}, {"pattern": "/x"}, {"pattern": "a//b"}),
        {"patern": "*"},
    )

    @pytest.fixture
    def item_reader(self, tmp_path):
        for name in (*self.items, "B/no.csv", "b/z/.keep"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                path.write_text(name)
        (tmp_path / "loop").symlink_to(tmp_path)
        return FilesItemReader(FilesReaderSettings(root=tmp_path))

    def shown(self, item):
        return item["name"]


NUMBERS = [{"number": number} for number in range(7)]


class TestCustomFunctions(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(count=True, checkpoint=True, close=True)
    items = NUMBERS
    config = MappingProxyType({"at": 0})

    @pytest.fixture
    def item_reader(self):
        async def read(state, n):
            at = state["at"] + n
            return NUMBERS[state["at"] : at], {"at": at} if at < len(NUMBERS) else None

        def restore(state, checkpoint):
            if not isinstance(checkpoint.get("at"), int):
                raise CheckpointError("it has no number", source="numbers")
            return dict(checkpoint)

        return CustomItemReader(
            CustomReaderSettings(
                init=lambda config, deps: dict(config),
                read=read,
                count=lambda state: len(NUMBERS),
                checkpoint=dict,
                restore=restore,
                close=lambda state: None,
            )
        )


class TestCustomPages(ItemReaderConformance):
    """A reader of nothing but `read`, which may give pages that are not full."""

    items = NUMBERS
    config = MappingProxyType({"at": 0})

    @pytest.fixture
    def item_reader(self):
        def read(state, n):
            at = state["at"] + max(n // 2, 1)
            following = {"at": at} if at < len(NUMBERS) + 1 else None
            return ReadPage(NUMBERS[state["at"] : at], following)

        return CustomItemReader(CustomReaderSettings(read=read))


class TestList(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(count=True, checkpoint=True, close=True)
    items = NUMBERS

    @pytest.fixture
    def item_reader(self):
        return CustomItemReader(CustomReaderSettings(items=NUMBERS))


class TestGenerator(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = NUMBERS
    deps = MappingProxyType({"upstream": NUMBERS})

    @pytest.fixture
    def item_reader(self):
        return CustomItemReader(
            CustomReaderSettings(items=lambda deps: (each for each in deps["upstream"]))
        )


async def numbers(deps):
    for number in NUMBERS:
        await anyio.lowlevel.checkpoint()
        yield number


class TestAsyncGenerator(ItemReaderConformance):
    capabilities = ItemReaderCapabilities(checkpoint=True, close=True)
    items = NUMBERS

    @pytest.fixture
    def item_reader(self):
        return CustomItemReader(CustomReaderSettings(items=numbers))

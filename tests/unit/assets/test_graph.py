"""Assets put together: what they are made from, and everything that is wrong, told at once."""

from __future__ import annotations

from datetime import date
from types import ModuleType

import pytest

from stageflow import RetryPolicy
from stageflow.assets import (
    AllPartitions,
    AssetDefinitionError,
    Assets,
    AssetTargetError,
    DatePartitions,
    Dep,
    DimensionPartition,
    LastPartitions,
    MappedPartitions,
    MultiPartitions,
    StaticPartitions,
    UnknownAssetError,
    asset,
)

JANUARY = DatePartitions(date(2025, 1, 1), date(2025, 2, 1))
YEAR = DatePartitions(date(2025, 1, 1), date(2026, 1, 1))


def made(name, *needs, **options):
    """An asset that is made from others, by `deps`."""
    options.setdefault("deps", {need: need for need in needs})
    namespace: dict = {}
    exec(f"def f({', '.join(options['deps'])}): pass", namespace)  # noqa: S102 - its parameters count
    return asset(name=name, **options)(namespace["f"])


def faults_of(*assets):
    with pytest.raises(AssetDefinitionError) as raised:
        Assets(assets)
    return raised.value.faults


def test_parameters_name_what_an_asset_is_made_from():
    @asset
    def raw(): ...

    @asset(deps={"source": raw})
    def clean(ctx, source, limit=3): ...

    @asset(after=[clean])
    async def report(raw): ...

    assets = Assets([report, clean, raw])
    assert [(need.dep.asset, need.parameter) for need in assets.needs("report")] == [
        ("raw", "raw"),
        ("clean", None),
    ]
    assert assets.order == ("raw", "clean", "report")
    assert list(assets) == ["report", "clean", "raw"]


def test_a_default_makes_a_dependency_optional_and_stands_by_itself_where_there_is_none():
    @asset
    def extra(): ...

    @asset
    def report(extra=None, size=10): ...

    (need,) = Assets([extra, report]).needs("report")
    assert (need.dep.optional, need.default) == (True, None)
    assert Assets([report]).needs("report") == ()


def test_all_faults_come_at_once_each_with_its_code_and_its_way_out():
    def twice(a, *rest): ...

    faults = faults_of(
        made("a", "b"),
        made("b", "a"),
        made("c", "dd"),
        made("d"),
        made("d"),
        made("  "),
        asset(name="e")(twice),
        asset(name="f", deps={"x": "a"})(lambda a: a),
        made("g", timeout=0),
        made("h", retry=3),
        made("i", version=2),
        made("j", partitions=["eu"]),
        made("k", "j"),
        "no asset",
    )
    assert {fault.code for fault in faults} == {
        "SF701",
        "SF702",
        "SF703",
        "SF704",
        "SF705",
        "SF706",
    }
    told = "\n".join(map(str, faults))
    for text in (
        "Asset 'c' is made from 'dd', which there is not. Hint: Add it, or correct the name.",
        "Did you mean 'd'?",
        "in a circle: a -> b -> a" if "a -> b -> a" in told else "in a circle: b -> a -> b",
        "2 assets are called 'd'.",
        "Asset 'e' has the parameter '*rest', which names nothing.",
        "Asset 'f' says what its parameter 'x' is, but has none.",
        "Asset 'g' has timeout=0.",
        "Asset 'h' has retry=3.",
        "Asset 'i' has version=2.",
        "Asset 'k' needs partitions of 'j', but it has none itself",
        "'no asset' is no asset.",
    ):
        assert text in told
    assert all(fault.fix_hint for fault in faults)


def test_one_fault_is_the_message_and_gives_the_error_its_code():
    with pytest.raises(AssetDefinitionError) as raised:
        Assets([made("a", "b")])
    assert raised.value.code == "SF702"
    assert str(raised.value).startswith("[SF702] Asset 'a' is made from 'b'")


def test_a_circle_is_told_in_order():
    (fault,) = faults_of(made("a", "c"), made("b", "a"), made("c", "b"))
    path = fault.context["cycle_path"]
    assert path[0] == path[-1]
    assert sorted(path[1:]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("own", "theirs", "mapping"),
    [
        (None, None, None),
        (YEAR, None, None),
        (YEAR, YEAR, None),
        (JANUARY, YEAR, None),
        (["eu"], ["us", "eu"], None),
        (None, YEAR, AllPartitions()),
        (None, YEAR, LastPartitions(3)),
        (YEAR, YEAR, LastPartitions(3)),
        (JANUARY, ["eu"], MappedPartitions(lambda day: "eu")),
        (MultiPartitions({"day": JANUARY, "at": ["eu"]}), YEAR, DimensionPartition("day")),
        (MultiPartitions({"day": JANUARY}), MultiPartitions({"day": YEAR}), None),
    ],
)  # fmt: skip
def test_partitions_that_go_together(own, theirs, mapping):
    dep = Dep("up") if mapping is None else Dep("up", mapping)
    Assets([made("up", partitions=theirs), made("down", deps={"x": dep}, partitions=own)])


@pytest.mark.parametrize(
    ("own", "theirs", "mapping"),
    [
        (None, YEAR, None),
        (YEAR, JANUARY, None),
        (YEAR, ["eu"], None),
        (["eu", "asia"], ["eu", "us"], None),
        (YEAR, None, AllPartitions()),
        (YEAR, JANUARY, LastPartitions(2)),
        (YEAR, YEAR, DimensionPartition("day")),
        (MultiPartitions({"day": JANUARY}), YEAR, DimensionPartition("dya")),
        (MultiPartitions({"day": YEAR}), JANUARY, DimensionPartition("day")),
        (MultiPartitions({"day": JANUARY}), MultiPartitions({"at": JANUARY}), None),
        (JANUARY, None, MappedPartitions(lambda day: "eu")),
    ],
)  # fmt: skip
def test_partitions_that_do_not_go_together(own, theirs, mapping):
    dep = Dep("up") if mapping is None else Dep("up", mapping)
    (fault,) = faults_of(
        made("up", partitions=theirs), made("down", deps={"x": dep}, partitions=own)
    )
    assert fault.code == "SF704"


def test_lineage_goes_both_ways_and_names_who_is_made_directly_from_whom():
    assets = Assets(
        [made("a"), made("b", "a"), made("c", "a"), made("d", "b", "c"), made("e", "d"), made("x")]
    )
    found = assets.lineage("b")
    assert (found.upstream, found.downstream) == (("a",), ("d", "e"))
    assert found.edges == (("a", "b"), ("b", "d"), ("d", "e"))
    assert assets.lineage("x").edges == ()
    with pytest.raises(UnknownAssetError, match="Did you mean"):
        assets.lineage("xx")


def test_a_chain_of_thousands_is_no_trouble():
    chain = [made("s0"), *(made(f"s{n}", f"s{n - 1}") for n in range(1, 2000))]
    assert len(Assets(reversed(chain)).lineage("s1999").upstream) == 1999


def test_assets_are_found_in_a_module_each_once():
    module = ModuleType("place.shop")
    module.one = made("one")
    module.alias = module.one
    module.more = Assets([made("two")])
    found = Assets.of_module(module)
    assert (found.name, set(found)) == ("shop", {"one", "two"})


def test_collections_are_put_together():
    assert set(Assets([Assets([made("a")]), made("b", "a")])) == {"a", "b"}


def test_an_asset_is_still_its_function():
    @asset(retry=RetryPolicy(), partitions=["a"])
    def double(x=2):
        """Twice as much.

        More text.
        """
        return 2 * x

    assert double(4) == 8
    assert double.description == "Twice as much."
    assert isinstance(double.partitions, StaticPartitions)
    assert (double.label("a"), double.name) == ("double[a]", "double")


def test_the_graph_is_drawn_with_partitions_and_not_run():
    assets = Assets(
        [made("raw", partitions=JANUARY), made("sum", deps={"x": Dep("raw", AllPartitions())})]
    )
    drawing = assets.build()
    assert drawing.plan.names == ("raw  [2025-01-01 … 2025-01-31 (31)]", "sum")
    assert drawing.plan.dependencies == ((), (0,))
    with pytest.raises(AssetTargetError):
        drawing.check_inputs({})

"""What is installed, read from metadata alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stageflow.plugins import CORE_CONTRACTS, Discovery, process_discovery
from support.installed import distribution, installed


def test_everything_about_an_entry_point_is_known_without_importing_it():
    (found,) = installed(
        distribution(
            "acme",
            {
                "stageflow.io_managers": {"s3.fast": "acme_absent.io:Manager"},
                "stageflow.contract_versions": {"io_managers.s3.fast": "anything:v1_3"},
            },
            "2.1",
        )
    ).group("stageflow.io_managers")
    assert (found.name, found.distribution, found.version) == ("s3.fast", "acme", "2.1")
    assert (found.value, found.contract_version) == ("acme_absent.io:Manager", "1.3")
    assert found.origin == "acme 2.1"


@pytest.mark.parametrize(
    ("stated", "version"),
    [
        ("a.b:v1_0", "1.0"),
        ("a:v12_34", "12.34"),
        ("a:v2", "2.0"),
        ("a:1_0", "a:1_0"),
        ("a:v1_x", "a:v1_x"),
    ],
)
def test_the_contract_version_is_read_and_not_loaded(stated: str, version: str):
    groups = {
        "stageflow.run_stores": {"x": "absent:X"},
        "stageflow.contract_versions": {"run_stores.x": stated},
    }
    (found,) = installed(distribution("acme", groups)).group("stageflow.run_stores")
    assert found.contract_version == version


def test_a_version_belongs_to_the_distribution_that_states_it():
    stating = distribution("acme", {"stageflow.contract_versions": {"run_stores.x": "a:v1_0"}})
    silent = distribution("bolt", {"stageflow.run_stores": {"x": "absent:X"}})
    (found,) = installed(stating, silent).group("stageflow.run_stores")
    assert found.contract_version is None


def test_found_is_sorted_and_grouped_and_strangers_are_left_out():
    discovery = installed(
        distribution(
            "b", {"stageflow.run_stores": {"y": "m:Y", "x": "m:X"}, "pytest11": {"z": "m"}}
        ),
        distribution("a", {"stageflow.run_stores": {"x": "m:X"}, "stageflowers": {"z": "m"}}),
        distribution("c", {"stageflow": {"hook": "m"}, "stageflow.commands": {"go": "m:f"}}),
    )
    found = discovery.group("stageflow.run_stores")
    assert [(each.name, each.distribution) for each in found] == [
        ("x", "a"),
        ("x", "b"),
        ("y", "b"),
    ]
    assert [each.name for each in discovery.group("stageflow")] == ["hook"]
    assert discovery.group("pytest11") == discovery.group("stageflow.absent") == ()
    assert discovery.names()["run_stores"] == ["x", "x", "y"]


def test_one_scan_answers_every_question():
    scans = []

    def source():
        scans.append(1)
        return [distribution("a", {"stageflow.run_stores": {"x": "m:X"}})]

    discovery = Discovery(source)
    for _ in range(3):
        discovery.group("stageflow.run_stores")
        discovery.contracts()
        discovery.names()
    assert len(scans) == 1


def test_contracts_of_others_follow_those_of_core():
    discovery = installed(
        distribution(
            "acme",
            {
                "stageflow.contracts": {"notifier": "acme.contract:Notifier"},
                "stageflow.contract_versions": {"contracts.notifier": "acme.contract:v2_1"},
            },
        )
    )
    *core, own = discovery.contracts()
    assert tuple(core) == CORE_CONTRACTS
    assert (own.name, own.plural, own.group) == ("notifier", "notifiers", "stageflow.notifiers")
    assert (own.origin, own.stated_version) == ("acme 1.0", "2.1")


def test_the_contracts_of_core_agree_with_their_modules():
    for entry in CORE_CONTRACTS:
        definition = entry.load()
        if definition is not None:
            assert definition.protocol.__name__ == entry.target.partition(":")[2]


def test_real_metadata_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = tmp_path / "acme_shop-3.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-shop\nVersion: 3.2\n\nLong.\n"
    )
    (info / "entry_points.txt").write_text("[stageflow.run_stores]\nacme = acme_absent:Store\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {each.name: each for each in Discovery().group("stageflow.run_stores")}
    assert found["acme"].origin == "acme-shop 3.2"
    assert "acme_absent" not in sys.modules


def put(folder: Path, version: str, metadata: str, entry_points: str | None) -> None:
    info = folder / f"acme-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(metadata)
    if entry_points is not None:
        (info / "entry_points.txt").write_text(entry_points)


@pytest.mark.parametrize(
    ("first", "names"),
    [
        ("[stageflow.run_stores]\nnew-acme = m:X\n", ["new-acme"]),
        ("[stageflow.run_stores]\nold-acme = m:X\n", ["old-acme"]),
        ("[other]\nx = m:X\n", []),
        (None, []),
    ],
    ids=["other names", "same names", "no names", "no entry points"],
)
def test_a_release_hides_those_that_come_later_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str | None, names: list[str]
):
    metadata = "Metadata-Version: 2.1\nName: acme\nVersion: {}\n\n"
    put(tmp_path / "b", "1.0", metadata.format("1.0"), "[stageflow.run_stores]\nold-acme = m:X\n")
    put(tmp_path / "a", "2.0", metadata.format("2.0"), first)
    monkeypatch.syspath_prepend(tmp_path / "b")
    monkeypatch.syspath_prepend(tmp_path / "a")
    found = [each for each in Discovery().group("stageflow.run_stores") if "acme" in each.name]
    assert [each.name for each in found] == names
    assert {each.version for each in found} <= {"2.0"}


def test_metadata_of_another_shape_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    metadata = "Metadata-Version: 2.1\nname:acme\nversion:1.0\n"
    put(tmp_path, "1.0", metadata, "[stageflow.run_stores]\nacme = m:X\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {each.name: each for each in Discovery().group("stageflow.run_stores")}
    assert found["acme"].origin == "acme 1.0"


def test_a_process_shares_one_scan():
    assert process_discovery() is process_discovery()

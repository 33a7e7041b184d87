"""Settings as they are written: which file, which variable, which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stageflow.plugins import (
    AmbiguousSettingsError,
    SettingsFileError,
    SettingsTree,
    read_settings,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n\n'
        '[tool.stageflow]\nrun_store = "postgres"\n\n'
        '[tool.stageflow.run_stores.postgres]\nurl = "from file"\nsize = 5\n',
        encoding="utf-8",
    )
    return tmp_path


def read(directory: Path, **sources) -> SettingsTree:
    return read_settings(directory=directory, **{"environ": {}, **sources})


def where(tree: SettingsTree, *path: str) -> str:
    return str(tree.origin(path))


def test_the_table_of_pyproject_is_found_upwards(project: Path):
    below = project / "a" / "b"
    below.mkdir(parents=True)
    tree = read(below)
    assert tree.values["run_store"] == "postgres"
    assert tree.root == project
    assert tree.source == project / "pyproject.toml"
    assert where(tree, "run_store") == "../../pyproject.toml:5"


def test_a_project_file_without_the_table_is_passed_by(project: Path):
    inner = project / "member"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.other]\n", encoding="utf-8")
    assert read(inner).source == project / "pyproject.toml"


def test_a_file_of_its_own_needs_no_table(tmp_path: Path):
    (tmp_path / "stageflow.toml").write_text('run_store = "memory"\n', encoding="utf-8")
    tree = read(tmp_path)
    assert tree.values == {"run_store": "memory"}
    assert where(tree, "run_store") == "stageflow.toml:1"


def test_the_nearest_file_alone_counts(project: Path):
    inner = project / "member"
    inner.mkdir()
    (inner / "stageflow.toml").write_text('event_sink = "noop"\n', encoding="utf-8")
    assert read(inner).values == {"event_sink": "noop"}


def test_two_files_in_one_folder_are_refused_by_name(project: Path):
    (project / "stageflow.toml").write_text("", encoding="utf-8")
    with pytest.raises(AmbiguousSettingsError) as caught:
        read(project)
    assert caught.value.paths == ("pyproject.toml", "stageflow.toml")


def test_without_settings_the_root_is_the_project(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    below = tmp_path / "src"
    below.mkdir()
    tree = read(below)
    assert (tree.root, tree.source, dict(tree.values)) == (tmp_path, None, {})


@pytest.mark.parametrize("text", ["[tool.stageflow\n", "a = 1\na = 2\n", "[tool]\nstageflow = 1\n"])
def test_a_file_that_says_nothing_sensible_is_named(tmp_path: Path, text: str):
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsFileError, match=r"pyproject\.toml"):
        read(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path):
    (tmp_path / "stageflow.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsFileError, match=r"stageflow\.toml"):
        read(tmp_path)


def test_later_sources_win_key_by_key(project: Path):
    tree = read(
        project,
        environ={"STAGEFLOW_RUN_STORES__POSTGRES__URL": "from variable", "HOME": "/"},
        arguments={"run_stores": {"postgres": {"size": 7}}, "event_sink": "noop"},
        assignments=["run_stores.postgres.name=from text"],
    )
    assert tree.values == {
        "run_store": "postgres",
        "run_stores": {
            "postgres": {"url": "from variable", "size": 7, "name": "from text"},
        },
        "event_sink": "noop",
    }
    assert where(tree, "run_store") == "pyproject.toml:5"
    assert where(tree, "run_stores", "postgres", "url") == "STAGEFLOW_RUN_STORES__POSTGRES__URL"
    assert where(tree, "run_stores", "postgres", "size") == "argument run_stores"
    assert where(tree, "run_stores", "postgres", "name") == "argument run_stores.postgres.name"
    assert where(tree, "run_stores", "postgres", "absent") == "pyproject.toml:7"
    assert tree.origin(["absent"]) is None


def test_an_argument_may_be_a_dotted_path(project: Path):
    tree = read(project, arguments={"run_stores.postgres.size": 9})
    assert tree.table("run_stores", "postgres")["size"] == 9


def test_a_variable_means_a_name_with_dashes(tmp_path: Path):
    (tmp_path / "stageflow.toml").write_text(
        '[io_managers.the-warehouse]\nuse = "s3"\n', encoding="utf-8"
    )
    tree = read(
        tmp_path,
        environ={
            "STAGEFLOW_IO_MANAGERS__THE_WAREHOUSE__BUCKET": "b",
            "STAGEFLOW_EVENT_SINKS__POSTGRES_QUEUE__URL": "u",
            "STAGEFLOW_EVENT_SINKS__NOT_KNOWN__URL": "u",
        },
        known={"event_sinks": ["postgres-queue"]},
    )
    assert tree.table("io_managers", "the-warehouse") == {"use": "s3", "bucket": "b"}
    assert set(tree.table("event_sinks")) == {"postgres-queue", "not_known"}


def test_variables_of_test_suites_are_no_settings(tmp_path: Path):
    assert read(tmp_path, environ={"STAGEFLOW_TEST_S3_ENDPOINT": "x"}).values == {}


def test_a_table_over_a_value_replaces_it_and_back(tmp_path: Path):
    environ = {"STAGEFLOW_RUN_STORE__X": "1"}
    tree = read(tmp_path, environ=environ, arguments={"run_store": "memory"})
    assert tree.values == {"run_store": "memory"}
    tree = read(tmp_path, environ={"STAGEFLOW_RUN_STORE": "a", **environ})
    assert tree.values == {"run_store": {"x": "1"}}


def test_what_is_written_is_not_shown(project: Path):
    tree = read(project, arguments={"run_stores.postgres.password": "canary"})
    assert "canary" not in f"{tree!r} {tree.values!r} {tree.table('run_stores')}"
    assert tree.table("run_stores", "postgres")["password"] == "canary"

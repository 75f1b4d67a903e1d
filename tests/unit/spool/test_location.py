"""Where spools are, and what their names give away: nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootcellar.errors import SpoolUnavailable
from rootcellar.settings import Settings
from rootcellar.spool import Spool, open_spool, spool_directory, spool_files, spool_path, store_identity


def test_identity_has_no_user_no_password_and_no_other_parameter() -> None:
    url = "rootcellar+postgresql+psycopg://me:s3cret@db:5433/shop?sslpassword=hush&table=tasks"
    assert store_identity(url) == "postgresql://db:5433/shop?table=tasks"


def test_a_new_password_finds_the_old_spool(tmp_path: Path) -> None:
    paths = {spool_path(f"postgresql://{who}@db/shop", directory=tmp_path) for who in ("a:1", "a:2", "b:3")}
    assert len(paths) == 1


@pytest.mark.parametrize(
    "other",
    ["postgresql://db2/shop", "postgresql://db:5433/shop", "postgresql://db/other", "postgresql://db/shop?table=t"],
)
def test_another_store_has_another_spool(other: str, tmp_path: Path) -> None:
    assert spool_path(other, directory=tmp_path) != spool_path("postgresql://db/shop", directory=tmp_path)


def test_table_and_schema_may_come_from_the_url_or_the_settings() -> None:
    assert store_identity("mysql://db/shop?table=t") == store_identity("mysql://db/shop", table="t", schema=None)
    assert store_identity("mysql://db/shop", schema="s") == "mysql://db/shop?schema=s"


def test_names_of_one_engine_mean_one_spool() -> None:
    assert store_identity("postgres://db/shop") == store_identity("postgresql+psycopg://db/shop")
    assert store_identity("mariadb://db/shop") == store_identity("mysql+pymysql://db/shop")


def test_a_relative_sqlite_path_is_the_file_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_identity("sqlite:///results.db") == store_identity(f"sqlite:///{tmp_path}/results.db")


def test_the_default_directory_is_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert spool_directory() == tmp_path / "rootcellar" / "spool"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spool_directory() == tmp_path / ".local" / "state" / "rootcellar" / "spool"


def test_a_user_without_home_gets_a_directory_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert spool_directory().parent == tmp_path


def test_a_relative_state_directory_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG specification wants it."""
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert spool_directory().is_relative_to(tmp_path)


def test_settings_open_the_spool_or_switch_it_off(tmp_path: Path) -> None:
    assert open_spool("postgresql://db/shop", Settings(spool=False)) is None
    spool = open_spool("postgresql://me:s3cret@db/shop", Settings(spool=str(tmp_path), spool_limit=1 << 21))
    assert spool is not None
    assert (spool.path.parent, spool.limit) == (tmp_path, 1 << 21)
    assert spool_files(tmp_path) == [], "opening makes nothing"
    spool.append([("apply", b"1")])
    assert spool_files(tmp_path) == [spool.path]
    assert spool.store() == "postgresql://db/shop?table=rootcellar_task"
    spool.close()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "made" / "a.spool")
    spool.append([("apply", b"1")])
    modes = {path.stat().st_mode & 0o077 for path in (spool.path, spool.path.parent)}
    spool.close()
    assert modes == {0}


def test_a_directory_that_everybody_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(SpoolUnavailable, match="writable by every user"):
        Spool(folder / "a.spool").append([("apply", b"1")])


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_a_strangers_directory_among_the_temporary_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    tmp_path.chmod(0o1777)
    os.chown(folder, 12_345, 12_345)
    with pytest.raises(SpoolUnavailable, match="made by another user"):
        Spool(folder / "a.spool").append([("apply", b"1")])

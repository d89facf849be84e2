from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.server.store.samples import new_job
from tunesmith_server.cli import main
from tunesmith_server.private_files import is_open_to_others, make_private
from tunesmith_server.store.sqlite import SqliteStore

KEYS = '[access_keys.AKIDLAB]\nsecret_access_key = "a8Kd0-tunesmith-of-the-lab"\n'


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: mode(file) for file in folder.iterdir()}


@pytest.fixture(autouse=True)
def ordinary_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_directory_and_those_above_it_are_made_for_the_user_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    (tmp_path / "open").mkdir(mode=0o755)
    make_private(tmp_path / "open")
    assert mode(tmp_path / "open") == 0o755
    assert is_open_to_others(tmp_path / "open")
    assert not is_open_to_others(tmp_path / "a")
    assert not is_open_to_others(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(OSError, match="file"):
            make_private(path)


async def test_the_database_is_its_users_alone_wherever_it_is(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "tunesmith.db")
    await store.create_job(new_job("digits"))
    modes = modes_in(tmp_path)
    await store.close()
    assert modes.pop("tunesmith.db.lock") == 0o644  # which has a number in it
    assert set(modes) == {"tunesmith.db", "tunesmith.db-wal", "tunesmith.db-shm"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    ("text", "file_mode", "is_told"),
    [(KEYS, 0o644, True), (KEYS, 0o640, False), (KEYS, 0o600, False), ("", 0o644, False)],
)
def test_the_start_warns_of_keys_that_everybody_may_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    file_mode: int,
    *,
    is_told: bool,
) -> None:
    monkeypatch.setattr(sys.modules["tunesmith_server.cli.serve"], "_run", lambda *_, **__: None)
    config, data_dir = tmp_path / "tunesmith.toml", tmp_path / "new" / "data"
    config.write_text(text, encoding="utf-8")
    config.chmod(file_mode)
    with caplog.at_level(logging.WARNING):
        done = CliRunner().invoke(
            main, ["serve", "--config", str(config), "--data-dir", str(data_dir)]
        )
    assert done.exit_code == 0, done.output
    assert ("chmod 600" in caplog.text) == is_told
    assert "tunesmith-of-the-lab" not in caplog.text
    assert mode(data_dir) == 0o700

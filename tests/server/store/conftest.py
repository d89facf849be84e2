"""The stores that the contract is tested on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tunesmith_server.store.sqlite import SqliteStore
from tunesmith_server.store.store import Store


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "tunesmith.sqlite3")
    yield store
    await store.close()


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest) -> Store:
    """Give an empty store of each kind; a second kind adds its fixture ``<kind>_store``."""
    made: Store = request.getfixturevalue(f"{request.param}_store")
    return made

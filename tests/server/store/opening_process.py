"""Open a database, print its writer's process id, and wait to be killed.

Run by ``test_sqlite_store.py`` as ``python opening_process.py <database>``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tunesmith_server.store.sqlite import SqliteStore


async def main(path: Path) -> None:
    store = await SqliteStore.open(path)
    sys.stdout.write(f"{store._writer.pid}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""Bring a database to the schema of this release: numbered files, forward only.

Each migration is one transaction, with the number of the schema that it leads to. A database that
a newer release wrote, or one that is not ours, is refused and left as it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from tunesmith_server.store.open_errors import ForeignDatabase, NewerDatabase

#: Marks our databases in their header: "tune" in ASCII.
APPLICATION_ID: Final = 0x74756E65


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """Hold one step between two versions of the schema.

    Attributes:
        version: The version that it leads to; the one before is its start.
        sql: Its statements, without a transaction of their own.
    """

    version: int
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """Read the ``migrations`` folder: files ``NNNN_<what>.sql``, numbered from 1 without gaps."""
    folder = resources.files("tunesmith_server.store") / "migrations"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    migrations = tuple(
        Migration(version=int(file.name[:4]), sql=file.read_text(encoding="utf-8"))
        for file in files
    )
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"migrations must be numbered from 1: {[file.name for file in files]}")
    return migrations


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Apply the migrations that a database lacks.

    Args:
        connection: An open connection outside of any transaction, with foreign keys not enforced:
            a migration may have to rebuild a table that others refer to.
        path: The database, for messages.
        migrations: All migrations of this release.

    Raises:
        ForeignDatabase: The file is not a database of ours.
        NewerDatabase: A newer release wrote it.
    """
    version = _version(connection, path)
    if version > len(migrations):
        raise NewerDatabase(path, version=version, known=len(migrations))
    for migration in migrations[version:]:
        script = (
            f"BEGIN IMMEDIATE;\n{migration.sql}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {migration.version};\nCOMMIT;"
        )
        try:
            connection.executescript(script)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Read the version of a database's schema; 0 for a new, empty one."""
    try:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise ForeignDatabase(path, f"it is not an SQLite database ({error}).") from error
    is_new = application_id == 0 and version == 0 and tables == 0
    if not is_new and application_id != APPLICATION_ID:
        raise ForeignDatabase(path, "it is the database of another program; name another file.")
    return int(version)

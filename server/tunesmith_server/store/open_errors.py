"""What can be wrong with a database before it serves: told to whoever starts the server.

None of these reaches a caller; errors of a store that serves are ``domain/errors.py``'s.
"""

from __future__ import annotations

from pathlib import Path


class StoreOpenError(Exception):
    """Say that a database cannot be opened, and why.

    Attributes:
        path: The database.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"Cannot open the database {path}: {reason}")


class StoreInUse(StoreOpenError):
    """Say that another server has the database. Stop it, or use another data directory.

    Attributes:
        pid: Process id of that server, if it could be read.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        self.pid = pid
        holder = "another server" if pid is None else f"another server, process {pid},"
        super().__init__(path, f"{holder} has it open; stop it, or use another data directory.")


class ForeignDatabase(StoreOpenError):
    """Say that the file is not one of ours. Name another file."""


class NewerDatabase(StoreOpenError):
    """Say that a newer release wrote the database. Run that release, or a newer one.

    Attributes:
        version: Version of the database's schema.
        known: The newest version that this release knows.
    """

    def __init__(self, path: Path, *, version: int, known: int) -> None:
        self.version = version
        self.known = known
        super().__init__(
            path,
            f"its schema has version {version} and this release knows versions up to {known}; "
            f"run the release that wrote it, or a newer one.",
        )

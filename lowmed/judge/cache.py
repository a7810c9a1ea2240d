"""Verdicts that were given, kept in one SQLite file, so that nothing is judged or paid for twice."""

import os
import sqlite3
import threading
from pathlib import Path

from lowmed.errors import SetupError
from lowmed.files import disk_errors

_TABLE = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, value INTEGER NOT NULL, why TEXT NOT NULL)"


class Cache:
    """Verdicts by key. The key is a digest, so that of what was judged only the judge's reasons can be read in it.

    May be used from several threads and processes at once.

    Raises:
        SetupError: the file cannot be written, or is no such cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # reasons may speak of patients
        try:
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = OFF")  # losing a cache in a power cut costs calls, no result
            self._connection.execute(_TABLE)
            self._connection.execute("SELECT key, value, why FROM verdicts LIMIT 1")
        except sqlite3.DatabaseError as error:
            raise SetupError(f"this is no cache of verdicts: {error}", str(path), "remove the file") from error

    def get(self, key: str) -> tuple[bool, str] | None:
        """Value and reason of a verdict, or None."""
        with self._lock:
            row = self._connection.execute("SELECT value, why FROM verdicts WHERE key = ?", (key,)).fetchone()
        return (bool(row[0]), str(row[1])) if row else None

    def put(self, key: str, value: bool, why: str) -> None:
        """Keep a verdict."""
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", (key, int(value), why))

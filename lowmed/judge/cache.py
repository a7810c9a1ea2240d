"""SQLite cache of verdicts, so that nothing is judged or paid for twice."""

import os
import sqlite3
import threading
from pathlib import Path

from lowmed.errors import SetupError
from lowmed.files import disk_errors

_TABLE = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, value INTEGER NOT NULL, why TEXT NOT NULL)"


class Cache:
    """Verdicts by key. Keys are digests, so the file holds the judge's reasons but none of the judged texts.

    Safe for several threads and processes.

    Raises:
        SetupError: the file is not writable, or is not such a cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # reasons may mention patients
        try:
            self._connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = OFF")  # a power cut may lose cached verdicts, never results
            self._connection.execute(_TABLE)
            self._connection.execute("SELECT key, value, why FROM verdicts LIMIT 1")
        except sqlite3.DatabaseError as error:
            raise SetupError(f"not a cache of verdicts: {error}", str(path), "remove the file") from error

    def get(self, key: str) -> tuple[bool, str] | None:
        """Value and reason of a stored verdict, or None."""
        with self._lock:
            row = self._connection.execute("SELECT value, why FROM verdicts WHERE key = ?", (key,)).fetchone()
        return (bool(row[0]), str(row[1])) if row else None

    def put(self, key: str, value: bool, why: str) -> None:
        """Store a verdict."""
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)", (key, int(value), why))

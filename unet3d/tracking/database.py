"""A new MLflow database in a SQLite file: whole or not there, however many processes start."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from unet3d.errors import RunError
from unet3d.files import exclusive_lock, remove_stale, temporary_folder

log = logging.getLogger(__name__)
SETTLED_SECONDS = 10.0  # without a write, after which no program is still making the tables
COMPANIONS = ("", "-journal", "-wal", "-shm")  # the database and what SQLite keeps beside it
HOLDING = ("runs", "registered_models", "trace_info", "logged_models", "datasets")


def sqlite_file(uri: str) -> Path | None:
    """The file of a `sqlite:` address; None for any other store, and for one in memory."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return None if not name or name == ":memory:" or name.startswith("file:") else Path(name)


@contextmanager
def held_store(uri: str, folder: Path) -> Iterator[None]:
    """Hold the lock of a database while it is opened; a SQLite file exists then, with its tables.

    folder: for the lock of a database that is not a file here. A server needs no lock, and a file
    that can only be read is opened as it is. Raises RunError for a file that is no database.
    """
    path = sqlite_file(uri)
    served = path is None and uri.startswith("http")
    if served or (path is not None and path.exists() and not os.access(path.parent, os.W_OK)):
        yield
        return
    lock = folder / ".mlflow.lock" if path is None else path.parent / f".{path.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    # One at a time: MLflow creates the tables of a new database without a lock.
    with exclusive_lock(lock, busy=lambda: None):
        if path is not None:
            make_database(path)
        yield


def make_database(path: Path) -> None:
    """Make the database at `path` where there is none, or one whose making was interrupted.

    The caller holds its lock. A database with runs is never replaced; a broken one without any is
    kept under another name.
    """
    remove_stale(path.parent)
    if path.exists() and path.stat().st_size:
        if not _is_half_made(path):
            return
        _wait_until_settled(path)
        if not _is_half_made(path):
            return
        aside = _move_aside(path)
        log.warning(
            "tracking: %s was only half made, by a start that was interrupted, and has no runs; "
            "it is made anew (the old one is %s)",
            path,
            aside.name,
        )
    # MLflow's tables take hundreds of steps: a signal or a kill between two would break the file.
    with temporary_folder(path) as folder:
        new = folder / path.name
        _create_tables(new)
        os.replace(new, path)


def _create_tables(path: Path) -> None:
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:  # it is published only when it is complete
            connection.exec_driver_sql("PRAGMA synchronous = OFF")
        _initialize_tables(engine)
    finally:
        engine.dispose()
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_half_made(path: Path) -> bool:
    """Whether tables are missing and nothing is recorded in those that are there."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.db.utils import _get_latest_schema_revision

    try:
        with closing(sqlite3.connect(path, timeout=20)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
            version = _first(database, "alembic_version", "version_num", tables)
            complete = version == _get_latest_schema_revision()
            if complete and set(Base.metadata.tables) <= tables:
                return False
            if any(_first(database, table, "1", tables) for table in HOLDING):
                return False
            if "experiments" in tables:
                count = database.execute(
                    "SELECT COUNT(*) FROM experiments WHERE experiment_id != 0"
                )
                return not count.fetchone()[0]
            # Tables of another program are none of ours to move.
            return tables <= {*Base.metadata.tables, "alembic_version"} or not tables
    except sqlite3.DatabaseError as error:
        raise RunError(
            f"tracking: {path} is not an MLflow database that can be read ({error}); move it "
            "away, or set tracking.uri to another"
        ) from error


def _first(database: sqlite3.Connection, table: str, column: str, tables: set[str]) -> object:
    """The first value of a column; None where the table is empty or missing."""
    if table not in tables:
        return None
    row = database.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
    return row[0] if row else None


def _wait_until_settled(path: Path) -> None:
    """Let another program, such as `mlflow server`, finish the tables that it is making."""
    while path.exists() and 0 <= time.time() - _last_write(path) < SETTLED_SECONDS:
        if not _is_half_made(path):
            return
        time.sleep(0.5)


def _last_write(path: Path) -> float:
    files = [path.with_name(path.name + suffix) for suffix in COMPANIONS]
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


def _move_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    for suffix in COMPANIONS:
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    return aside

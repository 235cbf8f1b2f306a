"""Files and folders appear whole, and what dead processes left behind is found again."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from unet3d.files import (
    FOREIGN_AGE,
    discard,
    exclusive_lock,
    publish,
    remove_stale,
    temporary_folder,
    write_text,
)


def test_a_folder_is_published_once(tmp_path: Path) -> None:
    """The first of two writers wins, and the other leaves nothing behind."""
    target = tmp_path / "deep" / "target"
    with temporary_folder(target) as first, temporary_folder(target) as second:
        (first / "file").write_text("first")
        (second / "file").write_text("second")
        assert publish(first, target) is True
        assert publish(second, target) is False
    assert (target / "file").read_text() == "first"
    assert os.listdir(target.parent) == ["target"]


def test_a_folder_that_is_not_published_is_removed(tmp_path: Path) -> None:
    """Also where the block fails half-way."""
    with pytest.raises(ValueError), temporary_folder(tmp_path / "target") as folder:
        (folder / "file").write_text("half")
        raise ValueError
    assert os.listdir(tmp_path) == []


def test_discard_removes_a_folder_or_nothing(tmp_path: Path) -> None:
    """Two processes may discard the same folder."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").write_text("")
    discard(tmp_path / "target")
    discard(tmp_path / "target")
    assert os.listdir(tmp_path) == []


def test_a_text_replaces_the_former_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails leaves the former text and no part of the new one."""
    path = tmp_path / "new" / "file"
    write_text(path, "ä")
    assert path.read_text(encoding="utf-8") == "ä"

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "b")
    assert path.read_text(encoding="utf-8") == "ä" and os.listdir(path.parent) == ["file"]


def test_only_what_the_dead_left_is_removed(tmp_path: Path) -> None:
    """Not what a living process, this one, or lately another machine is writing."""
    with temporary_folder(tmp_path / "mine") as mine:
        own_host = mine.name[-16:-8]
        names = {
            "dead": f".a.tmp-999999999-{own_host}00000000",
            "alive": f".b.tmp-1-{own_host}00000000",
            "former process of this id": f".c.tmp-{os.getpid()}-{own_host}00000000",
            "elsewhere, now": ".d.tmp-999999999-0000000000000000",
            "elsewhere, long ago": ".e.tmp-999999999-0000000000000001",
            "a file": f".f.tmp-999999999-{own_host}00000001",
            "not ours": ".g.tmp",
        }
        for what, name in names.items():
            if what == "a file":
                (tmp_path / name).write_text("")
            else:
                (tmp_path / name).mkdir()
        old = time.time() - FOREIGN_AGE - 60
        os.utime(tmp_path / names["elsewhere, long ago"], (old, old))
        assert remove_stale(tmp_path) == 4
        left = {what for what, name in names.items() if (tmp_path / name).exists()}
        assert left == {"alive", "elsewhere, now", "not ours"} and mine.is_dir()
    assert remove_stale(tmp_path / "no such folder") == 0


HOLD = """
import sys
from pathlib import Path
from unet3d.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), lambda: sys.exit(3)):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    """The second calls `busy` once, then waits unless it raises; kill -9 frees the lock."""
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"

    def refuse() -> None:
        raise ValueError("busy")

    with pytest.raises(ValueError, match="busy"), exclusive_lock(path, refuse):
        pass
    calls = []

    def kill() -> None:
        calls.append(1)
        holder.kill()
        holder.wait()

    with exclusive_lock(path, kill):
        assert calls == [1]
    with exclusive_lock(path, refuse):
        pass  # free again after the block


def test_what_a_zombie_left_is_removed(tmp_path: Path) -> None:
    """A killed process that its parent has not reaped keeps its id, and holds nothing back."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    (tmp_path / f".last.npz.tmp-{child.pid}-{host}01234567").mkdir()
    assert remove_stale(tmp_path) == 1
    child.wait()

"""tracking=server: its server ends with the command, however that ends, and leaves no port."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.commands import free_port
from tests.processes import running_below
from tests.tracking.conftest import TrackingStore, tracking_config
from tests.tracking.conftest import no_tracking_uri as no_tracking_uri
from tests.tracking.conftest import store as store
from tests.tracking.test_server import ANSWER
from unet3d.tracking import server as module
from unet3d.tracking.server import SERVER_FILE, tracking_server

# A command that serves until it is killed; argv: folder, port, "real" or a program to serve by.
COMMAND = """
import contextlib, sys, time
from pathlib import Path
from tests.tracking.conftest import tracking_config
from unet3d.tracking import server
folder, port, program = sys.argv[1:]
if program != "real":
    server._server_command = lambda *_: [sys.executable, "-c", program, port]
    server.held_store = lambda *_: contextlib.nullcontext()
config = tracking_config(Path(folder), "tracking=server", f"tracking.port={port}")
with server.tracking_server(config):
    print("serving", flush=True)
    time.sleep(600)
"""


def _serving(folder: Path, port: int, program: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, str(folder), str(port), program]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None and started.stdout.readline() == "serving\n"
    return started


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(condition: object) -> None:
    deadline = time.monotonic() + 240
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.1)
    assert condition()  # type: ignore[operator]


def test_kill_9_leaves_no_process_of_a_real_server(store: TrackingStore, tmp_path: Path) -> None:
    """MLflow's server has processes of its own; all go, and the port is free."""
    shutil.copyfile(store.folder / "mlflow.db", tmp_path / "mlflow.db")
    port = free_port()
    command = _serving(tmp_path, port, "real")
    below = psutil.Process(command.pid).children(recursive=True)
    assert len(below) > 1 and _listens(port)
    command.kill()
    command.wait()
    _wait(lambda: not any(process.is_running() for process in below))
    assert not _listens(port)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_ends_the_command_ends_its_server(tmp_path: Path, number: int) -> None:
    """Also where nobody handles the signal."""
    port = free_port()
    command = _serving(tmp_path, port, ANSWER)
    command.send_signal(number)
    command.wait()
    _wait(lambda: not _listens(port))


def test_a_server_left_by_a_dead_command_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command works again, though the port was still served."""
    port = free_port()
    served = [sys.executable, "-c", ANSWER, str(port)]
    left = subprocess.Popen(served, start_new_session=True)
    _wait(lambda: _listens(port))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    identity = module._identity(gone.pid, port, f"http://127.0.0.1:{port}") | {
        "starter": [gone.pid, 1.0]
    }
    file = tmp_path / SERVER_FILE.format(port=port)
    file.write_text(json.dumps(identity))
    monkeypatch.setattr(module, "_server_command", lambda *_: served)
    config = tracking_config(tmp_path, "tracking=server", f"tracking.port={port}")
    monkeypatch.setattr(module, "held_store", lambda *_: contextlib.nullcontext())
    with tracking_server(config):
        left.wait(10)
        assert _listens(port)
        assert os.environ["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{port}"
    assert not _listens(port) and not file.exists()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a small server that tracking=server runs in this process."""
    port = free_port()
    monkeypatch.setattr(
        module, "_server_command", lambda *_: [sys.executable, "-c", ANSWER, str(port)]
    )
    monkeypatch.setattr(module, "held_store", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    with tracking_server(tracking_config(tmp_path, "tracking=server", f"tracking.port={port}")):
        yield port
    assert not _listens(port)


def _below() -> tuple[psutil.Process, psutil.Process]:
    """The guardian and its server."""
    (guard,) = running_below(os.getpid(), "guardian.py", recursive=False)
    (server,) = guard.children()
    return guard, server


def _is_up(port: int, *former: psutil.Process) -> bool:
    try:
        return _listens(port) and not set(former) & set(_below())
    except (psutil.Error, ValueError):
        return False


@pytest.mark.parametrize("struck", ["the server", "its guardian"])
def test_a_killed_server_is_started_again(
    served: int, struck: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On its port, with one line; nothing of the former is left, and it ends with its block."""
    former = _below()
    former[struck == "the server"].kill()
    _wait(lambda: _is_up(served, *former))
    _wait(lambda: not any(map(module._lives, former)))
    assert [record.getMessage() for record in caplog.records] == [
        "tracking: the server has ended; it is started again"
    ]


def test_a_server_that_cannot_stay_is_given_up(
    served: int, caplog: pytest.LogCaptureFixture
) -> None:
    """After three more starts, in a line that names its log; the training goes on."""
    for _ in range(module.RESTARTS):
        former = _below()
        former[1].kill()
        _wait(lambda former=former: _is_up(served, *former))  # type: ignore[misc]
    _below()[1].kill()
    _wait(lambda: "is not started again" in caplog.text)
    assert "mlflow-server.log says why" in caplog.text and not _listens(served)

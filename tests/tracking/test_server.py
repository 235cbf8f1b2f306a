"""tracking=server: a server that lives as long as its command, or one line that says why not."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.e2e.commands import free_port
from tests.tracking.conftest import tracking_config
from unet3d.errors import RunError
from unet3d.tracking import server as module
from unet3d.tracking.server import tracking_server

ANSWER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.fixture
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No database is made for a server that has none; it takes MLflow seconds."""
    monkeypatch.setattr(module, "held_store", lambda *_: contextlib.nullcontext())


def test_runs_are_logged_to_the_server_while_it_lives(
    no_tables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is in the environment of this process and its workers, and then is not."""
    port = free_port()
    command = [sys.executable, "-c", ANSWER, str(port)]
    monkeypatch.setattr(module, "_server_command", lambda *_: command)
    config = tracking_config(tmp_path, "tracking=server", f"tracking.port={port}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://former")
    with pytest.raises(ValueError, match="the training failed"), tracking_server(config):
        assert os.environ["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{port}"
        raise ValueError("the training failed")
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://former"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0  # it ended with the block


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    """No server is started beside another, and the line says what to type."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = tracking_config(tmp_path, "tracking=server", f"tracking.port={port}")
        with pytest.raises(RunError) as error, tracking_server(config):
            pass
    message = str(error.value)
    assert message.startswith(f"tracking.port: {port} ") and "\n" not in message
    assert f"tracking.uri=http://127.0.0.1:{port}" in message
    assert not (tmp_path / "mlflow-server.log").exists()


def test_a_server_that_ends_at_once_is_one_line(
    no_tables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the log, which holds what the server printed; nothing else is changed."""
    command = [sys.executable, "-c", "raise SystemExit('no such database')"]
    monkeypatch.setattr(module, "_server_command", lambda *_: command)
    config = tracking_config(tmp_path, "tracking=server", f"tracking.port={free_port()}")
    with pytest.raises(RunError, match="mlflow-server.log says why"), tracking_server(config):
        pass
    assert "no such database" in (tmp_path / "mlflow-server.log").read_text()
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_other_trackings_start_no_server(tmp_path: Path) -> None:
    """tracking=mlflow passes through."""
    with tracking_server(tracking_config(tmp_path)):
        assert "MLFLOW_TRACKING_URI" not in os.environ
    assert list(tmp_path.iterdir()) == []

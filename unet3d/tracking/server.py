"""tracking=server: an MLflow server of one's own, for as long as a command runs."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet3d.config import Config
from unet3d.training.errors import RunError

log = logging.getLogger(__name__)
START_SECONDS = 90.0


@contextmanager
def tracking_server(config: Config, host: str = "127.0.0.1") -> Iterator[None]:
    """Serve tracking.uri at `host`, and have this process and its workers log there.

    Does nothing but with tracking=server. Artifacts go through the server as well.
    Raises RunError where the port is taken or the server does not start.
    """
    if config.tracking.name != "server":
        yield
        return
    host, port = config.tracking.host or host, config.tracking.port
    _check_free(host, port)
    path = Path(config.output_dir) / "mlflow-server.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as output:
        server = subprocess.Popen(
            _command(config, host, port),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the training, which still has to log
        )
    address = f"http://{host}:{port}"
    former = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        _wait_until_up(server, address, path)
        log.info("tracking: %s shows the runs", address)
        os.environ["MLFLOW_TRACKING_URI"] = address
        yield
    finally:
        if former is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = former
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _command(config: Config, host: str, port: int) -> list[str]:
    served = ["--backend-store-uri", config.tracking.uri, "--serve-artifacts"]
    artifacts = str(Path(config.tracking.artifacts).resolve())
    # MLflow answers to the names it is told, against pages that a browser has open elsewhere.
    named = ",".join(f"{name}:{port}" for name in (host, "localhost", "127.0.0.1"))
    listen = ["--host", host, "--port", str(port), "--allowed-hosts", named, "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server"]
    return [*command, *served, "--artifacts-destination", artifacts, *listen]


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise RunError(
            f"tracking.port: nothing can listen on {host}:{port} ({error.strerror}); choose "
            f"another, or type tracking.uri=http://{host}:{port} if a server is there already"
        ) from error


def _wait_until_up(server: subprocess.Popen[bytes], address: str, path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RunError(f"tracking=server: the server did not start; {path} tells why")

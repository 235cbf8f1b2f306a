"""tracking=server: a private MLflow server, for as long as a command runs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from unet3d.config.schema import Config
from unet3d.errors import RunError
from unet3d.files import read_text, write_text
from unet3d.machine import lives
from unet3d.tracking import guardian
from unet3d.tracking.connection import quiet_mlflow
from unet3d.tracking.database import held_store

log = logging.getLogger(__name__)
SERVER_START_SECONDS = 90.0
RESTARTS = 3  # in a row of a server that ends within STEADY_SECONDS
STEADY_SECONDS = 60.0
PAUSE_SECONDS = 1.0  # before a restart
SERVER_FILE = ".mlflow-server-{port}.json"  # in output_dir: whose server it is


@contextmanager
def tracking_server(config: Config, host: str = "127.0.0.1") -> Iterator[None]:
    """Serve tracking.uri at `host`, and let this process and its workers log there.

    Does nothing unless tracking=server. Artifacts go through the server, too. One that is killed
    is started again. Raises RunError where the port is taken or the server does not start.
    """
    if config.tracking.name != "server":
        yield
        return
    host, port = config.tracking.host or host, config.tracking.port
    output = Path(config.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    command = _server_command(config, host, port)
    end_left_server(output / SERVER_FILE.format(port=port), port, command)
    _check_free(host, port)
    quiet_mlflow()
    with held_store(config.tracking.uri, output):  # the server would make its tables unguarded
        pass
    server = _Server(command, host, port, output)
    former = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        server.start()
        log.info("tracking: %s shows the runs", server.address)
        os.environ["MLFLOW_TRACKING_URI"] = server.address
        yield
    finally:
        if former is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = former
        server.end()


def running_server(output_dir: Path) -> str | None:
    """The address of a server that a command on this machine keeps over `output_dir`'s store."""
    for path in sorted(output_dir.glob(SERVER_FILE.format(port="*"))):
        try:
            found = json.loads(read_text(path) or "{}")
            guard, start = found["guardian"]
            address = str(found["address"])
            if found["host"] != socket.gethostname() or _start_of(guard) != start:
                continue
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except (ValueError, KeyError, TypeError, OSError):  # of an earlier version, or ended
            continue
    return None


class _Server:
    """A server behind its guardian, and a thread that starts both again when one is killed."""

    def __init__(self, command: list[str], host: str, port: int, output: Path):
        self.command, self.host, self.port = command, host, port
        self.address = f"http://{host}:{port}"
        # As it is now: later it names this server. False: 8 processes less.
        self.environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
        self.identity = output / SERVER_FILE.format(port=port)
        self.log = output / "mlflow-server.log"
        self.process: subprocess.Popen[bytes] | None = None  # the guardian
        self.below: list[psutil.Process] = []  # of the guardian: the server and its workers
        self.ending = threading.Event()
        self.changing = threading.Lock()  # between a restart and the end
        self.watch = threading.Thread(target=self._watch, name="tracking server", daemon=True)

    def start(self) -> None:
        """Start the server, and watch it once it answers. Raises RunError where it does not."""
        self.log.write_bytes(b"")
        self._launch()
        if not self._wait_until_up():
            raise RunError(f"tracking=server: the server did not start; {self.log} says why")
        self._find_below()
        self.watch.start()

    def end(self) -> None:
        """End the server; it stays ended."""
        self.ending.set()
        with self.changing:
            self._end_processes()
            self.identity.unlink(missing_ok=True)

    def _launch(self) -> None:
        with self.log.open("ab") as log_file:
            self.process = subprocess.Popen(
                [sys.executable, guardian.__file__, *self.command],
                env=self.environment,
                stdin=subprocess.PIPE,  # closes with this process: the server never outlives it
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must only reach the training: it still has to log
            )
        write_text(self.identity, json.dumps(_identity(self.process.pid, self.port, self.address)))

    def _wait_until_up(self) -> bool:
        assert self.process is not None
        deadline = time.monotonic() + SERVER_START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=2):
                    return True
            except (urllib.error.URLError, OSError):
                if self.ending.wait(0.3):
                    break
        return False

    def _find_below(self) -> None:
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            self.below = psutil.Process(self.process.pid).children(recursive=True)

    def _watch(self) -> None:
        """Start the server again when it has ended by itself, as after a lack of memory."""
        in_a_row = 0
        while True:
            assert self.process is not None
            since = time.monotonic()
            self.process.wait()
            in_a_row = in_a_row + 1 if time.monotonic() - since < STEADY_SECONDS else 1
            self.ending.wait(PAUSE_SECONDS)
            with self.changing:
                if self.ending.is_set():
                    return
                if in_a_row > RESTARTS:
                    log.error(
                        "tracking: the server has ended %d times in a row and is not started "
                        "again; %s says why",
                        in_a_row,
                        self.log,
                    )
                    return
                log.warning("tracking: the server has ended; it is started again")
                self._end_processes()  # what a guardian that was killed has left
                try:
                    self._launch()
                except OSError as error:  # no memory, a full disk
                    log.warning("tracking: the server did not start (%s)", error)
            self._wait_until_up()
            self._find_below()

    def _end_processes(self) -> None:
        """End the guardian and, where it was killed itself, what was below it."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(guardian.GRACE_SECONDS + 10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self.below:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(number)
            deadline = time.monotonic() + guardian.GRACE_SECONDS
            while any(map(_lives, self.below)) and time.monotonic() < deadline:
                time.sleep(0.1)


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _identity(pid: int, port: int, address: str) -> dict[str, Any]:
    """What tells a server of an earlier command from any other process."""
    return {
        "host": socket.gethostname(),
        "port": port,
        "address": address,
        "guardian": [pid, _start_of(pid)],
        "starter": [os.getpid(), _start_of(os.getpid())],
    }


def _start_of(pid: int) -> float | None:
    """When a process started, None where there is none: an id alone is given again."""
    try:
        process = psutil.Process(pid)
        return process.create_time() if lives(process) else None
    except psutil.Error:
        return None


def end_left_server(path: Path, port: int, command: list[str]) -> None:
    """End the server on `port` that an earlier command left behind, if `path` tells of one."""
    try:
        left = json.loads(read_text(path) or "{}")
        same = left["host"] == socket.gethostname() and left["port"] == port
        (guard, guard_start), (starter, start) = left["guardian"], left["starter"]
    except (ValueError, KeyError, TypeError):
        return
    if not same or _start_of(starter) == start:
        return  # of another machine, or of a command that still runs
    if (
        guard_start is not None and _start_of(guard) == guard_start
    ):  # it is about to end the server; be quick
        with contextlib.suppress(ProcessLookupError):
            os.kill(guard, signal.SIGTERM)
        deadline = time.monotonic() + guardian.GRACE_SECONDS + 5
        while _start_of(guard) == guard_start and time.monotonic() < deadline:
            time.sleep(0.1)
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] == command:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                guardian.end_group(os.getpgid(process.pid))
    log.info("tracking: the server that an earlier command left on port %d was ended", port)
    path.unlink(missing_ok=True)


def _server_command(config: Config, host: str, port: int) -> list[str]:
    served = ["--backend-store-uri", config.tracking.uri, "--serve-artifacts"]
    artifacts = str(Path(config.tracking.artifacts).resolve())
    # MLflow only answers to names it was given, as a defence against DNS rebinding.
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
            f"tracking.port: {port} cannot be used on {host} ({error.strerror}); choose another, "
            f"or type tracking=mlflow tracking.uri=http://{host}:{port} if a server runs there"
        ) from error

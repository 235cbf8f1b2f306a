"""Cases in the browser: a server on this machine alone, of nothing but their pages and volumes."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from zlib_ng import gzip_ng

from unet3d.browser import show_page
from unet3d.errors import ConfigError, DataError, RunError
from unet3d.html import render
from unet3d.viewer.case import read_volumes, shown_case
from unet3d.viewer.cases import ViewCase
from unet3d.viewer.niivue import browser_files, bundle, niivue_page
from unet3d.viewer.page import Link, page

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
KEPT = 3  # cases in memory: this one, and those beside it
HTML, SCRIPT, VOLUME = "text/html; charset=utf-8", "text/javascript", "application/octet-stream"
# Nothing is fetched from anywhere else; NiiVue makes functions and WebAssembly from text.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"


@dataclass(frozen=True)
class Answer:
    """What a request gets. body: compressed by gzip if `packed`."""

    status: int
    kind: str
    body: bytes
    packed: bool = False


class CaseServer(ThreadingHTTPServer):
    """Serves cases below an address with a secret in it; anything else is 404."""

    daemon_threads = True

    def __init__(self, cases: Sequence[ViewCase], port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise RunError(f"port: {port} cannot be listened on ({error.strerror})") from error
        self.cases = cases
        self.root = f"/{secrets.token_urlsafe(16)}"
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.bundle: Path | None = bundle()
        self.kept: dict[int, dict[str, Answer]] = {}  # oldest first
        self.reading = threading.Lock()
        self.links = [
            Link(i, case.name if case.dice is None else f"{case.name}: Dice {case.dice:.4f}")
            for i, case in enumerate(cases)
        ]

    @property
    def address(self) -> str:
        """The page of the first case."""
        return f"http://{HOST}:{self.server_port}{self.root}/0/"

    def answer(self, path: str) -> Answer | None:
        """The page or volume at a path; None for any other path."""
        _, token, *parts = path.split("/")
        if not secrets.compare_digest(f"/{token}".encode(), self.root.encode()):
            return None
        if parts == ["niivue.js"] and self.bundle is not None:
            return Answer(200, SCRIPT, self.bundle.read_bytes())
        if len(parts) == 2 and parts[0].isdecimal() and int(parts[0]) < len(self.cases):
            return self._case(int(parts[0])).get(parts[1])
        return None

    def _case(self, number: int) -> dict[str, Answer]:
        """{"": page, "image.nii": volume, ...} of a case, read once while it is kept."""
        with self.reading:
            found = self.kept.pop(number, None) or self._read(number)
            self.kept[number] = found
            while len(self.kept) > KEPT:
                del self.kept[next(iter(self.kept))]
            return found

    def _read(self, number: int) -> dict[str, Answer]:
        settings = self.cases[number].settings
        try:
            volumes = read_volumes(settings)
            case = shown_case(volumes, settings)
        except (ConfigError, DataError) as error:
            log.error("%s", error)
            text = render("viewer/failed.html", error=str(error), number=number, links=self.links)
            return {"": Answer(500, HTML, text.encode())}
        if self.bundle is None:
            return {"": Answer(200, HTML, page(case, number, self.links).encode())}
        files = {
            f"{name}.nii": Answer(200, VOLUME, gzip_ng.compress(data, 1), packed=True)
            for name, data in browser_files(volumes).items()
        }
        addresses = {name.removesuffix(".nii"): name for name in files}
        text = niivue_page(case, number, self.links, addresses, "../niivue.js")
        return {"": Answer(200, HTML, text.encode()), **files}


class _Handler(BaseHTTPRequestHandler):
    server: CaseServer
    server_version, sys_version = "unet3d", ""

    def do_GET(self) -> None:
        # A page elsewhere that has its own name point to 127.0.0.1 is not served.
        host = self.headers.get("Host", "")
        found = self.server.answer(self.path) if host in self.server.hosts else None
        if found is None:
            self.send_error(404)
            return
        self.send_response(found.status)
        self.send_header("Content-Type", found.kind)
        self.send_header("Content-Length", str(len(found.body)))
        if found.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(found.body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def serve(cases: Sequence[ViewCase], port: int | None) -> None:
    """Show cases in the browser until a signal ends it. Raises RunError for a port in use."""
    with CaseServer(cases, port or 0) as server:
        if server.bundle is None:
            log.info("slices alone; in 3D with NiiVue after: pip install 'unet3d[viewer]'")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            show_page(server.address)
            print("Ctrl-C ends the server", flush=True)
            threading.Event().wait()
        finally:
            server.shutdown()

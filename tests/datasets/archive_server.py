"""A local web server for one archive, which cuts, refuses and stalls on request."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ArchiveServer:
    """content: the file. Each answer takes the next of `cuts` and `statuses`, where one is left."""

    content: bytes
    ranges: bool = True
    etag: str | None = '"1"'
    length: bool = True  # tell Content-Length
    cuts: list[int] = field(default_factory=list)  # bytes after which the connection is closed
    statuses: list[int] = field(default_factory=list)
    silent_at: int | None = None  # byte of the file at which each answer falls silent
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    sent: list[int] = field(default_factory=list)  # bytes of each answer with a body
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def serve(server: ArchiveServer, name: str = "archive.tar") -> Iterator[ArchiveServer]:
    """Answer at `server.url` while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            server.asked.append(self.headers["Range"])
            status = server.statuses.pop(0) if server.statuses else 200
            if status != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(*self._start())

        def _start(self) -> tuple[bytes, int]:
            content = server.content
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            same = self.headers["If-Range"] in (None, server.etag)
            start = int(asked[1]) if asked and same and server.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                last = len(content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
            return content, start

        def _send(self, content: bytes, start: int) -> None:
            if server.etag:
                self.send_header("ETag", server.etag)
            if server.length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + server.cuts.pop(0) if server.cuts else len(content)
            body = content[start:end]
            if server.silent_at is not None:
                body = content[start : server.silent_at]
            server.sent.append(len(body))
            with suppress(ConnectionError):  # of a client that was killed
                self.wfile.write(body)
                self.wfile.flush()
            if server.silent_at is not None:
                server.released.wait(60)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/{name}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        thread.join()
        http.server_close()

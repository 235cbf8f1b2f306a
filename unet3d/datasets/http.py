"""One file over HTTP, into a part file that later attempts and later commands resume."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path

import requests
from requests import exceptions
from rich.filesize import decimal
from urllib3.exceptions import HTTPError, ReadTimeoutError

from unet3d.errors import DataError
from unet3d.files import write_text
from unet3d.progress_bars import bytes_bar

log = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 14  # a kill or a stalled server loses less than one
TRIES = 6  # in a row that bring no new byte
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds; doubled after each failed try
TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two bytes
WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


class Interrupted(requests.ConnectionError):
    """A response that did not bring the whole file; the message says why."""


@dataclass(frozen=True)
class Version:
    """Which version of which file a part file holds, as reported by the server."""

    url: str
    validator: str | None = None  # a strong ETag, else Last-Modified
    size: int | None = None  # bytes of the whole file

    @staticmethod
    def of(part: Path) -> Version | None:
        """The version recorded beside `part`; None where that is missing or unreadable."""
        try:
            return Version(**json.loads(_record_path(part).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def transfer(url: str, part: Path, check_space: Callable[[int, int], None]) -> None:
    """Fetch `url` into `part`, resuming after the bytes of the same version that it holds.

    check_space: called before the transfer with the bytes still missing and those of the whole.
    Raises DataError where the server refuses, or brings no new byte in TRIES tries; `part` then
    keeps what was received.
    """
    furthest, failed = _bytes_of(part), 0
    while True:
        try:
            return _attempt(url, part, check_space)
        except (requests.RequestException, HTTPError) as error:
            reason = _reason(error)
            if _is_final(error):
                raise DataError(f"{url}: {reason}; see data.source.url") from error
        # A server without ranges that fails at the same byte each time makes no progress.
        failed = 0 if _bytes_of(part) > furthest else failed + 1
        furthest = max(furthest, _bytes_of(part))
        if failed == TRIES:
            kept = f"{decimal(_bytes_of(part))} are kept, and " if _bytes_of(part) else ""
            raise DataError(f"{url}: {reason}, {TRIES} times; {kept}repeat the command to resume")
        wait = min(FIRST_WAIT * 2 ** max(0, failed - 1), LONGEST_WAIT)
        log.info("download: %s; trying again in %g s", reason, wait)
        time.sleep(wait)


def _attempt(url: str, part: Path, check_space: Callable[[int, int], None]) -> None:
    """One request, its response appended to `part`."""
    held = Version.of(part)
    have = _bytes_of(part) if held is not None and held.url == url else 0
    if held is not None and have and have == held.size:
        return
    headers = {"Accept-Encoding": "identity"}  # the checksum is of the file as stored
    if held is not None and have:
        headers["Range"] = f"bytes={have}-"
        if held.validator:
            headers["If-Range"] = held.validator
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        start, size = _content_range(response, have)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if have and size == have:
                return
            start = -1
        else:
            response.raise_for_status()
        changed = held is not None and size is not None and held.size not in (None, size)
        if start not in (0, have) or (start and changed):
            part.unlink(missing_ok=True)
            raise Interrupted("the server's data does not continue the part that is here")
        if size:
            check_space(size - start, size)
        if start == 0:
            if have:
                log.info("download: the server starts the file again")
            # First the old bytes, which must not get the record of the new version.
            part.unlink(missing_ok=True)
            write_text(
                _record_path(part), json.dumps(asdict(Version(url, _validator(response), size)))
            )
        elif have:
            log.info("download: resuming after %s", decimal(have))
        with open(part, "ab") as file, bytes_bar("download", size, start) as advance:
            # not iter_content: it would unpack a .tar.gz sent as "Content-Encoding: gzip"
            for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                advance(len(chunk))
    if size is not None and _bytes_of(part) < size:
        raise Interrupted("the connection was cut")


def _content_range(response: requests.Response, have: int) -> tuple[int, int | None]:
    """Where the response's bytes start in the file, -1 if unclear, and the size of the whole."""
    given = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if response.status_code == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    if not given:
        return -1, None
    return int(given[1] or have), None if given[2] == "*" else int(given[2])


def _validator(response: requests.Response) -> str | None:
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):  # If-Range accepts no weak ETag
        return tag
    return response.headers.get("Last-Modified")


def _is_final(error: Exception) -> bool:
    """Whether another try would end in the same way."""
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return error.response.status_code not in WORTH_ANOTHER_TRY
    return isinstance(
        error, exceptions.InvalidURL | exceptions.InvalidSchema | exceptions.TooManyRedirects
    )


def _reason(error: BaseException) -> str:
    """A short reason in place of the long messages of requests and urllib3."""
    if isinstance(error, Interrupted):
        return str(error)
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} ({error.response.reason})"
    if isinstance(error, exceptions.ConnectTimeout):
        return f"no connection within {TIMEOUT[0]:g} s"
    if isinstance(error, exceptions.ReadTimeout | ReadTimeoutError):
        return f"the server was silent for {TIMEOUT[1]:g} s"
    link: BaseException | None = error
    seen: list[BaseException] = []
    while link is not None and link not in seen:  # down to the operating system's reason
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        seen.append(link)
        link = link.__cause__ or link.__context__
    return "the connection was cut" if isinstance(error, HTTPError) else str(error)


def _record_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _bytes_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0

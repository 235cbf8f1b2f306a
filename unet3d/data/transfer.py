"""One file over HTTP, into a part file that later tries and later commands go on with."""

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

from unet3d.data.atomic import write_text
from unet3d.data.bytes_bar import bytes_bar
from unet3d.data.errors import DataError

LOG = logging.getLogger(__name__)
CHUNK = 1 << 14  # bytes; a kill, or a silence, loses less than one
TRIES = 6  # in a row that bring no further byte
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds; doubled from try to try
TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two bytes
WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


class Interrupted(requests.ConnectionError):
    """An answer that did not bring the whole file; the message says why."""


@dataclass(frozen=True)
class Version:
    """Which version of which file a part file holds, as the server told."""

    url: str
    validator: str | None = None  # a strong ETag, else Last-Modified
    size: int | None = None  # bytes of the whole file

    @staticmethod
    def of(part: Path) -> Version | None:
        """What was noted beside `part`; None where that is missing or unreadable."""
        try:
            return Version(**json.loads(_note(part).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def transfer(url: str, part: Path, check_space: Callable[[int, int], None]) -> None:
    """Fetch `url` into `part`, from the bytes on that `part` holds of the same version.

    check_space: called with the bytes that are missing and those of the whole, before they come.
    Raises DataError where the server refuses, or brings no further byte in TRIES tries; `part`
    then keeps what came.
    """
    furthest, failed = _size(part), 0
    while True:
        try:
            return _attempt(url, part, check_space)
        except (requests.RequestException, HTTPError) as error:
            reason = _reason(error)
            if _is_final(error):
                raise DataError(f"{url}: {reason}; see data.source.url") from error
        # A server without ranges that is cut at the same place each time is no progress.
        failed = 0 if _size(part) > furthest else failed + 1
        furthest = max(furthest, _size(part))
        if failed == TRIES:
            kept = f"{decimal(_size(part))} are kept, and " if _size(part) else ""
            raise DataError(f"{url}: {reason}, {TRIES} times; {kept}the same command goes on")
        wait = min(FIRST_WAIT * 2 ** max(0, failed - 1), LONGEST_WAIT)
        LOG.info("download: %s; trying again in %g s", reason, wait)
        time.sleep(wait)


def _attempt(url: str, part: Path, check_space: Callable[[int, int], None]) -> None:
    """One request, and its answer appended to `part`."""
    held = Version.of(part)
    have = _size(part) if held is not None and held.url == url else 0
    if held is not None and have and have == held.size:
        return
    headers = {"Accept-Encoding": "identity"}  # the checksum is that of the file as it is
    if held is not None and have:
        headers["Range"] = f"bytes={have}-"
        if held.validator:
            headers["If-Range"] = held.validator
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        start, size = _extent(answer, have)
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if have and size == have:
                return
            start = -1
        else:
            answer.raise_for_status()
        changed = held is not None and size is not None and held.size not in (None, size)
        if start not in (0, have) or (start and changed):
            part.unlink(missing_ok=True)
            raise Interrupted("what the server sends does not follow on what is here")
        if size:
            check_space(size - start, size)
        if start == 0:
            if have:
                LOG.info("download: the server sends the file from its beginning")
            part.unlink(missing_ok=True)  # first: old bytes must not get the new version's note
            write_text(_note(part), json.dumps(asdict(Version(url, _validator(answer), size))))
        elif have:
            LOG.info("download: going on after %s", decimal(have))
        with open(part, "ab") as file, bytes_bar("download", size, start) as advance:
            # not iter_content: it unpacks a .tar.gz that is sent as "Content-Encoding: gzip"
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                advance(len(chunk))
    if size is not None and _size(part) < size:
        raise Interrupted("the connection was cut")


def _extent(answer: requests.Response, have: int) -> tuple[int, int | None]:
    """Where the answer's bytes begin in the file, -1 if unclear, and the size of the whole."""
    told = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", "").strip()
    )
    if answer.status_code == HTTPStatus.OK:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    if not told:
        return -1, None
    return int(told[1] or have), None if told[2] == "*" else int(told[2])


def _validator(answer: requests.Response) -> str | None:
    tag = answer.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):  # If-Range takes no weak one
        return tag
    return answer.headers.get("Last-Modified")


def _is_final(error: Exception) -> bool:
    """Whether another try would end in the same way."""
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return error.response.status_code not in WORTH_ANOTHER_TRY
    return isinstance(
        error, exceptions.InvalidURL | exceptions.InvalidSchema | exceptions.TooManyRedirects
    )


def _reason(error: BaseException) -> str:
    """A few words for what requests and urllib3 say in many."""
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
    while link is not None and link not in seen:  # down to what the system said
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        seen.append(link)
        link = link.__cause__ or link.__context__
    return "the connection was cut" if isinstance(error, HTTPError) else str(error)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0

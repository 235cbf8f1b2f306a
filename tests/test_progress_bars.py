"""Progress without a terminal: a log line now and then, in place of a bar."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from unet3d import progress_bars
from unet3d.progress_bars import bytes_bar, case_bar, epoch_bar


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "unet3d"):
        yield caplog


def test_cases_are_counted_in_lines_that_keep_a_distance(
    heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick cases print nothing; a slow one prints how many are done."""
    now = [0.0]
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: now[0])
    with case_bar("preprocessing", 4) as advance:
        advance()
        now[0] = 31.0
        advance()
        now[0] = 60.0
        advance()
        now[0] = 62.0
        advance()
    assert heard.messages == [
        "data: preprocessing, 2 of 4 cases done",
        "data: preprocessing, 4 of 4 cases done",
    ]


def test_a_hidden_bar_prints_nothing(
    heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a job count in silence."""
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", -1.0)
    with case_bar("preprocessing", 1, shown=False) as advance:
        advance()
    assert heard.messages == []


def test_bytes_are_counted_in_tenths_after_an_earlier_try(heard: pytest.LogCaptureFixture) -> None:
    """A line each time a tenth is full, however the bytes arrive; none for those held before."""
    with bytes_bar("download", 1000, done=150) as advance:
        for count in (40, 20, 400):
            advance(count)
    assert heard.messages == ["download: 210 bytes of 1.0 kB", "download: 610 bytes of 1.0 kB"]


def test_bytes_of_an_unknown_whole_are_counted_in_steps(
    heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server need not say how large its file is."""
    monkeypatch.setattr(progress_bars, "LINE_BYTES", 100)
    with bytes_bar("download", None) as advance:
        for count in (60, 60, 60):
            advance(count)
    assert heard.messages == ["download: 120 bytes"]


def test_an_epoch_bar_needs_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log file there is no bar, and the calls of the loop still work."""
    with epoch_bar(1, 2, steps=3, done=1) as update:
        update(2, 0.5, 0.25)
        update(3, 0.4, 0.5)
    assert capsys.readouterr().out.strip() == ""

"""Log lines reach the console and train.log, once; TensorFlow's start-up lines do not."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from unet3d import logs
from unet3d.logs import collect_lines, log_to_console, log_to_file, quiet_start
from unet3d.progress_bars import StepBar

log = logging.getLogger("unet3d.some.module")


@pytest.fixture(autouse=True)
def former_handlers() -> Iterator[None]:
    """Each test leaves the project's logger as it was."""
    handlers, level, propagate = logs.ROOT.handlers[:], logs.ROOT.level, logs.ROOT.propagate
    logs.ROOT.handlers = []
    yield
    logs.ROOT.handlers, logs.ROOT.level, logs.ROOT.propagate = handlers, level, propagate


def test_the_console_shows_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also after a second call, which a command and its training both make."""
    log_to_console()
    log_to_console()
    log.info("epoch %d", 1)
    log.debug("hidden")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].endswith(" epoch 1")


def test_a_run_appends_to_its_own_log(tmp_path: Path) -> None:
    """With the level, while the block runs, also after an earlier attempt."""
    logs.ROOT.setLevel(logging.INFO)
    before = list(logs.ROOT.handlers)
    for attempt in (1, 2):
        with log_to_file(tmp_path / "train.log"):
            log.warning("attempt %d", attempt)
        log.info("after the run")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "WARNING attempt 1",
        "WARNING attempt 2",
    ]
    assert logs.ROOT.handlers == before


def test_lines_are_collected_for_another_process() -> None:
    """Level and text, with the arguments filled in, of the block alone."""
    with collect_lines() as lines:
        log.info("case %s", "a")
        log.error("case %s", "b")
    log.info("later")
    assert lines == [(logging.INFO, "case a"), (logging.ERROR, "case b")]


NOISY = """
import os, sys
from unet3d.logs import quiet_start
with quiet_start():
    os.write(2, b"from C++\\n")
    if sys.argv[1] == "fail":
        raise SystemExit("it failed")
os.write(2, b"later\\n")
"""


def stderr(how: str, **environment: str) -> str:
    command = [sys.executable, "-c", NOISY, how]
    variables = {**os.environ, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True).stderr


def test_start_up_lines_are_shown_only_if_the_start_fails() -> None:
    """They are what a user needs to see then, and on request."""
    assert stderr("go", TF_CPP_MIN_LOG_LEVEL="2") == "later\n"
    assert "from C++\nit failed" in stderr("fail", TF_CPP_MIN_LOG_LEVEL="2")
    assert stderr("go", TF_CPP_MIN_LOG_LEVEL="0") == "from C++\nlater\n"


def test_a_quiet_start_gives_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    """A second start in the same process is as quiet, and what comes after is shown."""
    for _ in range(2):
        with quiet_start():
            os.write(2, b"hidden\n")
        os.write(2, b"shown\n")
    assert capfd.readouterr().err == "shown\nshown\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_beside_a_bar_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nodes above 1 the bar is drawn all along; a log line stands above it, not behind it."""
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    log_to_console()
    with StepBar(Console(file=terminal, force_terminal=True, width=80)) as bar:
        bar.show("epoch 1/2", 3, 4)
        bar.progress.refresh()
        logging.getLogger("unet3d.test").warning("worker 1 was lost [soon]")
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    (line,) = [one for one in written.split("\n") if "was lost" in one]
    assert re.fullmatch(r"[0-9:]{8} worker 1 was lost \[soon\]", line.split("\r")[-1].rstrip())


def test_a_file_gets_the_lines_while_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.py > log` with a bar on the terminal of stderr: the log has them all."""
    file, terminal = io.StringIO(), _Terminal()
    monkeypatch.setattr(sys, "stdout", file)
    log_to_console()
    with StepBar(Console(file=terminal, force_terminal=True, width=80)):
        logging.getLogger("unet3d.test").warning("worker 1 was lost")
    assert "worker 1 was lost" in file.getvalue() and "was lost" not in terminal.getvalue()

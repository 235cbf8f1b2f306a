"""What holds for all tests: they compute on the CPU, and leave no log handler behind.

A handler's stream ends with its test. A GPU would compute in TF32, and belong to one process.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from unet3d import machine

if machine.nvidia_cards():
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
# As for a user, what a test starts writes byte code, and need not compile the package each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Ray reads it once a process: a test that set it would decide for those after it. Without it the
# file of a token, which any cluster may have left, would.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
machine.collect_rarely()
# They start processes that wait for each other: a machine that stands still for a minute fails one.
WITH_PROCESSES = ("e2e", "faults", "rig")
RIG = "tests/rig/"
LOGGERS = (logging.getLogger(), logging.getLogger("unet3d"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A second attempt, which the summary counts as a rerun, for tests of real processes alone."""
    for item in items:
        random = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if item.path.parent.name in WITH_PROCESSES and not random:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file stay together, and all of the rig: a machine has one at a time."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return RIG if file.startswith(RIG) else file

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Why a first attempt failed, which a second one that passes would hide."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_sep("_", f"first attempt of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def pytest_sessionfinish() -> None:
    """End what a test has left: Python would wait for it, and the run would never end."""
    for child in multiprocessing.active_children():
        child.kill()


@pytest.fixture(autouse=True)
def sighup() -> Iterator[None]:
    """Not ignored, as it is where the tests run under nohup, and in what they start."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.fixture(autouse=True)
def log_handlers() -> Iterator[None]:
    """Handlers that commands, Ray or MLflow add in a test go with it; pytest's own stay."""
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in LOGGERS]
    yield
    for logger, handlers, level, propagate in before:
        for handler in logger.handlers[:]:
            if handler not in handlers and not type(handler).__module__.startswith("_pytest."):
                logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate

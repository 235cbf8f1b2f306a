"""How a run ends other than by finishing, and what an error says in a line."""

from __future__ import annotations

LINE = 200  # characters that are kept of a line of another library


class RunError(RuntimeError):
    """A run that cannot start or go on; the message says why and what to type."""


class StorageError(RunError):
    """A folder of the run that cannot be written; the message says what to do about it."""


class RunStopped(BaseException):
    """A run that was asked to stop and has saved its state; the message says how to go on.

    Signal handlers raise it anywhere, so it passes every `except Exception`, as KeyboardInterrupt
    does.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class TrialPruned(RunStopped):
    """A sweep has stopped a trial that fell behind; what it has reached counts as its result."""


class TrialRegrouped(RunStopped):
    """A sweep's trial that has ended an epoch, to go on at once with more or fewer devices."""


class ConfigError(ValueError):
    """A setting that cannot work; the message names the key, the value and what is allowed."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file, the reason and what to do."""


FINAL_ERRORS = (ConfigError, DataError, RunError)  # that come again however often a run is tried


def in_a_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:LINE]}" if lines else type(error).__name__

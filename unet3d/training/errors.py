"""How a run ends other than by finishing."""


class RunError(RuntimeError):
    """A run that cannot start or go on; the message says why and what to type."""


class RunStopped(RunError):
    """A run that was asked to stop and has saved its state; the message says how to go on."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class GivenUp(RunStopped):
    """A sweep has stopped a trial that fell behind; what it has reached counts as its result."""

"""Where errors end: one line on stderr and exit code 2 for what the user can mend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from unet3d.errors import ConfigError

STOPPED = "stopped at once; the last checkpoint is kept"


def guarded(call: Callable[[], Any], stopped: str = STOPPED) -> Any:
    """Call; an error that the user can mend becomes one line on stderr and exit code 2.

    stopped: the line for a signal that the call does not handle, with its exit code.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from unet3d.config.messages import below_null, explain
    from unet3d.disk import disk_problem
    from unet3d.distributed.stop import ignore_signals, stopped_by_signals
    from unet3d.errors import DataError, RunError, RunStopped

    try:
        with stopped_by_signals(stopped):
            return call()
    except RunStopped as ended:
        ignore_signals()  # while the interpreter ends, which takes a second with Ray
        print(ended, file=sys.stderr)
        sys.exit(ended.exit_code)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        sys.exit(130)
    except (ConfigError, DataError, RunError) as error:
        sys.exit(fail(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(fail(explain(error)))
    except MemoryError as error:
        sys.exit(fail(f"not enough memory ({error or 'MemoryError'}); free some, or choose less"))
    except AssertionError as error:
        if not below_null(error):
            raise
        sys.exit(fail("data.phantom is of data=phantom; with another data set it has no settings"))
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        sys.exit(fail(problem))


def fail(message: str) -> int:
    """Print the error; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return 2

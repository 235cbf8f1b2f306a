"""What the training of this process does and how far it is, for those who watch from outside.

A thread that answers is no proof: a training that waits for ever in a collective, on a network disk
or for a GPU leaves all other threads of its process alive.
"""

from __future__ import annotations

import sys
import threading
import traceback
from dataclasses import dataclass, replace
from math import inf

DATA = "preparing data"  # which may take hours, as a copy to the node's disk does
SET_UP = "setting up"
FIRST_STEP = "its first step"  # which compiles
STEP = "a step"
VALIDATION = "validation"
SAVING = "saving"
SLOWER = 6.0  # how much longer than a step all but preparing data may take
AT_LEAST = 1800.0  # seconds that all but a step get in any case


@dataclass(frozen=True)
class Progress:
    """phase: what is being done; moves: grows with whatever is done; steps: finished so far.

    stage: grows with each step and each change of phase, which all workers of a training go through
    alike; moves do not compare them, as one may have more cases to validate than another.
    """

    phase: str = DATA
    moves: int = 0
    steps: int = 0
    stage: int = 0

    def allowed(self, step_timeout: float) -> float:
        """Seconds that may pass without a move, where a step may take `step_timeout`."""
        if self.phase == DATA:
            return inf
        return step_timeout if self.phase == STEP else max(SLOWER * step_timeout, AT_LEAST)


_now = Progress()
_thread = threading.main_thread().ident


def begin_progress() -> None:
    """Another training begins, in the thread that calls."""
    global _now, _thread
    _now, _thread = Progress(moves=_now.moves + 1), threading.get_ident()


def begin(phase: str) -> None:
    """The training goes on with `phase`, or has come further in it."""
    global _now
    stage = _now.stage + (phase != _now.phase)
    _now = replace(_now, phase=phase, moves=_now.moves + 1, stage=stage)


def step_done() -> None:
    """A step has ended, and the next begins."""
    global _now
    _now = Progress(STEP, _now.moves + 1, _now.steps + 1, _now.stage + 1)


def progress() -> Progress:
    """How far the training of this process is."""
    return _now


def position() -> str:
    """The line of this package that the training is in, as "training/loop.py:12 run_epoch"."""
    frame = sys._current_frames().get(_thread or 0)
    for one in reversed(traceback.extract_stack(frame)) if frame else ():
        _, found, path = one.filename.rpartition("unet3d/")
        if found:
            return f"{path}:{one.lineno} {one.name}"
    return ""

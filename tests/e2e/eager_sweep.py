"""sweep.py in which a trial grows for any gain, as trials of seconds would not otherwise."""

from __future__ import annotations

import runpy
import sys

from tests import REPOSITORY
from unet3d.planning import grow

if __name__ == "__main__":
    grow.MARGIN, grow.ASSUMED_SECONDS = 0.0, 0.0
    program = REPOSITORY / "sweep.py"
    sys.argv[0] = str(program)
    runpy.run_path(str(program), run_name="__main__")

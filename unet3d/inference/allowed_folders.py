"""Which scans a served model may read: requests name files of the server's machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from unet3d.datasets.image_files import NIFTI_SUFFIXES
from unet3d.errors import DataError

FOLDERS = "UNET3D_SCAN_FOLDERS"  # a list as PATH is one
SERVER = "mlflow.pyfunc.scoring_server.app"  # loaded by `mlflow models serve`


def check_allowed(paths: Iterable[Path]) -> None:
    """Raise DataError for a file that may not be read; links count as what they lead to.

    A program that loads the model reads what it likes, unless the variable is set. A server reads
    nothing until it is. Files whose voxels lie in another file, which that names, are refused.
    """
    named = os.environ.get(FOLDERS)
    if named is None:
        if SERVER not in sys.modules:
            return
        raise DataError(f"input: no folder is allowed; start the server with {FOLDERS}=<folders>")
    allowed = [Path(folder).resolve() for folder in named.split(os.pathsep) if folder]
    for path in paths:
        real = path.resolve()
        if not any(real.is_relative_to(folder) for folder in allowed):
            raise DataError(f"input: {path} is not below a folder of {FOLDERS}")
        if real.is_file() and not real.name.endswith(NIFTI_SUFFIXES):
            raise DataError(f"input: {path} is not one of {', '.join(NIFTI_SUFFIXES)}")

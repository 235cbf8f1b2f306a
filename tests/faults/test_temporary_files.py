"""What a killed process leaves behind is nothing, or is removed by the next start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import REPOSITORY
from tests.e2e.commands import start, wait_for
from tests.faults.mounts import remount, small_disk
from unet3d.distributed.job_folder import temporary_job_folder


def test_a_killed_training_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    """TensorFlow writes a file for each function it converts, so none is converted."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = start(tmp_path, "epochs=99", "tracking=none", "augment=full", TMPDIR=str(temporary))
    wait_for(tmp_path, "epoch 1/99", process)
    process.kill()
    process.wait()
    assert [path.name for path in temporary.iterdir() if path.suffix == ".py"] == []


def test_the_folder_of_a_killed_job_goes_at_the_next_start(tmp_path: Path) -> None:
    """That of a job that runs stays."""
    code = (
        "import os, sys; from unet3d.distributed.job_folder import temporary_job_folder as job\n"
        "with job(sys.argv[1]) as folder: folder.announce_run('abc'); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False)
    (left,) = (tmp_path / ".jobs").iterdir()
    with temporary_job_folder(tmp_path) as first, temporary_job_folder(tmp_path) as second:
        assert not left.exists()
        assert first.path.is_dir() and second.path.is_dir()
    assert list((tmp_path / ".jobs").iterdir()) == []


def test_a_read_only_image_without_a_home_compiles_its_kernels(tmp_path: Path) -> None:
    """numba finds no folder of its own for them: a temporary one of the user is taken."""
    code = "from unet3d.sampling import augment_kernels as kernels; print(kernels.__file__)"
    code += "; import numpy as np; kernels.inner_range(np.ones(3), np.zeros(3), 4, (4, 4, 4))"
    with small_disk(tmp_path / "image", "8m") as image:
        package = image / "unet3d"
        (package / "sampling").mkdir(parents=True)
        for name in ("__init__.py", "sampling/__init__.py", "sampling/augment_kernels.py"):
            shutil.copy(REPOSITORY / "unet3d" / name, package / name)
        remount(image, "ro")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "NUMBA_"))}
        places = {"HOME": str(image), "TMPDIR": str(tmp_path), "PYTHONPATH": str(image)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**clean, **places},
            cwd=image,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(package / "sampling" / "augment_kernels.py")
    assert list(tmp_path.glob("unet3d-kernels-*/**/*.nbc"))

"""A step that does not fit is one line that says what to lower."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d.distributed.job_folder import JobFolder
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import RunError
from unet3d.training import loop
from unet3d.training.memory import memory_errors
from unet3d.training.run import run_training


def real_error(*_: object) -> None:
    """TensorFlow's, of a tensor of 128 TB."""
    tf.zeros([1 << 45])


@pytest.mark.parametrize(
    ("accumulate", "replicas", "advice"),
    [
        (1, 1, "with 6 at once of patch 32x32x16; type accumulate=2, which computes the same of 3"),
        (1, 2, "with 3 at once of patch 32x32x16; type accumulate=3, which computes the same of 1"),
        (3, 2, "with 1 at once of patch 32x32x16; try a smaller data.patch, batch_size or model"),
    ],
)
def test_the_line_says_what_to_type(
    tmp_path: Path, accumulate: int, replicas: int, advice: str
) -> None:
    """A larger accumulate changes nothing but the memory; it must divide what is there."""
    shape = ("batch_size=6", "data.patch=[32,32,16]", f"accumulate={accumulate}")
    with (
        pytest.raises(RunError, match="out of memory on CPU") as caught,
        memory_errors(small_config(tmp_path, *shape), "CPU", replicas),
    ):
        real_error()
    assert advice in str(caught.value) and "OOM when allocating tensor" in str(caught.value)


def test_a_run_that_does_not_fit_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a RunError, which neither a job nor a sweep tries again."""
    monkeypatch.setattr(loop, "make_train_step", lambda *_, **options: real_error)
    folder = tmp_path / "job"
    folder.mkdir()
    worker = WorkerContext(job_folder=JobFolder(folder))
    with pytest.raises(RunError, match="out of memory on CPU, with .* at once of patch"):
        run_training(small_config(tmp_path), worker)

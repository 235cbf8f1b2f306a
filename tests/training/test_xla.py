"""xla=auto follows from the settings and the device, and never breaks a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from tests.small import small_config
from unet3d import machine
from unet3d.errors import ConfigError
from unet3d.training import xla
from unet3d.training.xla import WORTH_STEPS, uses_xla


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has a GPU; XLA compiles for the CPU."""
    monkeypatch.setattr(machine, "opened_gpus", lambda: ["GPU:0"])


def test_auto_is_off_on_a_cpu(tmp_path: Path) -> None:
    """There a step compiled by XLA is several times slower."""
    assert not uses_xla(small_config(tmp_path), 10**6, 1)
    assert uses_xla(small_config(tmp_path, "xla=on"), 1, 1)


@pytest.mark.parametrize(
    ("settings", "steps", "replicas", "expected"),
    [
        ((), WORTH_STEPS, 1, True),
        ((), WORTH_STEPS - 1, 1, False),
        (("xla=off",), WORTH_STEPS, 1, False),
        (("deterministic=true",), WORTH_STEPS, 1, False),
        (("model.norm=sync_batch",), WORTH_STEPS, 1, True),
        (("model.norm=sync_batch",), WORTH_STEPS, 2, False),
        (("model.norm=batch",), WORTH_STEPS, 2, True),
    ],
)
def test_auto_on_a_gpu(
    gpu: None,
    tmp_path: Path,
    settings: tuple[str, ...],
    steps: int,
    replicas: int,
    expected: bool,
) -> None:
    """Where the steps are worth the compilation, and nothing is exchanged within them."""
    assert uses_xla(small_config(tmp_path, *settings), steps, replicas) is expected


def test_exchanges_within_the_step_cannot_be_compiled(tmp_path: Path) -> None:
    config = small_config(tmp_path, "xla=on", "model.norm=sync_batch")
    with pytest.raises(ConfigError, match="choose xla=off"):
        uses_xla(config, 1, 2)


def test_auto_goes_without_what_does_not_compile(
    gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine without CUDA's ptxas and libdevice: a warning with XLA's reason."""

    def broken(function: object = None, **options: object) -> object:
        def call(*arguments: object) -> None:
            raise tf.errors.InternalError(None, None, "libdevice not found\nat ./libdevice.10.bc")

        return lambda function: call

    monkeypatch.setattr(xla.tf, "function", broken)
    assert not uses_xla(small_config(tmp_path), WORTH_STEPS, 1)
    assert "cannot compile here (InternalError: libdevice not found); the step goes" in caplog.text

"""What `unet3d doctor` says of GPUs."""

from __future__ import annotations

import re

import pytest

from tests.gpus import PretendedGpus, driver_of
from unet3d import machine
from unet3d.doctor.gpus import gpu_rows


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """None that change what is said."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_CACHE_PATH", "CUDA_CACHE_DISABLE"):
        monkeypatch.delenv(name, raising=False)


def test_gpus_of_two_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Capability, driver, TensorFlow's CUDA and cuDNN; which kernels are compiled, kept where."""
    monkeypatch.setenv("CUDA_CACHE_PATH", "/scratch/cache")
    PretendedGpus(2, driver_of((80.0, (10, 0)), (40.0, (8, 0))), cards=2).put_in_place(monkeypatch)
    rows = list(gpu_rows())
    shown = dict(rows)
    assert shown["GPU:0"] == "NVIDIA GPU:0, 80.0 GB, compute capability 10.0"
    assert shown["GPU:1"].endswith("compute capability 8.0")
    assert shown["driver"] == "550.54.15, serves CUDA up to 12.8"
    assert "is built for CUDA 12.5.1, cuDNN 9; sm_60, sm_80" in shown["TensorFlow's"]
    native, compiled = [value for name, value in rows if name == "kernels"]
    assert native == "native for 8.0"
    assert compiled.startswith(
        "compiled for 10.0 at the first start, which may take minutes; kept in"
    )
    assert " in /scratch/cache (CUDA_CACHE_PATH); CUDA_CACHE_MAXSIZE=" in compiled
    assert "GPUs" not in shown and "older" not in compiled


def test_an_old_driver_and_a_cache_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both make a first start slow again and again, or impossible."""
    monkeypatch.setenv("CUDA_CACHE_DISABLE", "1")
    driver = driver_of((80.0, (10, 0)), cuda=(12, 2))
    PretendedGpus(1, driver, cards=1).put_in_place(monkeypatch)
    kernels = dict(gpu_rows())["kernels"]
    assert "not kept, as CUDA_CACHE_DISABLE is set" in kernels
    assert kernels.endswith("the driver is older than they are and may refuse: install a newer one")


@pytest.mark.parametrize(
    ("pretended", "granted", "expected"),
    [
        (PretendedGpus(), None, "none by NVIDIA in this machine"),
        (
            PretendedGpus(cards=1, driver=machine.Driver(problem="no driver")),
            None,
            "TensorFlow can use none: no driver; start the run where",
        ),
        (PretendedGpus(), "0", "TensorFlow can use none: the NVIDIA driver shows no GPU; see"),
        (
            PretendedGpus(cards=1, driver=driver_of((8.0, (5, 2)))),
            None,
            "TensorFlow can use none: TensorFlow .* has no kernels for compute capability 5.2",
        ),
    ],
)
def test_what_keeps_tensorflow_from_a_gpu(
    monkeypatch: pytest.MonkeyPatch, pretended: PretendedGpus, granted: str | None, expected: str
) -> None:
    """The reason and the fix that a run would end with."""
    pretended.put_in_place(monkeypatch)
    if granted is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", granted)
    assert re.match(expected, dict(gpu_rows())["GPUs"])

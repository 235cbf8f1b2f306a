"""A GPU that was granted is used, or the run ends before any work; which GPUs a run opens."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from tests.e2e.commands import train
from tests.gpus import PretendedGpus, driver_of, pretending
from tests.small import small_config
from unet3d import machine
from unet3d.distributed import gpus
from unet3d.distributed.gpus import Grant, check_gpus, granted_gpus, kernels, open_own_gpus
from unet3d.errors import ConfigError, RunError

HERE = socket.gethostname()


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of those that grant GPUs; one that is set meanwhile is gone afterwards."""
    for name in (gpus.VISIBLE, *gpus.SLURM):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 0),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0),  # Slurm's word for none
        ({"CUDA_VISIBLE_DEVICES": "0,2"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937,MIG-4f/1/0"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_GPUS": "0,1"}, 0),
        ({"SLURM_JOB_GPUS": "0,2-3"}, 3),
        ({"SLURM_STEP_GPUS": "1", "SLURM_JOB_GPUS": "0,1"}, 1),
        ({"SLURM_GPUS_ON_NODE": "4"}, 4),
        ({"SLURM_JOB_GPUS": "", "SLURM_GPUS_ON_NODE": "none"}, 0),
    ],
)
def test_what_was_granted(variables: dict[str, str], expected: int) -> None:
    """CUDA_VISIBLE_DEVICES, which Ray and Slurm set, goes before Slurm's own variables."""
    grant = granted_gpus(variables)
    assert (grant.count if grant else 0) == expected


def test_the_source_is_told() -> None:
    """In words that the user can look for."""
    assert granted_gpus({"SLURM_JOB_GPUS": "0,1"}) == Grant(2, "SLURM_JOB_GPUS=0,1")


H100 = (80.0, (9, 0))


@pytest.mark.parametrize(
    ("pretended", "visible", "reason"),
    [
        (PretendedGpus(driver=machine.Driver(problem="no driver")), "0", "none: no driver; start"),
        (PretendedGpus(driver=driver_of()), "0", "none: the NVIDIA driver shows no GPU; see `nvi"),
        (PretendedGpus(1, driver_of(H100)), "0,1", "use 1: the NVIDIA driver shows a GPU; see"),
        (
            PretendedGpus(driver=driver_of(H100), build={"is_cuda_build": False}),
            "0",
            "none: TensorFlow .* is built without CUDA; pip install -e '.\\[gpu\\]'",
        ),
        (
            PretendedGpus(driver=driver_of(H100, cuda=(11, 4))),
            "0",
            "none: the NVIDIA driver serves CUDA 11.4 at most, and .* needs 12.5; install a newer",
        ),
        (
            PretendedGpus(driver=driver_of((8.0, (5, 2)))),
            "0",
            "no kernels for compute capability 5.2 .it has sm_60, .*; use another GPU",
        ),
        (
            PretendedGpus(driver=driver_of(H100)),
            "0",
            "none: cuDNN and other libraries are missing; pip install -e '.\\[gpu\\]'",
        ),
    ],
)
def test_a_granted_gpu_that_cannot_be_used_ends_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pretended: PretendedGpus,
    visible: str,
    reason: str,
) -> None:
    """One line: node, who granted it, reason, fix; with the setting that trains on the CPU."""
    pretended.put_in_place(monkeypatch)
    monkeypatch.setattr(gpus, "_has_library", lambda *_: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(RunError) as caught:
        check_gpus(small_config(tmp_path))
    caught.match(rf"^parallel: node {HERE} was granted .* \(CUDA_VISIBLE_DEVICES={visible}\)")
    caught.match(f"and TensorFlow can {'' if reason.startswith('use') else '.*'}{reason}")
    caught.match("or type parallel.gpus_per_node=0 to train on the CPU$")
    assert "\n" not in str(caught.value)


def test_the_reason_where_nothing_seems_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow's own log knows more."""
    PretendedGpus(driver=driver_of(H100)).put_in_place(monkeypatch)
    monkeypatch.setattr(gpus, "_has_library", lambda *_: True)
    assert gpus.gpu_problem()[1].startswith("TF_CPP_MIN_LOG_LEVEL=0")


def test_gpus_that_can_be_used_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As many as were granted, or more; also where nobody granted them."""
    PretendedGpus(4, driver_of(*[H100] * 4), cards=4).put_in_place(monkeypatch)
    check_gpus(small_config(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    check_gpus(small_config(tmp_path))
    assert not caplog.records


def test_a_card_that_nobody_granted_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on; hidden GPUs are meant."""
    monkeypatch.setattr(logging.getLogger("unet3d"), "propagate", True)
    driver = machine.Driver(problem="there is no NVIDIA driver")
    PretendedGpus(cards=1, driver=driver).put_in_place(monkeypatch)
    check_gpus(small_config(tmp_path))
    assert f"node {HERE} has an NVIDIA GPU, and the run trains on the CPU: there" in caplog.text
    caplog.clear()
    check_gpus(small_config(tmp_path, "parallel.gpus_per_node=0"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    check_gpus(small_config(tmp_path))
    assert not caplog.records


@pytest.mark.parametrize(
    "off", ["parallel.gpus_per_node=0", "parallel=experiment parallel.gpus_per_trial=0"]
)
def test_settings_hide_what_was_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    """Training on the CPU is then what was asked for."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    check_gpus(small_config(tmp_path, *off.split()))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and granted_gpus() is None


@pytest.mark.parametrize(
    ("overrides", "workers", "opened"),
    [
        (["parallel=none"], 1, (1, None)),
        (["parallel=experiment"], 1, (1, None)),
        (["parallel=data"], 1, (4, None)),
        (["parallel=data", "parallel.devices=2"], 1, (2, None)),
        (["parallel=data", "parallel.gpus_per_node=3"], 1, (3, None)),
        (["parallel=data", "nodes=2"], 2, (4, None)),
        (["parallel=data", "nodes=2", "parallel.gpus_per_node=1"], 2, (1, None)),
        (["parallel=experiment", "parallel.gpus_per_trial=0.5"], 1, (1, 0.5)),
        (["parallel=experiment", "parallel.gpus_per_trial=1"], 1, (1, None)),
        (["parallel=none", "parallel.gpus_per_trial=0.5"], 1, (1, None)),
    ],
)
def test_a_run_opens_its_gpus_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    workers: int,
    opened: tuple[int, float | None],
) -> None:
    """One without replicas leaves the others free; trials that share one have each its memory."""
    pretended = PretendedGpus(4, driver_of(*[(40.0, (8, 0))] * 4)).put_in_place(monkeypatch)
    config = small_config(tmp_path, "batch_size=12", *overrides)
    assert len(open_own_gpus(config, workers)) == opened[0]
    count, share = opened
    limit = None if share is None else pytest.approx(40e9 * share * gpus.LIMIT_SHARE)
    assert pretended.opened == [(count, limit)]


def test_a_part_of_a_gpu_of_unknown_memory_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No limit could be set."""
    PretendedGpus(1).put_in_place(monkeypatch)
    config = small_config(tmp_path, "parallel=experiment", "parallel.gpus_per_trial=0.5")
    with pytest.raises(ConfigError, match="parallel.gpus_per_trial: the driver does not tell"):
        open_own_gpus(config, 1)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((8, 0), "native"),
        ((8, 6), "native"),  # by sm_80
        ((7, 5), "none"),
        ((9, 0), "native"),  # seen on an H100, with the PTX taken out
        ((10, 0), "compiled"),
        ((12, 0), "compiled"),
        ((5, 2), "none"),
    ],
)
def test_where_kernels_come_from(capability: tuple[int, int], expected: str) -> None:
    """Machine code is for one major version, PTX for all that follow."""
    assert kernels(capability, ["sm_60", "sm_80", "sm_89", "compute_90"]) == expected


def test_tensorflow_opens_what_is_asked_for(tmp_path: Path) -> None:
    """Without GPUs, and a second time in one process, as in a worker of a sweep."""
    if machine.tensorflow_gpus():
        pytest.skip("this machine has a GPU")
    for _ in range(2):
        machine.open_gpus([])
    assert machine.opened_gpus() == [] and machine.gpu_memory_in_use() == 0


def test_train_ends_before_any_work(tmp_path: Path) -> None:
    """The real command: no data is generated, no run is made, and one line says why."""
    if machine.cuda_driver().gpus:
        pytest.skip("this machine has a GPU")
    code, told = train(tmp_path, CUDA_VISIBLE_DEVICES="0")
    assert code == 2 and told.count("\n") == 1, told
    assert f"node {HERE} was granted a GPU (CUDA_VISIBLE_DEVICES=0), and TensorFlow can" in told
    assert "there is no NVIDIA driver" in told
    assert not list((tmp_path / "outputs").glob("*"))


def test_train_with_gpus_that_work(tmp_path: Path) -> None:
    """With four granted, parallel=none opens one, and the log says what stays free."""
    variables = {"CUDA_VISIBLE_DEVICES": "0,1,2,3", **pretending(tmp_path)}
    code, told = train(tmp_path, "tracking=none", **variables)
    assert code == 0 and "the run uses 1 of 4 GPUs; parallel=data uses all of them" in told, told
    assert (tmp_path / "opened").read_text() == "0,1,2,3 1 None\n"

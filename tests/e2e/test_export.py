"""`unet3d export` as a user types it, on a run of train.py; what it writes, read by others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from mlflow import MlflowClient

from tests import REPOSITORY
from tests.e2e.commands import only_run, run
from unet3d.datasets.decathlon import read_decathlon

SETTINGS = ("epochs=2", "steps_per_epoch=20", "lr=1e-2", "tracking.system_metrics=false")


@dataclass(frozen=True)
class Exported:
    """A folder with outputs/, a run in it, all its exports, and a scan it was trained on."""

    folder: Path
    run: str
    models: Path
    told: str
    scan: Path


def unet3d(folder: Path, *arguments: str, python: tuple[str, ...] = ()) -> tuple[int, str]:
    """The `unet3d` command. python: instead of the module, as -c and code."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *(python or ("-m", "unet3d.cli")), *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    code, told = run(folder, *SETTINGS)
    assert code == 0, told
    run_id = only_run(folder).name
    code, told = unet3d(
        folder, "export", f"run={run_id}", "output=models", "format=all", "register=phantom"
    )
    assert code == 0 and "Traceback" not in told, told
    dataset = read_decathlon(folder / "outputs" / "phantom_smoke")
    scan = dataset.file(dataset.cases[0].images[0])
    return Exported(folder, run_id, folder / "models", told, scan)


@pytest.fixture(scope="module")
def segmentation(exported: Exported) -> np.ndarray:
    """What `unet3d predict` says of the scan."""
    output = exported.folder / "seg.nii.gz"
    code, told = unet3d(
        exported.folder,
        *("predict", f"run={exported.run}", f"input={exported.scan}", f"output={output}"),
    )
    assert code == 0, told
    labels = np.asarray(nibabel.load(output).dataobj)  # type: ignore[attr-defined]
    assert labels.any()
    return labels


def expected_logits(exported: Exported, patch: np.ndarray) -> np.ndarray:
    """The Keras network's, by the network's own code and weights file."""
    from unet3d.config.compose import stored_config
    from unet3d.models import build_model

    folder = exported.folder / "outputs" / "runs" / exported.run
    config = stored_config(folder / "config.yaml")
    model = build_model(config.model, channels=4, outputs=3, seed=1)
    model.load_weights(folder / "checkpoints" / "best.weights.h5")
    return np.asarray(model(patch, training=False))


@pytest.mark.parametrize("shape", [(1, 16, 16, 16, 4), (3, 8, 20, 12, 4)])
def test_models_compute_what_the_network_does(exported: Exported, shape: tuple[int, ...]) -> None:
    """For any batch and size; the ends and their axes have names."""
    import onnxruntime
    import tensorflow as tf

    patch = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    expected = expected_logits(exported, patch)
    assert expected.shape == (*shape[:4], 3) and np.abs(expected).max() > 0.1
    saved = tf.saved_model.load(str(exported.models / "savedmodel"))
    np.testing.assert_allclose(saved.serve(patch), expected, rtol=0, atol=1e-4)
    session = onnxruntime.InferenceSession(
        str(exported.models / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["logits"], {"image": patch})
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert session.get_inputs()[0].shape == ["batch", "x", "y", "z", 4]
    assert session.get_outputs()[0].shape == ["batch", "x", "y", "z", 3]


def test_differences_are_told_and_nothing_else_is_left(exported: Exported) -> None:
    """A line a format; what the numbers mean lies beside the models."""
    assert exported.told.count("read back, its output differs by at most") == 3
    assert "UserWarning" not in exported.told and "Downloading" not in exported.told
    names = {path.name for path in exported.models.iterdir()}
    assert names == {"savedmodel", "model.onnx", "mlflow", "network.json", "MODEL_CARD.md"}
    about = json.loads((exported.models / "network.json").read_text())
    assert about["input"]["channels"] == ["FLAIR", "T1w", "T1gd", "T2w"]
    assert about["output"]["logits_of"] == ["whole_tumour", "tumour_core", "enhancing_tumour"]
    assert {path.name for path in exported.folder.iterdir()} <= {
        *("outputs", "output", "models", "seg.nii.gz", ".hydra", "train.log")
    }


def test_no_pickle_is_in_the_mlflow_model(exported: Exported) -> None:
    """Code as text, weights as HDF5, the rest YAML and JSON."""
    files = [path for path in (exported.models / "mlflow").rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    pages = {".html", ".css", ".js", ".typed", ".md"}  # of the package, beside its code
    assert kinds - pages == {".py", ".h5", ".yaml", ".json", ".txt", ""}
    shells = {"bash", "fish", "zsh"}  # scripts by which they complete commands
    assert {path.name for path in files if not path.suffix} - shells == {"MLmodel"}


def test_a_scan_is_segmented_as_by_predict(exported: Exported, segmentation: np.ndarray) -> None:
    """By path, on the scan's grid, as a list or a table; by voxels where the grid is the same."""
    import mlflow
    import pandas as pd

    from unet3d.errors import DataError
    from unet3d.inference.scan import find_scans, prepare_scan

    model = mlflow.pyfunc.load_model(str(exported.models / "mlflow"))
    row = {"input": str(exported.scan)}
    for given in ([row], pd.DataFrame([row])):
        (labels,) = model.predict(given)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, segmentation)
    inner = model.unwrap_python_model().trained
    prepared = prepare_scan(
        find_scans(str(exported.scan), len(inner.channels))[0], inner.config.data, inner.channels
    )
    batch = np.stack([prepared.image, np.zeros_like(prepared.image)])
    labels = model.predict(batch)
    assert labels.dtype == np.uint8 and labels.shape == batch.shape[:4]
    _, two = model.predict([row, row], params={"tta": True})
    assert two.shape == segmentation.shape
    for bad in (batch[..., :3], [{"path": "x"}], [{"input": "nothing.nii.gz"}]):
        with pytest.raises(DataError, match="input: "):
            model.predict(bad)


def test_the_model_is_on_its_run_and_registered(exported: Exported) -> None:
    """A LoggedModel that is ready, and version 1 of the registered name, which can be fetched."""
    client = MlflowClient(f"sqlite:///{exported.folder / 'outputs' / 'mlflow.db'}")
    (output,) = client.get_run(exported.run).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert str(model.status) == "READY" and model.source_run_id == exported.run
    version = client.get_model_version("phantom", "1")
    assert version.run_id == exported.run and output.model_id in version.source
    place = Path(version.source.removeprefix("file://"))
    assert (place / "MLmodel").is_file() and output.model_id in (place / "MLmodel").read_text()


def test_the_model_is_served(exported: Exported, segmentation: np.ndarray, tmp_path: Path) -> None:
    """`mlflow models serve` answers, without this repository on its path, for allowed folders."""
    with served(exported.models / "mlflow", tmp_path, exported.scan.parent) as address:
        row = {"input": str(exported.scan)}
        (labels,) = asked(address, {"dataframe_records": [row]})
        np.testing.assert_array_equal(labels, segmentation)
        example = json.loads((exported.models / "mlflow/serving_input_example.json").read_text())
        assert np.asarray(asked(address, example)).shape == (1, 4, 4, 4)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            asked(address, {"dataframe_records": [{"input": "nothing.nii.gz"}]})
        outside = shutil.copy(exported.scan, tmp_path)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            asked(address, {"dataframe_records": [{"input": str(outside)}]})


@contextmanager
def served(model: Path, folder: Path, scans: Path) -> Iterator[str]:
    """The address of a server of `model`, which ends with the block and reads below `scans`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = ("-m", "mlflow", "models", "serve", "--env-manager", "local")
    left_out = ("PYTHONPATH", "MLFLOW_TRACKING_URI")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    with (folder / "served").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *program, "-m", str(model), "-p", port],
            cwd=folder,
            env={
                **environment,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "UNET3D_SCAN_FOLDERS": str(scans),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it starts uvicorn, and both are to end
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while not answers(address):
            told = (folder / "served").read_text()
            assert server.poll() is None and time.monotonic() < deadline, told
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=5):
            return True
    except OSError:
        return False


def asked(address: str, request: dict[str, Any]) -> Any:
    """The predictions of a request."""
    data, header = json.dumps(request).encode(), {"Content-Type": "application/json"}
    call = urllib.request.Request(f"{address}/invocations", data, header)
    with urllib.request.urlopen(call, timeout=60) as answer:
        return json.load(answer)["predictions"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run=nothing", "output=x"), "run: nothing is not a run in outputs/runs"),
        (
            ("run=nothing", "output=x", "format=tflite"),
            "format: tflite is not possible; it must be",
        ),
        (("run=nothing", "output=full"), "output: full is not empty; name a new folder"),
        (("run=nothing",), "output is not set"),
        (("run=nothing", "output=x", "log=true"), "format: savedmodel cannot be logged"),
    ],
)
def test_what_cannot_work_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Exit code 2, and no traceback."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    code, output = unet3d(tmp_path, "export", *arguments)
    assert code == 2 and told in output and output.count("\n") == 1, output
    assert not (tmp_path / "x").exists()


def test_missing_packages_are_one_line(tmp_path: Path) -> None:
    """What is optional is named with what to type."""
    hide = (
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda n, *p: None if n == 'tf2onnx' else find(n, *p); "
        "from unet3d.cli import main; main()"
    )
    code, output = unet3d(
        tmp_path, *("export", "run=a", "output=x", "format=onnx"), python=("-c", hide)
    )
    assert code == 2 and "needs tf2onnx; type pip install 'unet3d[export]'" in output, output

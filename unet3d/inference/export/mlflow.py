"""The network as an MLflow model: this package's code, three files a member, and a signature."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from unet3d.inference.export.savedmodel import compare
from unet3d.inference.network import TrainedNetwork
from unet3d.run_folder import RunFolder

# What prediction imports; the other dependencies are for training only.
MODEL_PACKAGES = (
    *("tensorflow", "keras", "numpy", "scipy", "nibabel", "zlib-ng", "blosc2"),
    *("omegaconf", "psutil", "pandas"),
)


def write_mlflow(
    trained: TrainedNetwork, members: Sequence[tuple[RunFolder, float]], folder: Path
) -> float:
    """Write the model of `trained`: the weighted mean of `members`, one for a network alone.

    members: the folder of each run, and its weight. The model reads them as predict does.
    Returns the largest difference of the logits after reading it back. Raises RunError where that
    is too large.
    """
    from unet3d.tracking.connection import quiet_mlflow

    quiet_mlflow()
    import mlflow

    from unet3d.inference.network import about

    code = Path(__file__).parents[2]
    weights = {run.run_id: float(weight) for run, weight in members}
    with TemporaryDirectory() as gathered:  # as MLflow copies by name, and theirs are the same
        for run, _ in members:
            _copy(run, RunFolder(Path(gathered) / "members" / run.run_id))
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(code / "inference" / "export" / "mlflow_model.py"),
            artifacts={"members": str(Path(gathered) / "members")},
            code_paths=[str(code)],
            model_config={"run": trained.run, "members": weights},
            signature=signature(),
            input_example=input_example(trained),
            pip_requirements=requirements(),
            metadata=about(trained),
        )
    difference = compare(trained, folder.name, _logits(folder))
    for cache in [*folder.rglob("__pycache__")]:  # of reading it back, too
        shutil.rmtree(cache)
    return difference


def _copy(run: RunFolder, to: RunFolder) -> None:
    """Copy what a network is read from."""
    to.checkpoints.mkdir(parents=True)
    for ours, theirs in (
        (run.config, to.config),
        (run.description, to.description),
        (run.best_weights, to.best_weights),
    ):
        shutil.copyfile(ours, theirs)


def signature() -> Any:
    """uint8 (n, x, y, z) out, and the parameters; the input is left open.

    MLflow allows an input either as an array or as a table, but this model takes both; it checks
    them itself, and `metadata` describes the array.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1))]),
        params=ParamSchema(
            [ParamSpec("overlap", "double", 0.5), ParamSpec("tta", "boolean", False)]
        ),
    )


def input_example(trained: TrainedNetwork) -> np.ndarray:
    """One volume of zeros of the smallest size, which also shows the form of a request."""
    return np.zeros((1, *trained.config.model.stride, len(trained.channels)), np.float32)


def requirements() -> list[str]:
    """The packages that the model needs, in the versions it was checked with."""
    found = []
    for name in ("mlflow", *MODEL_PACKAGES):
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:  # a build under another name, such as tensorflow-cpu
            found.append(name)
    return found


def _logits(folder: Path) -> Any:
    """The mean logits of the networks inside the model, as MLflow loads it."""
    import mlflow

    networks = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model().networks
    whole = sum(network.weight for network in networks)

    def logits(patch: np.ndarray) -> np.ndarray:
        total = sum(network.predictor.logits(patch) * network.weight for network in networks)
        return (total / whole).astype(np.float32)

    return logits

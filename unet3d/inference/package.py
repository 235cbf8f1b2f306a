"""The network as an MLflow model: this package's code, three files and a signature."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.inference.compare import compare
from unet3d.inference.trained import DESCRIPTION, Trained
from unet3d.training.checkpoint import best_weights

# What is imported to predict; the rest of the project's dependencies only train.
PACKAGES = (
    *("tensorflow", "keras", "numpy", "scipy", "nibabel", "zlib-ng", "blosc2"),
    *("omegaconf", "psutil", "pandas"),
)


def write_mlflow(trained: Trained, run: Path, folder: Path) -> float:
    """Write the model of `trained`, whose files are in the folder `run`.

    Returns the largest difference of the logits of what was read back. Raises RunError where that
    is too large.
    """
    from unet3d.tracking.store import quiet_mlflow

    quiet_mlflow()
    import mlflow

    from unet3d.inference.export import about

    code = Path(__file__).parents[1]
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(code / "inference" / "model.py"),
        artifacts={
            "config": str(run / "config.yaml"),
            "dataset": str(run / DESCRIPTION),
            "weights": str(best_weights(run)),
        },
        code_paths=[str(code)],
        model_config={"run": trained.run},
        signature=signature(),
        input_example=input_example(trained),
        pip_requirements=requirements(),
        metadata=about(trained),
    )
    for cache in [*folder.rglob("__pycache__")]:
        shutil.rmtree(cache)
    return compare(trained, folder.name, _logits(folder))


def signature() -> Any:
    """uint8 (n, x, y, z) out, and the parameters; the input is left open.

    MLflow holds an input to one kind, an array or a table, and this model takes both; it checks
    them itself, and `metadata` says what an array must be.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1))]),
        params=ParamSchema(
            [ParamSpec("overlap", "double", 0.5), ParamSpec("tta", "boolean", False)]
        ),
    )


def input_example(trained: Trained) -> np.ndarray:
    """One volume of zeros of the smallest size, which is also what a request looks like."""
    from unet3d.models import stride

    size = stride(trained.config.model)
    return np.zeros((1, size, size, size, len(trained.channels)), np.float32)


def requirements() -> list[str]:
    """The packages that the model needs, in the versions that it was checked with."""
    found = []
    for name in ("mlflow", *PACKAGES):
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:  # a build under another name, such as tensorflow-cpu
            found.append(name)
    return found


def _logits(folder: Path) -> Any:
    """The network inside the model as MLflow loads it."""
    import mlflow

    model = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
    return model.trained.predictor.logits

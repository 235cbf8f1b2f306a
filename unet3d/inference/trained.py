"""A trained network and what it was trained on, from a run's folder or its MLflow artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unet3d.config import Config, ConfigError, ModelConfig
from unet3d.data.atomic import write_text
from unet3d.data.store import Store
from unet3d.data.targets import Targets, make_targets
from unet3d.inference.sliding_window import padded_shape, planes
from unet3d.tracking.run import run_folder
from unet3d.training.checkpoint import best_weights
from unet3d.training.errors import RunError

if TYPE_CHECKING:
    from unet3d.training.validate import Predictor

DESCRIPTION = "dataset.json"  # in a run's folder: sequences and labels, in Decathlon's words
BACKGROUND_LOGIT = 10.0
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class Trained:
    """A network with its best weights. channels: names of the sequences it takes.

    model: the Keras model as it was trained, in float32. predictor: the same function, made fast.
    """

    run: str
    config: Config
    channels: tuple[str, ...]
    targets: Targets
    predictor: Predictor
    model: Any

    def planes(self, image: np.ndarray, overlap: float, tta: bool = False) -> Iterator[np.ndarray]:
        """Logits of an image (x, y, z, channels) on the network's grid.

        One plane after the other: float32 (y, z, outputs) for each x.
        """
        from unet3d.models import stride

        patch = self.config.data.patch or padded_shape(image.shape[:3], stride(self.config.model))
        predict = self.predictor.logits
        return planes(
            mean_over_flips(predict) if tta else predict,
            image,
            patch,
            outputs=len(self.targets.names),
            overlap=overlap,
            batch_size=self.predictor.batch_size,
            empty=self._empty(),
        )

    def _empty(self) -> np.ndarray:
        """Logits that say background, for windows outside the head."""
        logits: np.ndarray = np.full(len(self.targets.names), -BACKGROUND_LOGIT, np.float32)
        if self.targets.exclusive:
            logits[0] = BACKGROUND_LOGIT
        return logits


def mean_over_flips(
    predict: Callable[[np.ndarray], np.ndarray],
) -> Callable[[np.ndarray], np.ndarray]:
    """Test-time augmentation: the mean logits over the 8 flips of the three axes."""

    def mean(batch: np.ndarray) -> np.ndarray:
        total: Any = 0.0
        for chosen in product((False, True), repeat=3):
            axes = tuple(axis + 1 for axis, flip in enumerate(chosen) if flip)
            total = total + np.flip(predict(np.ascontiguousarray(np.flip(batch, axes))), axes)
        return total / 8

    return mean


def describe_data(store: Store, folder: Path) -> Path:
    """Keep with a run what its network takes and gives; returns the file."""
    path = folder / DESCRIPTION
    labels = {"0": "background"} | {str(value): name for value, name in store.labels.items()}
    modality = {str(index): name for index, name in enumerate(store.channels)}
    write_text(path, json.dumps({"modality": modality, "labels": labels}, indent=1))
    return path


def check_runs(runs: Sequence[str], output_dir: str, precision: str = "float32") -> None:
    """See that networks can be loaded, which takes no TensorFlow.

    Raises RunError where a run is not there, or has no weights; ConfigError for an unknown
    precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: {precision} is not one of {', '.join(PRECISIONS)}")
    for run in runs:
        run_files(run, output_dir)


def load_trained(run: str, output_dir: str, windows: int, precision: str = "float32") -> Trained:
    """The network of a run with its best weights.

    windows: that it takes at once; precision: Keras' dtype policy to predict in. Raises what
    check_runs raises.
    """
    check_runs([run], output_dir, precision)
    folder = run_files(run, output_dir)
    trained = read_trained(
        run, folder / "config.yaml", folder / DESCRIPTION, best_weights(folder), windows, precision
    )
    return replace(trained, config=replace(trained.config, output_dir=output_dir))


def read_trained(
    run: str,
    settings: Path,
    description: Path,
    weights: Path,
    windows: int,
    precision: str = "float32",
) -> Trained:
    """The network of a run from its three files, wherever these are.

    Raises RunError where the weights cannot be read.
    """
    import tensorflow as tf

    from unet3d.models import build_model
    from unet3d.training.resume import stored_config
    from unet3d.training.validate import make_predictor

    config = stored_config(settings)
    found = json.loads(description.read_text())
    labels = {int(value): name for value, name in found["labels"].items() if int(value)}
    channels = tuple(found["modality"][str(index)] for index in range(len(found["modality"])))
    targets = make_targets(config.data, labels)
    model = build_model(
        config.model, channels=len(channels), outputs=len(targets.names), seed=config.seed
    )
    try:
        model.load_weights(weights)
    except Exception as error:
        raise RunError(f"{weights}: cannot be read ({error})") from error
    fast = for_inference(model, config.model, precision)
    predictor = make_predictor(fast, tf.distribute.get_strategy(), 1, windows)
    return Trained(run, config, channels, targets, predictor, model)


def for_inference(network: Any, model: ModelConfig, precision: str) -> Any:
    """A network, built from `model`, in the form in which it predicts fastest, in `precision`."""
    import keras
    import tensorflow as tf

    from unet3d.models import build_model
    from unet3d.models.fold import can_fold, fold_norms
    from unet3d.models.pair import pair_convolutions

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        if can_fold(model):
            network = fold_norms(network, model)
        elif precision != before.name:
            trained, outputs = network, keras.tree.flatten(network.output)[0].shape[-1]
            network = build_model(model, channels=network.input.shape[-1], outputs=outputs, seed=0)
            network.set_weights(trained.get_weights())
    finally:
        keras.config.set_dtype_policy(before)
    return network if tf.config.list_physical_devices("GPU") else pair_convolutions(network, model)


def run_files(run: str, output_dir: str) -> Path:
    """The run's folder, with what is needed; fetched from MLflow where it is on another machine.

    Raises RunError where the run is not there, or has no weights.
    """
    from unet3d.cli import compose_config

    config = compose_config([f"output_dir={output_dir}"])
    folder = run_folder(config, run)
    if not (folder / "config.yaml").is_file():
        _fetch(replace(config, resume=run), folder)
    if not best_weights(folder).is_file():
        raise RunError(
            f"run: {run} has no weights in {best_weights(folder).parent}; it has not finished a "
            f"validation yet: python train.py resume={run}"
        )
    if not (folder / DESCRIPTION).is_file():
        raise RunError(f"run: {run} does not tell what it was trained on: {DESCRIPTION} is missing")
    return folder


def _fetch(config: Config, folder: Path) -> None:
    """Download a run's files from the tracking store, all of them or none."""
    from unet3d.data.atomic import publish, temporary_folder
    from unet3d.tracking.store import connect

    assert config.resume is not None
    told = RunError(
        f"run: {config.resume} is not a run in {folder.parent}, nor in the tracking store; the "
        "MLflow UI shows the ids, output_dir= and MLFLOW_TRACKING_URI say where runs are"
    )
    try:
        connection = connect(config)
        assert connection is not None
        with temporary_folder(folder) as new:
            for name, place in (
                ("config/config.yaml", new),
                (f"config/{DESCRIPTION}", new),
                ("model/best.weights.h5", new / "checkpoints"),
            ):
                place.mkdir(exist_ok=True)
                path = Path(connection.client.download_artifacts(config.resume, name, str(new)))
                path.replace(place / path.name)
            publish(new, folder)
    except Exception as error:
        raise told from error

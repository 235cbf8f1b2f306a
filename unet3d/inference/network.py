"""A trained network and what it was trained on, from a run's folder or its MLflow artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unet3d import machine
from unet3d.config.command_line import hydra_text, resume_command
from unet3d.config.schema import Config, ModelConfig
from unet3d.errors import ConfigError, RunError
from unet3d.files import publish, temporary_folder
from unet3d.inference.sliding_window import padded_shape, planes
from unet3d.inference.weights import load_weights
from unet3d.logs import quiet_start
from unet3d.preprocessing.scales import Scales, scales_as_json, scales_of_json
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sampling.find_split import fetch_record
from unet3d.sampling.targets import Targets, make_targets

if TYPE_CHECKING:
    from unet3d.inference.predictor import Predictor

BACKGROUND_LOGIT = 10.0
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its best weights. channels: names of its input sequences.

    model: the Keras model as trained, in float32; predictor: the same function, made faster.
    scales: how it expects CT, see unet3d.preprocessing.scales. weight: in the mean of an ensemble.
    """

    run: str
    config: Config
    channels: tuple[str, ...]
    targets: Targets
    predictor: Predictor
    model: Any
    scales: Scales = ()
    weight: float = 1.0

    def planes(self, image: np.ndarray, overlap: float, tta: bool = False) -> Iterator[np.ndarray]:
        """Logits of an image (x, y, z, channels) on the network's grid.

        Yields one plane after another: float32 (y, z, outputs) for each x.
        """
        patch = self.config.data.patch or padded_shape(image.shape[:3], self.config.model.stride)
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
        """Logits of background, for windows outside the head."""
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


def start_tensorflow(threads: int | None) -> None:
    """Import TensorFlow without its start-up lines, and open one GPU, as prediction uses no more.

    threads: of the CPU; None: all.
    """
    with quiet_start():
        import tensorflow as tf

        machine.open_gpus(machine.tensorflow_gpus()[:1])
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)


def check_runs(runs: Sequence[str], output_dir: str, precision: str = "float32") -> None:
    """Check that the networks of runs can be loaded, without importing TensorFlow.

    Raises RunError where a run does not exist or has no weights; ConfigError for an unknown
    precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: {precision} is not one of {', '.join(PRECISIONS)}")
    for run in runs:
        run_files(run, output_dir)


def run_targets(run: str, output_dir: str) -> Targets:
    """The outputs of a run's network, without importing TensorFlow. Raises as check_runs does."""
    from unet3d.config.compose import stored_config

    files = run_files(run, output_dir)
    labels = read_description(files.description).labels
    return make_targets(stored_config(files.config).data, labels)


def load_trained(
    run: str, output_dir: str, batch_size: int, precision: str = "float32"
) -> TrainedNetwork:
    """The network of a run with its best weights.

    batch_size: windows predicted at once; precision: Keras' dtype policy for prediction. Raises
    what check_runs raises.
    """
    check_runs([run], output_dir, precision)
    folder = run_files(run, output_dir)
    trained = read_trained(
        run, folder.config, folder.description, folder.best_weights, batch_size, precision
    )
    return replace(trained, config=replace(trained.config, output_dir=output_dir))


def read_trained(
    run: str,
    settings: Path,
    description: Path,
    weights: Path,
    batch_size: int,
    precision: str = "float32",
) -> TrainedNetwork:
    """The network of a run from its three files, wherever they are.

    Raises RunError where one of them cannot be read.
    """
    import tensorflow as tf

    from unet3d.config.compose import stored_config
    from unet3d.inference.predictor import make_predictor
    from unet3d.models import build_model

    config = stored_config(settings)
    described = read_description(description)
    config = replace(config, data=replace(config.data, normalize=described.normalize))
    channels, targets = described.channels, make_targets(config.data, described.labels)
    model = build_model(
        config.model, channels=len(channels), outputs=len(targets.names), seed=config.seed
    )
    load_weights(model, weights)
    fast = for_inference(model, config.model, precision)
    predictor = make_predictor(fast, tf.distribute.get_strategy(), 1, batch_size)
    return TrainedNetwork(run, config, channels, targets, predictor, model, described.scales)


@dataclass(frozen=True)
class Description:
    """What a run's network was trained on.

    channels: the names of its input sequences; labels: those of its label values without the
    background; normalize, scales: how each sequence is normalised.
    """

    channels: tuple[str, ...]
    labels: dict[int, str]
    normalize: list[str]
    scales: Scales


def read_description(path: Path) -> Description:
    """Read it from a run's dataset.json. Raises RunError where that is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        labels = {int(value): str(name) for value, name in found["labels"].items() if int(value)}
        channels = tuple(
            str(found["modality"][str(index)]) for index in range(len(found["modality"]))
        )
        normalize = [str(method) for method in found.get("normalize", ["zscore"] * len(channels))]
        scales = scales_of_json(found.get("scales", ()))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: is damaged ({type(error).__name__}: {error}); put back a copy, such as "
            "config/dataset.json of the run's artifacts in MLflow"
        ) from error
    return Description(channels, labels, normalize, scales)


def for_inference(network: Any, model: ModelConfig, precision: str) -> Any:
    """A network built from `model`, in the form that predicts fastest, in `precision`."""
    import keras

    from unet3d.models import build_model
    from unet3d.models.fast_inference import can_fold, fold_norms, pair_convolutions

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
    return network if machine.opened_gpus() else pair_convolutions(network, model)


def run_files(run: str, output_dir: str) -> RunFolder:
    """The run's folder, with the files needed; fetched from MLflow if the run is elsewhere.

    Raises RunError where the run does not exist or has no weights.
    """
    from unet3d.config.compose import compose_config

    config = compose_config([f"output_dir={hydra_text(output_dir)}"])
    folder = run_folder(output_dir, run)
    if not folder.config.is_file():
        _fetch(replace(config, resume=run), folder)
    if not folder.best_weights.is_file():
        raise RunError(
            f"run: {run} has no weights in {folder.checkpoints}; it has not finished a "
            f"validation yet: {resume_command(run, output_dir)}"
        )
    if not folder.description.is_file():
        raise RunError(
            f"run: {run} does not say what it was trained on; {folder.description} is missing"
        )
    return folder


def _fetch(config: Config, folder: RunFolder) -> None:
    """Download a run's files from the tracking store, all of them or none."""
    from unet3d.tracking.connection import connect

    assert config.resume is not None
    not_found = RunError(
        f"run: {config.resume} is not a run in {folder.path.parent}, nor in the tracking store; "
        "the MLflow UI shows the ids, output_dir= and MLFLOW_TRACKING_URI say where runs are"
    )
    try:
        connection = connect(config)
        assert connection is not None and connection.run is not None
        with temporary_folder(folder.path) as temporary:
            new = RunFolder(temporary)
            for artifacts, path in (
                ("config", new.config),
                ("config", new.description),
                ("model", new.best_weights),
            ):
                path.parent.mkdir(exist_ok=True)
                fetched = connection.client.download_artifacts(
                    connection.run, f"{artifacts}/{path.name}", str(temporary)
                )
                Path(fetched).replace(path)
            fetch_record(connection.client, config.resume, new)
            _fetch_tuned(connection.client, connection.run, new)
            publish(temporary, folder.path)
    except Exception as error:
        raise not_found from error


def _fetch_tuned(client: Any, run: str, folder: RunFolder) -> None:
    """Download what `unet3d tune` has chosen for the run, where it has."""
    name = f"config/{folder.tuned.name}"
    if any(artifact.path == name for artifact in client.list_artifacts(run, "config")):
        fetched = client.download_artifacts(run, name, str(folder.path))
        Path(fetched).replace(folder.tuned)


ABOUT = "network.json"  # beside the model: what its inputs and outputs mean


def about(trained: TrainedNetwork) -> dict[str, Any]:
    """What the network's input and output mean, for a caller in another program."""
    return about_network(
        trained.run, trained.config, trained.channels, trained.targets, trained.scales
    )


def about_network(
    run: str, config: Config, channels: Sequence[str], targets: Targets, scales: Scales
) -> dict[str, Any]:
    """The same of a network that need not be loaded for it."""
    return {
        "run": run,
        "input": {
            "axes": ["batch", "x", "y", "z", "channels"],
            "channels": list(channels),
            "spacing_mm": config.data.spacing,
            "patch": config.data.patch,
            "size_is_a_multiple_of": list(config.model.stride),
            "values": "each sequence standardised as by unet3d predict",
            "normalize": config.data.normalize,
            "scales": scales_as_json(scales),
        },
        "output": {
            "logits_of": list(targets.names),
            "read_as": "softmax" if targets.exclusive else "one sigmoid each",
        },
    }

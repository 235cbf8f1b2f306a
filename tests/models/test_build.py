"""Networks: shapes, precision, determinism and the errors of a wrong setting."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest
from scipy import ndimage

from unet3d.config.compose import compose_config
from unet3d.config.schema import ModelConfig
from unet3d.errors import ConfigError
from unet3d.models import build_model
from unet3d.models.blocks import dividing_groups
from unet3d.models.depthwise import DepthwiseConv3D
from unet3d.models.resample import LinearUpsampling, ZeroInsertion


@pytest.fixture(autouse=True)
def float32_policy() -> Iterator[None]:
    """Leaves Keras' global precision as it was."""
    yield
    keras.config.set_dtype_policy("float32")


NAMES = ["unet3d", "resunet", "resenc", "segresnet", "mednext"]
FIRST = {"unet3d": "enc0_0_conv"}  # layer; of the others a stem


def small(**settings: object) -> ModelConfig:
    return ModelConfig(**{"name": "unet3d", "filters": 4, "depth": 2, **settings})  # type: ignore[arg-type]


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
def test_any_size_gives_logits_of_that_size(name: str, norm: str) -> None:
    """One set of weights serves training patches and whole volumes, with every norm."""
    model = build_model(small(name=name, norm=norm), channels=2, outputs=3, seed=0)
    for shape in ((8, 8, 8), (16, 8, 12)):
        logits = model(image(2, *shape, 2), training=True)
        assert logits.shape == (2, *shape, 3)
        assert np.isfinite(np.asarray(logits)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_logits_are_float32_in_mixed_precision(name: str, norm: str) -> None:
    """A loss on 16-bit logits would lose small probabilities."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build_model(small(name=name, norm=norm, dropout=0.1), channels=1, outputs=2, seed=0)
    assert model.get_layer(FIRST.get(name, "stem_conv")).compute_dtype == "bfloat16"
    assert model(image(1, 8, 8, 8, 1), training=True).dtype == "float32"


def test_outputs_are_logits() -> None:
    """No final activation: the losses apply the sigmoid or softmax themselves."""
    logits = np.asarray(
        build_model(small(), channels=1, outputs=2, seed=0)(image(1, 8, 8, 8, 1), training=True)
    )
    assert logits.min() < 0
    assert not np.allclose(logits.sum(-1), 1)


@pytest.mark.parametrize("name", NAMES)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    """Replicas, resumed runs and later models of one process start from the same weights."""
    keras.utils.set_random_seed(1)
    first = build_model(small(name=name), channels=2, outputs=3, seed=7).get_weights()
    keras.utils.set_random_seed(2)
    again = build_model(small(name=name), channels=2, outputs=3, seed=7).get_weights()
    other = build_model(small(name=name), channels=2, outputs=3, seed=8).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_layers_of_one_shape_start_different() -> None:
    """Each layer draws its own weights from the one seed."""
    model = build_model(small(max_filters=4), channels=4, outputs=1, seed=0)
    kernels = [model.get_layer(f"enc{level}_1_conv").kernel for level in range(3)]
    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[1], kernels[2])


def test_filters_double_up_to_the_cap() -> None:
    """`filters`, `depth` and `max_filters` mean what the schema says."""
    model = build_model(small(depth=3, max_filters=10), channels=1, outputs=1, seed=0)
    widths = [model.get_layer(f"enc{level}_1_conv").filters for level in range(4)]
    assert widths == [4, 8, 10, 10]


def test_convolution_has_a_bias_only_without_a_norm() -> None:
    """A norm subtracts the mean, so a bias before it would be a dead weight."""
    for norm, bias in (("batch", False), ("none", True)):
        model = build_model(small(norm=norm), channels=1, outputs=1, seed=0)
        assert model.get_layer("enc0_0_conv").use_bias is bias


@pytest.mark.parametrize("name", NAMES)
def test_deep_supervision_lists_logits_finest_first(name: str) -> None:
    """The loss pairs level i with the truth at every 2**i-th voxel."""
    model = build_model(small(name=name, deep_supervision=True), channels=1, outputs=2, seed=0)
    logits = model(image(1, 16, 8, 8, 1), training=True)
    assert [tuple(level.shape) for level in logits] == [(1, 16, 8, 8, 2), (1, 8, 4, 4, 2)]


@pytest.mark.parametrize("name", NAMES)
def test_axes_may_be_pooled_apart(name: str) -> None:
    """A coarse axis keeps its voxels at the first level, on every network."""
    model = build_model(
        small(name=name, strides=[[2, 2, 1], [2, 2, 2]], kernels=[[3, 3, 1], [3] * 3, [3] * 3]),
        channels=1,
        outputs=2,
        seed=0,
    )
    assert model(image(1, 8, 4, 2, 1)).shape == (1, 8, 4, 2, 2)


def test_parameters_are_those_of_the_papers_code() -> None:
    """MONAI's SegResNet of 8 filters has 1,176,186; MedNeXt-S, by its paper, 5.6 million."""
    segresnet = compose_config(["model=segresnet", "model.filters=8"]).model
    assert build_model(segresnet, channels=1, outputs=2, seed=0).count_params() == 1_176_186
    mednext = build_model(compose_config(["model=mednext"]).model, channels=1, outputs=3, seed=0)
    assert round(mednext.count_params() / 1e6, 1) == 5.6


def test_the_residual_encoder_is_nnunets() -> None:
    """dynamic_network_architectures' ResidualEncoderUNet of 6 stages has 102,337,583 parameters.

    That is without biases before norms; ours has 800 in the upsampling.
    """
    resenc = compose_config(["model=resenc", "model.depth=5", "data.patch=null"]).model
    model = build_model(resenc, channels=2, outputs=3, seed=0)
    assert model.count_params() == 102_337_583 + 800
    assert not model.get_layer("enc5_3b_norm").gamma.numpy().any()
    assert model.get_layer("enc5_3a_norm").gamma.numpy().all()


def test_the_plain_network_is_nnunets() -> None:
    """experiment=nnunet: first convolutions that pool, and as many parameters.

    dynamic_network_architectures' PlainConvUNet of 6 stages has 31,192,623 of them for two
    sequences and three regions, without biases before norms; ours has 800 in the upsampling.
    """
    nnunet = compose_config(["experiment=nnunet", "model.depth=5", "data.patch=null"]).model
    model = build_model(nnunet, channels=2, outputs=3, seed=0)
    assert model.count_params() == 31_192_623 + 800
    assert model.get_layer("enc1_0_conv").strides == (2, 2, 2)
    assert not [layer for layer in model.layers if "pool" in layer.name]


def test_upsampling_is_linear_between_voxels() -> None:
    """As SciPy's, whose voxels' centres lie alike."""
    x = image(1, 3, 4, 2, 2)
    found = np.asarray(LinearUpsampling((2, 2, 1))(x))[0]
    for channel in range(2):
        wanted = ndimage.zoom(
            x[0, ..., channel], (2, 2, 1), order=1, mode="nearest", grid_mode=True
        )
        np.testing.assert_allclose(found[..., channel], wanted, atol=1e-6)


def test_the_depthwise_convolution_is_one() -> None:
    """Each channel alone, as SciPy computes it; a stride keeps the first voxel."""
    x = image(1, 6, 5, 4, 3)
    layer = DepthwiseConv3D((3, 3, 3), (2, 1, 2), seed=0)
    found, kernel = np.asarray(layer(x))[0], np.asarray(layer.kernel)[..., 0]
    for channel in range(3):
        wanted = ndimage.correlate(x[0, ..., channel], kernel[..., channel], mode="constant")
        np.testing.assert_allclose(found[..., channel], wanted[::2, :, ::2], atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    """Inference is a function of the image."""
    model = build_model(small(norm="none", dropout=0.5), channels=1, outputs=1, seed=0)
    x = image(1, 8, 8, 8, 1)
    assert not np.allclose(model(x, training=True), model(x, training=True))
    assert np.array_equal(model(x, training=False), model(x, training=False))


def test_instance_norm_sees_one_sample_at_a_time() -> None:
    """With instance norm a sample's logits do not depend on its batch."""
    model = build_model(small(norm="instance"), channels=1, outputs=1, seed=0)
    x = image(2, 8, 8, 8, 1)
    both = np.asarray(model(x, training=True))
    np.testing.assert_allclose(both[:1], model(x[:1], training=True), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_saved_model_loads(name: str, tmp_path: object) -> None:
    """A checkpoint in Keras' own format needs no code of ours, but for layers that Keras lacks."""
    settings = small(name=name, norm="group", activation="leaky_relu", dropout=0.1)
    model = build_model(settings, channels=1, outputs=2, seed=0)
    path = f"{tmp_path}/model.keras"
    model.save(path)
    x = image(1, 8, 8, 8, 1)
    own = (DepthwiseConv3D, LinearUpsampling, ZeroInsertion)
    objects = {kind.__name__: kind for kind in own} if name in ("segresnet", "mednext") else {}
    # These have the settings and weights of Keras' layers, which can take their place.
    objects |= {kind: getattr(keras.layers, kind) for kind in ("Conv3D", "GroupNormalization")}
    np.testing.assert_allclose(keras.models.load_model(path, objects)(x), model(x), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "vnet"},
            "model.name: 'vnet' is not known; choose one of mednext, own, ",
        ),
        (
            {"norm": "layer"},
            "model.norm: 'layer' is not known; choose one of batch, sync_batch, group, instance, ",
        ),
        ({"activation": "rellu"}, "model.activation: 'rellu' is not known"),
        ({"depth": 0}, "model.depth: 0 is below 1"),
        ({"dropout": 1.0}, "model.dropout: 1.0 must be"),
    ],
)
def test_wrong_setting_is_named(settings: dict[str, object], message: str) -> None:
    """The user reads the key, the value and what is allowed."""
    with pytest.raises(ConfigError) as error:
        build_model(small(**settings), channels=1, outputs=1, seed=0)
    assert message in str(error.value)


def test_groups_divide_the_channels() -> None:
    """norm=group works for any number of filters."""
    assert [dividing_groups(8, channels) for channels in (4, 8, 12, 20, 7)] == [4, 8, 6, 5, 7]


def test_importing_models_does_not_import_keras() -> None:
    """Commands that build no network start fast."""
    code = "import sys, unet3d.models; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

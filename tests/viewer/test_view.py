"""`unet3d view`: what its picture, GIF and page hold, and what it refuses."""

from __future__ import annotations

import base64
import gzip
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import nibabel
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from tests.e2e.browser import Page, browser, needs_chromium
from unet3d.cli import main
from unet3d.config.schema import ViewConfig
from unet3d.logs import ROOT
from unet3d.plotting import COLOURS
from unet3d.viewer.case import read_case
from unet3d.viewer.gif import LINE, write_gif
from unet3d.viewer.overlay import overlay
from unet3d.viewer.page import MAX_VOXELS, subsampling
from unet3d.viewer.view import view

SPACING = (1.0, 2.0, 5.0)  # mm, towards right, anterior, superior
SHAPE = (40, 30, 12)
CROP = (slice(3, 37), slice(4, 26), slice(1, 12))  # the head with its margin, and the last slice
FILES = ("overlay.png", "slices.gif", "view.html")
HOSTILE = "a<b>&$c$"


def save(path: Path, voxels: np.ndarray, turned: bool = True) -> Path:
    """Write (right, anterior, superior) voxels in a file of other axes, a little rotated."""
    affine = np.diag([*SPACING, 1.0])
    angle = np.deg2rad(8)
    cos, sin = np.cos(angle), np.sin(angle)
    affine[:2, :2] = np.array([[cos, -sin], [sin, cos]]) @ affine[:2, :2]
    image = nibabel.Nifti1Image(voxels, affine)
    if turned:
        image = image.as_reoriented(np.array([[2, -1], [0, -1], [1, 1]]))
    nibabel.save(image, path)
    return path


def volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two sequences, truth and prediction; the prediction has a voxel outside the head."""
    random = np.random.default_rng(0)
    image: np.ndarray = np.zeros((*SHAPE, 2), np.int16)
    image[5:35, 6:24, 3:9] = random.integers(100, 900, (30, 18, 6, 2))
    truth: np.ndarray = np.zeros(SHAPE, np.uint8)
    truth[8:18, 8:16, 4:8] = 1
    truth[10:14, 10:14, 5:7] = 3
    prediction = np.roll(truth, 2, axis=0)
    prediction[30, 20, 11] = 3
    return image, truth, prediction


@pytest.fixture
def settings(tmp_path: Path) -> ViewConfig:
    """The files of a case, turned, rotated and anisotropic."""
    image, truth, prediction = volumes()
    return ViewConfig(
        image=str(save(tmp_path / "scan.nii.gz", image)),
        pred=str(save(tmp_path / "seg.nii.gz", prediction)),
        truth=str(save(tmp_path / "label.nii.gz", truth)),
        regions={"whole": [1, 3], "core": [3]},
        channel=1,
        serve=False,
    )


def written(settings: ViewConfig) -> Path:
    """The folder of a case's files."""
    folder = view(settings)
    assert folder is not None
    return folder


def unpacked(html: str, name: str) -> np.ndarray:
    """A volume of the page, (x, y, z)."""
    found = re.search(f'<script type="text/plain" id="{name}">([^<]*)</script>', html)
    assert found
    data = gzip.decompress(base64.b64decode(found[1]))
    shape = tuple(side.stop - side.start for side in CROP)
    return np.frombuffer(data, np.uint8).reshape(shape, order="F")


def frames(gif: Any) -> int:
    """How many pictures a GIF has."""
    return int(gif.n_frames)


def coloured(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Where a picture (rows, columns, RGB) in [0, 1] has a colour."""
    return np.abs(pixels[..., :3] - np.array(to_rgb(colour))).max(axis=-1) < 0.02


def test_the_page_holds_the_volumes_as_they_are(settings: ViewConfig) -> None:
    """Turned to RAS and cropped to head and lesions; the image in 8 bits."""
    folder = written(settings)
    assert folder == Path(settings.pred).parent / "seg_view"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    html = (folder / "view.html").read_text()
    image, truth, prediction = volumes()
    np.testing.assert_array_equal(unpacked(html, "truth"), truth[CROP])
    np.testing.assert_array_equal(unpacked(html, "prediction"), prediction[CROP])
    values: np.ndarray = image[CROP][..., 1].astype(float)
    low, high = np.percentile(values[values > 0], (0.5, 99.5))
    grey = np.where(values > 0, np.clip((values - low) / (high - low), 0, 1) * 255, 0)
    np.testing.assert_allclose(unpacked(html, "image"), grey, atol=0.51)


def test_the_page_stands_alone_and_describes_the_case(settings: ViewConfig) -> None:
    """Names, slices of the lesion's centre, Dice and volumes; nothing is fetched."""
    html = (written(settings) / "view.html").read_text()
    _, truth, prediction = volumes()
    for name, values in {"whole": (1, 3), "core": (3,)}.items():
        masks = np.isin(truth, values), np.isin(prediction, values)
        dice = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())
        ml = [mask.sum() * 10 / 1000 for mask in masks]
        row = re.search(f"{name}</label></th>(.*?)</tr>", html)
        assert row and re.findall("<td>(.*?)</td>", row[1])[1:] == [
            f"{dice:.4f}",
            f"{ml[0]:.2f}",
            f"{ml[1]:.2f}",
        ]
    assert "truth: label.nii.gz; prediction: seg.nii.gz; 40 x 30 x 12 voxels of 1 x 2 x 5" in html
    assert "http:" not in html and "https:" not in html and "<link" not in html
    assert "prefers-color-scheme: dark" in html
    ids = set(re.findall(' id="([^"]*)"', html))
    assert set(re.findall(' for="([^"]*)"', html)) == {"axial", "coronal", "sagittal"} <= ids
    assert {"show-truth", "show-prediction", "show-errors"} <= ids


def test_spacing_does_not_distort(settings: ViewConfig) -> None:
    """Every plane has the proportions of its mm, in all three files."""
    folder = written(settings)
    mm = [(side.stop - side.start) * length for side, length in zip(CROP, SPACING, strict=True)]
    expected = {"axial": mm[0] / mm[1], "coronal": mm[0] / mm[2], "sagittal": mm[1] / mm[2]}
    html = (folder / "view.html").read_text()
    for plane, ratio in expected.items():
        size = re.search(f'id="{plane}-canvas" width="(\\d+)" height="(\\d+)"', html)
        assert size and int(size[1]) / int(size[2]) == pytest.approx(ratio, rel=0.01)
    picture = overlay(read_case(settings))
    picture.canvas.draw()
    for axis, ratio in zip(picture.axes, np.repeat(list(expected.values()), 3), strict=True):
        box = axis.get_window_extent()
        assert box.width / box.height == pytest.approx(ratio, rel=0.01)
    with Image.open(folder / "slices.gif") as gif:
        width, height = gif.width / 2, gif.height - 4 * LINE
    assert max(width, height) == 256 and width / height == pytest.approx(
        expected["axial"], rel=0.01
    )


def test_the_picture_shows_the_lesion(settings: ViewConfig) -> None:
    """Three planes through its centre; contours in the colours of the legend, on truth and
    prediction alone."""
    picture = overlay(read_case(settings))
    assert [axis.get_title() for axis in picture.axes[:3]] == ["image", "truth", "prediction"]
    labels = [axis.get_ylabel() for axis in picture.axes[::3]]
    assert labels == [
        "axial\nslice 6 of 12",
        "coronal\nslice 12 of 30",
        "sagittal\nslice 13 of 40",
    ]
    legend = [text.get_text() for text in picture.legends[0].get_texts()]
    assert legend[0].startswith("whole (Dice 0.") and legend[1].startswith("core (Dice 0.")
    drawn = [len(axis.collections) for axis in picture.axes]
    assert drawn == [0, 2, 2] * 3
    pixels = matplotlib.image.imread(written(settings) / "overlay.png")
    assert all(coloured(pixels, colour).sum() > 100 for colour in COLOURS[:2])


def test_the_gif_has_every_axial_slice(settings: ViewConfig) -> None:
    """Contours where a slice holds the region: truth on the left, prediction on the right."""
    with Image.open(written(settings) / "slices.gif") as gif:
        assert frames(gif) == CROP[2].stop - CROP[2].start
        _, truth, prediction = volumes()
        for frame in range(frames(gif)):
            gif.seek(frame)
            pixels = np.asarray(gif.convert("RGB"))[LINE : -3 * LINE] / 255
            half = pixels.shape[1] // 2
            for labels, panel in ((truth, pixels[:, :half]), (prediction, pixels[:, half:])):
                found = coloured(panel, COLOURS[1]).any()
                assert found == (labels[..., CROP[2].start + frame] == 3).any()


def test_without_truth_there_are_two_columns_and_no_dice(settings: ViewConfig) -> None:
    """The prediction alone is shown; the centre is that of its largest lesion."""
    with_truth = (written(settings) / "view.html").read_text()
    settings.truth, settings.regions = None, "labels"
    picture = overlay(read_case(settings))
    assert [axis.get_title() for axis in picture.axes[:2]] == ["image", "prediction"]
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["label_1", "label_3"]
    html = (written(settings) / "view.html").read_text()
    for absent in ('id="truth"', "show-truth", "show-errors", ">Dice<", "Errors:", "Errors are"):
        assert absent in with_truth and absent not in html


def test_nothing_segmented_is_shown_too(settings: ViewConfig, tmp_path: Path) -> None:
    """Empty segmentations, a constant image: pictures without contours."""
    empty: np.ndarray = np.zeros(SHAPE, np.uint8)
    for name in ("seg.nii.gz", "label.nii.gz"):
        save(tmp_path / name, empty)
    settings.regions = "labels"
    assert "No label is set" in (written(settings) / "view.html").read_text()
    settings.image, settings.channel = str(save(tmp_path / "flat.nii.gz", empty)), 0
    settings.regions = "brats"
    html = (written(settings) / "view.html").read_text()
    assert html.count("<td>1.0000</td>") == 3


def test_values_that_are_no_numbers_are_black(settings: ViewConfig, tmp_path: Path) -> None:
    """NaN and infinity neither fail nor change the window of the others."""
    values: np.ndarray = np.full(SHAPE, np.nan, np.float32)
    values[5:35, 6:24, 3:9] = np.linspace(-1, 1, 30)[:, None, None]
    values[20, 10, 5] = np.inf
    settings.image, settings.channel = str(save(tmp_path / "nan.nii.gz", values)), 0
    case = read_case(settings)
    assert case.image.shape == SHAPE
    assert case.image[20, 10, 5] == 0 and case.image[0].max() == 0
    assert case.image[5, 10, 5] == 0 and case.image[34, 10, 5] == 255


def test_a_window_of_values(settings: ViewConfig) -> None:
    """Black and white as they were typed."""
    settings.window = [100.0, 355.0]
    image = volumes()[0][CROP][..., 1]
    np.testing.assert_array_equal(read_case(settings).image, np.clip(image, 100, 355) - 100)


def test_names_are_text(settings: ViewConfig, tmp_path: Path) -> None:
    """What a user wrote is neither HTML on the page nor a formula in the picture."""
    path = save(tmp_path / f"{HOSTILE}.nii.gz", volumes()[0])
    settings.image, settings.regions = str(path), {"<script><b>$x_{": [1], HOSTILE: [3]}
    html = (written(settings) / "view.html").read_text()
    assert "<title>a&lt;b&gt;&amp;$c$.nii.gz</title>" in html
    assert HOSTILE not in html and "<script><b>" not in html
    assert "&lt;script&gt;&lt;b&gt;$x_{</label>" in html


def test_a_long_gif_has_eighty_slices(settings: ViewConfig, tmp_path: Path) -> None:
    """No more, even of a volume of 200, and they differ."""
    random = np.random.default_rng(0)
    image = random.integers(1, 99, (8, 8, 200), dtype=np.int16)
    settings.image, settings.channel = str(save(tmp_path / "long.nii.gz", image)), 0
    settings.truth = None
    settings.pred = str(save(tmp_path / "longseg.nii.gz", (image > 50).astype(np.uint8)))
    with Image.open(write_gif(read_case(settings), tmp_path / "long.gif")) as gif:
        assert frames(gif) == 80
        gif.seek(79)
        last = np.asarray(gif.convert("L"))
        gif.seek(0)
        assert (np.asarray(gif.convert("L")) != last).any()


def test_large_volumes_are_thinned_towards_even_voxels() -> None:
    """Those of a usual brain scan are kept as they are."""
    assert subsampling((240, 240, 155), (1, 1, 1)) == (1, 1, 1)
    steps = subsampling((512, 512, 300), (0.5, 0.5, 1.0))
    assert steps == (3, 3, 1)
    assert np.prod(np.ceil(np.divide((512, 512, 300), steps))) <= MAX_VOXELS


def _other_shape(settings: ViewConfig, folder: Path) -> None:
    settings.pred = str(save(folder / "other.nii.gz", np.zeros((40, 30, 11), np.uint8)))


def _other_axes(settings: ViewConfig, folder: Path) -> None:
    voxels: np.ndarray = np.zeros((30, 12, 40), np.uint8)
    settings.truth = str(save(folder / "other.nii.gz", voxels, turned=False))


def _missing(settings: ViewConfig, folder: Path) -> None:
    settings.truth = str(folder / "none.nii.gz")


def _no_channel(settings: ViewConfig, folder: Path) -> None:
    settings.channel = 2


def _no_label(settings: ViewConfig, folder: Path) -> None:
    settings.pred = settings.image


def _slice(settings: ViewConfig, folder: Path) -> None:
    settings.image = str(save(folder / "slice.nii.gz", np.ones((9, 9, 1), np.int16)))


def _output_is_a_file(settings: ViewConfig, folder: Path) -> None:
    settings.output = str(folder / "file")
    (folder / "file").write_text("kept")


def _no_window(settings: ViewConfig, folder: Path) -> None:
    settings.window = [240, -160]


def _no_region(settings: ViewConfig, folder: Path) -> None:
    settings.regions = "brain"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_shape, "other.nii.gz: shape (30, 11, 40) differs from (30, 12, 40, 2) of {}/scan"),
        (_other_axes, "other.nii.gz: its affine differs from that of {}/scan.nii.gz by"),
        (_missing, "none.nii.gz: No such file or directory"),
        (_no_channel, "channel: 2 is not possible; in {}/scan.nii.gz it must be from 0 to 1"),
        (_no_label, "scan.nii.gz: a segmentation must be 3D"),
        (_slice, "is that of a slice; a scan must be 3D"),
        (_output_is_a_file, "output: {}/file cannot be written to (File exists)"),
        (_no_window, "window: [240.0, -160.0] is not possible; write [black,white]"),
        (_no_region, "regions: brain is not known; choose labels, brats, msd_brain"),
    ],
)
def test_what_does_not_fit_is_one_line(
    settings: ViewConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[ViewConfig, Path], None],
    message: str,
) -> None:
    """Through the command: exit code 2, nothing written."""
    monkeypatch.setattr(ROOT, "handlers", [])  # a later test does not have this one's stdout
    settings.regions = "labels"
    change(settings, tmp_path)
    given = {key: value for key, value in vars(settings).items() if value is not None}
    with pytest.raises(SystemExit) as caught:
        main(["view", *(f"{key}={value}" for key, value in given.items())])
    line = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and len(line) == 1
    assert line[0].startswith("error: ") and message.format(tmp_path) in line[0]
    assert not list(tmp_path.glob("*_view"))


def test_the_command_needs_no_tensorflow(settings: ViewConfig, tmp_path: Path) -> None:
    """As typed in a shell, with custom regions and a folder that does not exist yet."""
    code = (
        "import sys; from unet3d.cli import main; main(sys.argv[1:]); "
        "print('tensorflow' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    arguments = [f"image={settings.image}", f"pred={settings.pred}", f"truth={settings.truth}"]
    arguments += ["regions={whole:[1,3]}", f"output={tmp_path / 'new' / 'folder'}", "serve=false"]
    done = subprocess.run(
        [sys.executable, "-c", code, "view", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False False"
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(FILES)


PICTURE = "return document.getElementById('axial-canvas').toDataURL()"
WHEEL = """
const canvas = document.getElementById('axial-canvas');
canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: -100, cancelable: true}));
"""


@needs_chromium
def test_the_page_in_a_browser(settings: ViewConfig, tmp_path: Path) -> None:
    """Slider, keys, wheel, a click and the switches change what is drawn; a phone has room."""
    from selenium.webdriver.common.keys import Keys

    address = (written(settings) / "view.html").as_uri()
    with browser(tmp_path) as page:
        page.driver.get(address)
        reads(page, "axial", "slice 6 of 12")
        labels = page.driver.execute_script("return Array.from(volumes.prediction)")
        np.testing.assert_array_equal(labels, volumes()[2][CROP].ravel(order="F"))
        seen = [page.driver.execute_script(PICTURE)]

        def changed() -> bool:
            seen.append(page.driver.execute_script(PICTURE))
            return seen[-1] != seen[-2]

        page.find("//body").send_keys(Keys.ARROW_RIGHT)
        reads(page, "axial", "slice 7 of 12")
        assert changed()
        slider = page.find("//input[@id='axial']")
        slider.send_keys(Keys.ARROW_RIGHT)
        reads(page, "axial", "slice 8 of 12")
        assert changed() and slider.get_attribute("aria-valuetext") == "slice 8 of 12"
        page.driver.execute_script(WHEEL)
        reads(page, "axial", "slice 9 of 12")
        assert changed()
        page.click("//canvas[@id='coronal-canvas']")
        reads(page, "axial", "slice 7 of 12")
        reads(page, "sagittal", "slice 20 of 40", "slice 21 of 40")  # between the two
        assert changed()
        for switch in ("@id='show-truth'", "@id='show-prediction'", "@id='show-errors'"):
            page.click(f"//input[{switch}]")
            assert changed()
        page.click("//input[@data-region='0']")
        assert changed()
        page.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True},
        )
        page.until(lambda driver: driver.execute_script("return innerWidth") == 360, "narrow")
        wide = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide == 360
        assert page.driver.get_log("browser") == []


def reads(page: Page, plane: str, *texts: str) -> None:
    """Wait until a plane's caption is one of these texts."""
    captions = " or ".join(f"text()='{text}'" for text in texts)
    page.exists(f"//span[@id='{plane}-slice'][{captions}]")

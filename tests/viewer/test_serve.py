"""The server of `unet3d view`: what it serves, and that it serves nothing else."""

from __future__ import annotations

import gzip
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.e2e.browser import Page, browser, needs_chromium
from tests.viewer.case_folders import MARK, case_folders
from unet3d.config.schema import ViewConfig
from unet3d.errors import RunError
from unet3d.viewer.cases import find_cases
from unet3d.viewer.niivue import bundle
from unet3d.viewer.serve import CaseServer

needs_niivue = pytest.mark.skipif(bundle() is None, reason="no NiiVue: pip install ipyniivue")


@contextmanager
def serving(settings: ViewConfig) -> Iterator[CaseServer]:
    """A server of these cases on a free port."""
    with CaseServer(find_cases(settings), 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def get(server: CaseServer, path: str, host: str | None = None) -> tuple[int, bytes]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    headers = {} if host is None else {"Host": host}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@needs_niivue
def test_the_volumes_are_those_of_the_files(tmp_path: Path) -> None:
    """The scan as it is, labels on its affine; the page names them."""
    with serving(case_folders(tmp_path)) as server:
        status, html = get(server, f"{server.root}/0/")
        assert status == 200 and b"b: Dice" in html and b"prediction.nii" in html
        for name, file in {"image": "scans", "truth": "truth", "prediction": "masks"}.items():
            status, packed = get(server, f"{server.root}/0/{name}.nii")
            served = nibabel.Nifti1Image.from_bytes(gzip.decompress(packed))
            expected = nibabel.load(tmp_path / file / "b.nii.gz")
            assert status == 200
            np.testing.assert_array_equal(served.get_fdata(), expected.get_fdata())  # type: ignore[attr-defined]
            np.testing.assert_allclose(served.affine, expected.affine)  # type: ignore[attr-defined]


def test_nothing_else_is_served(tmp_path: Path) -> None:
    """Not without the secret, to a page of another name, nor any other file."""
    with serving(case_folders(tmp_path)) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert get(server, f"{server.root}/0/", f"localhost:{server.server_port}")[0] == 200
        assert get(server, f"{server.root}/0/", "example.org")[0] == 404
        for path in (
            "/",
            "/0/",
            "/wrong/0/",
            "/w\u00e4rong/0/".encode().decode("latin-1"),
            f"{server.root}/3/",
            f"{server.root}/-1/",
            f"{server.root}/\u00b2/".encode().decode("latin-1"),
            f"{server.root}/0/scan.nii",
            f"{server.root}/0/../../../../etc/passwd",
            f"{server.root}/0",
        ):
            if path.isascii():
                assert get(server, path)[0] == 404, path
            assert server.answer(path) is None


def test_a_case_that_cannot_be_read_is_a_line_on_its_page(tmp_path: Path) -> None:
    """The others are shown all the same."""
    settings = case_folders(tmp_path)
    with serving(settings) as server:
        scan = tmp_path / "scans" / "a.nii.gz"
        scan.write_bytes(scan.read_bytes()[:200])
        status, html = get(server, f"{server.root}/1/")
        assert status == 500 and b"a.nii.gz: " in html and b'id="next"' in html
        assert get(server, f"{server.root}/2/")[0] == 200


def test_without_niivue_there_are_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of one file, with the way to the other cases."""
    monkeypatch.setattr("unet3d.viewer.serve.bundle", lambda: None)
    with serving(case_folders(tmp_path)) as server:
        status, html = get(server, f"{server.root}/0/")
        assert status == 200 and b"axial-canvas" in html and b'id="next"' in html
        assert get(server, f"{server.root}/niivue.js")[0] == 404


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Not a traceback."""
    settings = case_folders(tmp_path)
    with (
        serving(settings) as server,
        pytest.raises(RunError, match="port: .* cannot be listened on"),
    ):
        CaseServer([], server.server_port)


# The mean brightness of the left and of the right half of the canvas.
HALVES = """
const canvas = document.querySelector("#niivue canvas");
niivue.drawScene();
const [width, height] = [canvas.width, canvas.height];
const pixels = new Uint8Array(4 * width * height);
niivue.gl.readPixels(0, 0, width, height, niivue.gl.RGBA, niivue.gl.UNSIGNED_BYTE, pixels);
const sums = [0, 0];
for (let i = 0; i < width * height; i++) {
  if (Math.min(...pixels.subarray(4 * i, 4 * i + 3)) > 200) sums[i % width < width / 2 ? 0 : 1]++;
}
return sums;
"""
DRAWN = "return window.niivue !== undefined && document.getElementById('status').textContent === ''"


def drawn(page: Page) -> None:
    """Wait until NiiVue shows the case."""
    page.until(lambda driver: driver.execute_script(DRAWN), "the case is drawn")


def press(page: Page, key: str) -> None:
    """A key that no field has."""
    page.driver.find_element("tag name", "body").send_keys(key)


@needs_niivue
@needs_chromium
@pytest.mark.parametrize("convention", ["radiological", "neurological"])
def test_the_patients_right_is_where_it_belongs(tmp_path: Path, convention: str) -> None:
    """The white mark at the patient's right is at the left of the axial slice, or at the right."""
    settings = case_folders(tmp_path)
    settings.convention = convention
    with serving(settings) as server, browser(tmp_path) as page:
        page.driver.set_window_size(700, 700)
        page.driver.get(server.address)
        drawn(page)
        level = (MARK[2].start + MARK[2].stop) / 2 / 16
        page.driver.execute_script(
            "niivue.opts.crosshairWidth = 0; niivue.opts.isOrientationTextVisible = false;"
            f"niivue.scene.crosshairPos = [0.5, 0.5, {level}]; niivue.setSliceType(0);"
        )
        left, right = page.driver.execute_script(HALVES)
        assert (left > 100 and right == 0) == (convention == "radiological")
        assert (right > 100 and left == 0) == (convention == "neurological")


@needs_niivue
@needs_chromium
def test_cases_and_layers_by_buttons_and_keys(tmp_path: Path) -> None:
    """Next and previous, what is drawn stays chosen, and the error map is that of the voxels."""
    with serving(case_folders(tmp_path)) as server, browser(tmp_path) as page:
        page.driver.set_window_size(700, 700)
        page.driver.get(server.address)
        drawn(page)
        opacities = "return niivue.volumes.slice(1).map((volume) => volume.opacity > 0)"
        assert page.driver.execute_script(opacities) == [True, False, True]
        press(page, "3")
        press(page, "1")
        assert page.driver.execute_script(opacities) == [False, True, True]
        counts = page.driver.execute_script(
            "const counts = [0, 0, 0];"
            "for (const value of niivue.volumes[2].img) counts[value]++; return counts"
        )
        off = 4 * 6 * 6  # voxels of a box of 6 x 6 x 6 that was moved by 4
        assert counts[1:] == [off, off]
        press(page, "n")
        page.until(lambda driver: driver.current_url.endswith("/1/"), "the next case")
        drawn(page)
        assert page.driver.execute_script(opacities) == [False, True, True]
        page.click("//button[@id='next']")
        page.until(lambda driver: driver.current_url.endswith("/2/"), "the last case")
        drawn(page)
        press(page, "p")
        page.until(lambda driver: driver.current_url.endswith("/1/"), "back")
        severe = [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert all("favicon" in entry["message"] for entry in severe)

"""Each example runs as its docstring says and writes the file that it names."""

import ast
import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
NOTEBOOK = FOLDER / "08_notebook.ipynb"
NUMBERED = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
WRITES = {
    "01_render_a_frame": "01_frame.png",
    "02_orbit_video": "02_orbit.mp4",
    "03_connect_and_stream": "03_stream.png",
    "04_stereo_for_a_headset": "04_stereo.png",
    "05_drive_by_a_motion_file": "05_motion.png",
    "06_a_live_source_of_your_own": "06_live_source.png",
    "07_an_engine_of_your_own": "07_engine.png",
}
SCREEN = 80  # lines: an example is one screen, or little more


def run(path: pathlib.Path, folder: pathlib.Path, *arguments: str) -> str:
    """Runs a script in `folder`; what it printed."""
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONWARNINGS": "error::DeprecationWarning:__main__"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def images(path: pathlib.Path) -> list[np.ndarray]:
    """The image in a PNG, or all of a video."""
    if path.suffix == ".png":
        return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED)]
    video, found = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        found.append(read[1])
    return found


def check_person(path: pathlib.Path) -> None:
    """There is something to see: the shirt of the demo avatar is blue, its jeans too, its skin is not."""
    for image in images(path):
        blue, _, red = (image[..., c].astype(int) for c in range(3))
        drawn = image[..., 3] > 128 if image.shape[2] == 4 else np.ones(image.shape[:2], bool)
        assert ((blue - red > 40) & drawn).mean() > 0.005, f"{path}: no blue shirt"
        assert ((red - blue > 25) & drawn).mean() > 0.001, f"{path}: no skin"


def test_every_example_is_known():
    assert {p.stem for p in NUMBERED} == set(WRITES)
    assert NOTEBOOK.exists()


@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_the_docstring_is_a_command_and_it_fits_a_screen(path):
    text = path.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text))
    assert f"python examples/{path.name}" in doc
    assert len(text.splitlines()) <= SCREEN


@pytest.mark.parametrize("path", NUMBERED, ids=lambda p: p.stem)
def test_it_runs_and_writes_its_file(path, tmp_path):
    said = run(path, tmp_path)
    written = f"out/{WRITES[path.stem]}"
    assert said.rstrip().endswith(written)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*")) == [written]
    check_person(tmp_path / written)


def test_the_motion_file_may_be_ones_own(tmp_path):
    from dinar_live.runtime.motion import demo_motion
    from dinar_live.runtime.motion.convert import save_motion

    path = tmp_path / "own.bvh"
    save_motion(demo_motion().slice(0, 60), path)
    said = run(FOLDER / "05_drive_by_a_motion_file.py", tmp_path, str(path))
    assert "2.0 s" in said
    check_person(tmp_path / "out" / "05_motion.png")


def test_the_notebooks_cells_run_in_order(tmp_path):
    """As one script, so that no Jupyter is needed; what a cell shows is its last line."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and "jupyter" in "".join(notebook["cells"][0]["source"])
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells), "kept without results"
    text = "\n\n".join("".join(c["source"]) for c in cells)
    shows = [line for line in text.splitlines() if line.startswith("Shown(")]
    for line in shows:
        text = text.replace(line, f"assert {line}._repr_png_()[:4] == b'\\x89PNG'")
    script = tmp_path / "notebook.py"
    script.write_text(text, encoding="utf-8")
    run(script, tmp_path)
    assert len(shows) == 2
    check_person(tmp_path / "out" / "08_notebook.png")

"""What is installed: quick to import, without torch; a wheel with everything it needs and nothing else."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy
import pytest

ROOT = pathlib.Path(__file__).parents[2]
HEAVY = (
    "torch",
    "cv2",
    "openvino",
    "onnx",
    "scipy",
    "smplx",
    "zmq",
    "websockets",
    "tensorrt",
    "nvdiffrast",
    "dinar_live.kernels.reference",
    "dinar_live.export",
)
PROBE = f"""
import sys, time
began = time.process_time()  # of the processor: a busy machine must not fail this
import dinar_live.runtime
took = time.process_time() - began
print(took, [m for m in {HEAVY} if m in sys.modules])
"""


def test_the_runtime_imports_in_half_a_second_and_no_torch():
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
        ).stdout.split(maxsplit=1)
        for _ in range(5)
    ]
    assert all(loaded.strip() == "[]" for _, loaded in runs), runs
    assert min(float(took) for took, _ in runs) < 0.5


def test_every_module_of_the_runtime_works_without_the_extras():
    """The base install has no torch, onnx and scipy: nothing but the engines that need them may ask for them
    at import."""
    names = [
        ".".join(("dinar_live", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for folder in ("runtime", "engines", "kernels")
        for p in sorted((ROOT / folder).rglob("*.py"))
    ]
    names = [
        n
        for n in names
        if n
        != "dinar_live.runtime.bench.plain_torch"  # what dinar bench compares with, where torch is installed
        and not n.removeprefix("dinar_live.engines.").startswith(
            ("torch.", "onnx.fold", "onnx.graph", "onnx.lower", "onnx.quantize", "onnx.ranges", "tensorrt.")
        )
    ]
    code = (
        "import importlib, sys\n"
        "for name in ('torch', 'onnx', 'scipy', 'smplx'): sys.modules[name] = None\n"
        f"for name in {names}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert len(names) > 60 and done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_has_what_it_needs_and_nothing_else(tmp_path):
    sources = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if sources.returncode:
        pytest.skip("not a git checkout")
    for name in sources.stdout.splitlines():  # a copy, so that no build folder of the checkout is touched
        if (ROOT / name).is_file() and not name.startswith(("tests/data", "docs/")):
            (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "src" / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path,
        ".",
    ]
    done = subprocess.run(command, cwd=tmp_path / "src", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as z:
        names = z.namelist()
        entry_points = z.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
        needs = z.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert "dinar = dinar_live.cli.main:main" in entry_points
    base = [
        line for line in needs.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line
    ]
    assert not any("torch" in line or "onnx" in line for line in base) and any(
        "pyzmq" in line for line in base
    )
    folders = ("runtime/", "export/", "engines/", "kernels/include/", "kernels/cuda/")
    kinds = (
        ".py",
        ".h",
        ".cu",
        ".cuh",
        ".html",
        ".js",
        ".css",
        ".svg",
        ".npz",
        ".NOTICE",
        ".json",
        ".safetensors",
        ".onnx",
        ".png",
    )
    expected = {
        name for name in sources.stdout.splitlines() if name.startswith(folders) and name.endswith(kinds)
    }
    # Of the clients the modules that the page shares, and nothing else.
    expected |= {
        n for n in sources.stdout.splitlines() if n.startswith("clients/javascript/") and n.endswith(".js")
    }
    assert {
        "runtime/viewer/page/index.html",
        "runtime/viewer/page/main.js",
        "runtime/viewer/page/icon.svg",
        "clients/javascript/dinar.js",
        "clients/javascript/constants.js",
        "runtime/assets/open_body.npz",
        "runtime/assets/demo_avatar/rig.safetensors",
        "kernels/include/dinar/raster.h",
    } <= expected
    front = {n for n in sources.stdout.splitlines() if n.startswith("dinar_live/")}
    front -= {"dinar_live/link_checkout.py"}
    assert {"dinar_live/__main__.py", "dinar_live/py.typed", "dinar_live/cli/main.py"} <= front
    assert sorted((front | {f"dinar_live/{n}" for n in expected}) - set(names)) == []
    assert any(n.startswith("dinar_live/kernels/_cpu") and n.endswith((".so", ".pyd")) for n in names)
    assert any(n.endswith("licenses/LICENSE") for n in names) and any(
        n.endswith("licenses/NOTICE") for n in names
    )
    folders = tuple(
        f"dinar_live/{f}/" for f in ("runtime", "export", "engines", "kernels", "clients/javascript")
    )
    names = [n for n in names if n not in front]
    strange = [
        n
        for n in names
        if not n.startswith((*folders, "dinar_live-"))
        or n.endswith((".cpp", "CMakeLists.txt", ".pyc"))
        or (n.startswith("dinar_live/clients/") and n.removeprefix("dinar_live/") not in expected)
        or "/test" in n
    ]
    assert strange == []
    with zipfile.ZipFile(wheel) as z:
        z.extractall(tmp_path / "installed")
    # -S: without the links of this environment to the checkout; the dependencies are where numpy is
    paths = [str(tmp_path / "installed"), str(pathlib.Path(numpy.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "tests" / "packaging" / "wheel_smoke.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and str(tmp_path / "installed") in done.stdout, done.stdout + done.stderr
    assert page_addresses(tmp_path / "installed" / "dinar_live") >= {"/", "/main.js", "/client/dinar.js"}


def page_addresses(package: pathlib.Path) -> set[str]:
    """What the gateway of an unpacked package serves."""
    path = package / "runtime" / "viewer" / "http.py"
    spec = importlib.util.spec_from_file_location("http_of_the_wheel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return set(module.Pages(module.RequestGuard("127.0.0.1"))._files)

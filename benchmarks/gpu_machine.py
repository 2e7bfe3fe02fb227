"""gpu_check on a machine that reaches no package registry, in one command there, with wheels that were carried:

python benchmarks/gpu_machine.py CARRY --fetch --python 3.12            # where there is a registry: fills the folder
python benchmarks/gpu_machine.py CARRY -o out/gpu --parts kernels frames    # on the machine with the GPU

The first downloads what gpu_check may need for that Python (TensorRT for RTX only with --rtx: 95 MB). The second
installs from the folder what that Python lacks, builds dinar-live from this checkout, all into CARRY/site (what is
installed stays as it is), and runs gpu_check.py with the other arguments. A wheel of dinar-live in CARRY is taken
instead of building, where it fits. Exit code: gpu_check's; 3 where the installation fails.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = {
    "13": ["cuda-core", "cuda-pathfinder", "cuda-bindings>=13,<14", "nvidia-cuda-nvrtc>=13,<14"],
    "12": ["cuda-core", "cuda-pathfinder", "cuda-bindings>=12.9.1,<13", "nvidia-cuda-nvrtc-cu12>=12.9,<13"],
}
RUNS = ["pyzmq", "websockets", "safetensors", "tqdm", "threadpoolctl", "onnx", "ml-dtypes", "protobuf"]
RUNS += ["opencv-python-headless"]  # 60 MB; reads the avatar's pictures
BUILDS = ["scikit-build-core", "nanobind", "packaging", "pathspec", "cmake", "ninja"]
TESTS = ["pytest", "pluggy", "iniconfig", "pygments", "typing-extensions"]
RTX = ["tensorrt-rtx-cu{}-libs>=1.7,<2", "tensorrt-rtx-cu{}-bindings>=1.7,<2"]


def fetch(folder: pathlib.Path, python: str, cuda: str, rtx: bool, leave: list[str]) -> int:
    """Fills the folder; what has no wheel for that Python is told."""
    names = [*PACKAGES[cuda], *RUNS, *BUILDS, *TESTS, *([name.format(cuda) for name in RTX] if rtx else [])]
    missed = []
    for name in names:
        if re.split(r"[<>=]", name)[0] in leave:
            continue
        platforms = [
            "manylinux_2_28_x86_64",
            "manylinux_2_27_x86_64",
            "manylinux_2_17_x86_64",
            "linux_x86_64",
        ]
        wanted = [f"--platform={p}" for p in (*platforms, "manylinux2014_x86_64", "any")]
        fixed = ["--no-deps", "--only-binary=:all:", f"--python-version={python}", *wanted, "-q"]
        pip = [sys.executable, "-m", "pip", "download", *fixed, "-d", str(folder), name]
        if subprocess.run(pip, check=False).returncode:
            missed.append(name)
    size = sum(path.stat().st_size for path in folder.glob("*.whl")) / 2**20
    print(f"{folder}: {size:.0f} MiB" + (f"; not found: {', '.join(missed)}" if missed else ""))
    return 0


def fits(wheel: pathlib.Path) -> bool:
    """Whether the wheel is for this Python and system."""
    from pip._vendor.packaging.tags import sys_tags
    from pip._vendor.packaging.utils import parse_wheel_filename

    return not parse_wheel_filename(wheel.name)[3].isdisjoint(sys_tags())


def lacking(wheel: pathlib.Path) -> bool:
    """Whether this Python has no package of the wheel's name."""
    name = wheel.name.split("-")[0].replace("_", "-")
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


def install(folder: pathlib.Path) -> dict[str, str]:
    """Installs into folder/site what is lacking, and dinar-live; returns the environment to run in.
    subprocess.CalledProcessError where pip fails."""
    site = folder / "site"
    search = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    scripts = os.pathsep.join([str(site / "bin"), os.environ.get("PATH", "")])
    environment = {**os.environ, "PYTHONPATH": search, "PATH": scripts}
    shutil.rmtree(site, ignore_errors=True)  # pip replaces folders of a target as a whole
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    pip += ["--no-warn-script-location", "--target", str(site)]
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        if not fits(wheel):
            print(f"gpu_machine: {wheel.name} is not for this Python", file=sys.stderr)
    usable = [str(wheel) for wheel in wheels if fits(wheel) and lacking(wheel)]
    own = [wheel for wheel in usable if "dinar_live-" in wheel]
    if usable:  # at once: several share a folder
        subprocess.run([*pip, *usable], env=environment, check=True)
    if not own:
        subprocess.run([*pip, "--no-build-isolation", str(ROOT)], env=environment, check=True)
    return environment


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], add_help=True)
    parser.add_argument("carry", type=pathlib.Path, help="the folder of wheels")
    parser.add_argument("--fetch", action="store_true", help="fill it, on a machine that reaches a registry")
    parser.add_argument("--python", default="3.12", help="with --fetch: of the machine with the GPU")
    parser.add_argument("--cuda", choices=sorted(PACKAGES), default="13", help="with --fetch")
    parser.add_argument("--rtx", action="store_true", help="with --fetch: TensorRT for RTX too")
    parser.add_argument("--leave", nargs="+", default=[], metavar="PACKAGE", help="with --fetch: not these")
    args, rest = parser.parse_known_args(argv)
    args.carry.mkdir(parents=True, exist_ok=True)
    if args.fetch:
        return fetch(args.carry, args.python, args.cuda, args.rtx, args.leave)
    try:
        environment = install(args.carry.resolve())
    except subprocess.CalledProcessError as e:
        print(f"gpu_machine: dinar-live cannot be built from {ROOT} ({e})", file=sys.stderr)
        return 3
    check = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), *rest]
    return subprocess.run(check, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

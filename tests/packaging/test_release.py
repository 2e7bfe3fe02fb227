"""What builds and ships the package names things that exist: the wheels' configuration, the containers."""

import pathlib
import re
import tomllib

import pytest

from dinar_live.cli.main import VERBS

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile*"))


def test_every_supported_python_gets_a_wheel():
    """One each for versions before the stable ABI, and one for all from then on."""
    first = int(re.fullmatch(r">=3\.(\d+)", PROJECT["project"]["requires-python"])[1])
    stable = int(PROJECT["tool"]["scikit-build"]["wheel"]["py-api"].removeprefix("cp3"))
    built = PROJECT["tool"]["cibuildwheel"]["build"].split()
    assert built == [f"cp3{version}-*" for version in range(first, stable + 1)]
    cmake = (ROOT / "kernels" / "cpu" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "nanobind_add_module(_cpu STABLE_ABI" in cmake


def test_wheels_are_tried_by_a_script_that_is_there():
    command = PROJECT["tool"]["cibuildwheel"]["test-command"]
    assert (ROOT / command.split("{project}/")[1]).is_file()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.name)
def test_containers_serve_with_keys_as_a_user_without_rights(path):
    text = path.read_text(encoding="utf-8")
    command = re.findall(r'"([^"]+)"', re.search(r"^CMD \[(.*)\]$", text, re.MULTILINE)[1])
    assert command[0] in VERBS and "--curve" in command and "--insecure" not in command
    assert re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)
    for extra in re.findall(r"^ARG EXTRA=(\w+)$", text, re.MULTILINE):
        assert extra in PROJECT["project"]["optional-dependencies"]
    version = int(re.search(r"FROM python:3\.(\d+)-", text)[1])
    assert version >= 11


def test_both_containers_are_there_and_compose_names_them():
    compose = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"dockerfile: (\S+?)[ }]", compose.replace("\n", " \n")))
    assert named == {f"docker/{path.name}" for path in DOCKERFILES} and len(named) == 2

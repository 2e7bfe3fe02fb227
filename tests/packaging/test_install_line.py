"""The line that installs an extra can work: in a checkout and for a package that no index has."""

import importlib.metadata
import pathlib

import pytest

from dinar_live.kernels import install

ROOT = pathlib.Path(__file__).parents[2]
REQUIRES = [
    "numpy>=1.26",
    'torch>=2.6; extra == "export"',
    "onnx>=1.19 ; extra == 'export'",
    'dinar-live[gpu13]; extra == "gpu"',
    'cuda-core<2,>=1.1; extra == "gpu13"',
    'lz4>=4; extra == "test"',
    "flip-evaluator>=1.7; (sys_platform == 'linux') and extra == 'test'",
]


def test_in_a_checkout_it_is_the_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert install.install_line("export") == 'pip install --editable ".[export]"'
    monkeypatch.chdir(tmp_path)
    assert install.install_line("export") == f'pip install --editable "{ROOT}[export]"'
    assert install.reinstall_line() == f'pip install --no-deps --editable "{ROOT}"'


def test_of_an_installed_package_it_is_the_packages_themselves(monkeypatch):
    monkeypatch.setattr(install, "checkout", lambda: None)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    assert install.install_line("export") == 'pip install "torch>=2.6" "onnx>=1.19"'
    assert install.install_line("gpu") == 'pip install "cuda-core<2,>=1.1"'
    assert install.install_line("test") == 'pip install "lz4>=4" "flip-evaluator>=1.7"'
    with pytest.raises(KeyError):
        install.install_line("nothing")


def test_no_message_names_an_index_that_does_not_have_us():
    """`dinar-live[extra]` may stand in pyproject.toml, and in registry.py, which replaces it."""
    said = []
    for folder in ("dinar_live", "runtime", "export", "engines", "kernels"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if path.name not in ("install.py", "registry.py") and ("dinar-live[" in text):
                said.append(path.relative_to(ROOT).as_posix())
    assert said == []

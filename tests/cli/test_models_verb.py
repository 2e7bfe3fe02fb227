"""dinar models"""

import hashlib
import zipfile

import pytest

from dinar_live.cli.main import main
from dinar_live.runtime.vision import models


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_show_and_check_without_files(cache, capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert str(cache) in out and "Apache-2.0" in out and "33 points of the body" in out
    assert out.count("missing") == 6 and "dinar models get" in out
    assert main(["models", "check"]) == 1
    assert models.MODELS["full"].sha256 in capsys.readouterr().out


def test_a_damaged_file_is_found(cache, capsys):
    cache.mkdir(parents=True)
    (cache / "face_landmark.tflite").write_bytes(b"x")
    assert main(["models", "check"]) == 1
    assert "damaged" in capsys.readouterr().out


def test_get_from_a_wheel(cache, tmp_path, capsys, monkeypatch):
    data = b"network"
    for name, m in list(models.MODELS.items()):
        changed = models.ModelFile(
            name, m.file, len(data), hashlib.sha256(data).hexdigest(), m.what, m.required
        )
        monkeypatch.setitem(models.MODELS, name, changed)
    with zipfile.ZipFile(tmp_path / "m.whl", "w") as z:
        for name in models.REQUIRED:
            z.writestr(f"mediapipe/modules/{models.MODELS[name].file}", data)
    assert main(["models", "get", "--from", str(tmp_path / "m.whl")]) == 0
    assert capsys.readouterr().out.count("present") == 6
    assert main(["models", "check"]) == 0


def test_from_belongs_to_get(capsys):
    assert main(["models", "check", "--from", "x"]) == 2
    assert "dinar models get" in capsys.readouterr().err

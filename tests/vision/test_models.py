"""The networks' files: their states, and how they are got."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from dinar_live.runtime.core.errors import ModelError
from dinar_live.runtime.vision import get_models, models
from dinar_live.runtime.vision.get_models import get_from, get_with_pip, unpack
from dinar_live.runtime.vision.models import (
    DAMAGED,
    MISSING,
    MODELS,
    PRESENT,
    REQUIRED,
    ModelFile,
    ModelFolder,
)


@pytest.fixture
def small(monkeypatch):
    """A table of two small files, whose content the test knows."""
    content = {"a": b"first network", "b": b"second"}
    table = {
        name: ModelFile(name, f"{name}.tflite", len(data), hashlib.sha256(data).hexdigest(), "")
        for name, data in content.items()
    }
    for module in (models, get_models):
        monkeypatch.setattr(module, "MODELS", table)
        monkeypatch.setattr(module, "REQUIRED", tuple(table))
    return content


def wheel(path, content):
    with zipfile.ZipFile(path, "w") as z:
        for name, data in content.items():
            z.writestr(f"mediapipe/modules/{name}.tflite", data)
        z.writestr("mediapipe/__init__.py", "raise SystemExit('must never be run')")
    return path


def test_the_table_is_whole():
    assert len(REQUIRED) == 6 and {"lite", "heavy"} == set(MODELS) - set(REQUIRED)
    assert len({m.sha256 for m in MODELS.values()}) == len(MODELS)
    assert all(len(m.sha256) == 64 and m.bytes > 1e5 for m in MODELS.values())


def test_states(small, tmp_path):
    folder = ModelFolder(tmp_path)
    folder.path("a").write_bytes(small["a"])
    folder.path("b").write_bytes(b"secon!")
    assert folder.state("a") == PRESENT and folder.state("b") == DAMAGED
    folder.path("b").unlink()
    assert folder.state("b") == MISSING and folder.wanting(small) == ["b"]
    assert folder.ready("a") == tmp_path / "a.tflite"
    with pytest.raises(ModelError, match=r"b\.tflite: missing.*dinar models get"):
        folder.ready("b")
    with pytest.raises(ModelError, match="got 'c', expected one of a, b"):
        folder.ready("c")


def test_the_getter_is_called_once_for_all(small, tmp_path):
    calls = []

    def getter(folder):
        calls.append(folder)
        unpack(wheel(tmp_path / "m.whl", small), folder)

    folder = ModelFolder(tmp_path / "models", getter)
    (tmp_path / "models").mkdir()
    assert folder.ready("a").read_bytes() == small["a"]
    assert folder.ready("b").read_bytes() == small["b"]
    assert calls == [folder]


@pytest.mark.parametrize("kind", ["wheel", "tgz", "folder"])
def test_from_what_somebody_brought(small, tmp_path, kind):
    source = tmp_path / "brought"
    if kind == "wheel":
        wheel(source, small)
    elif kind == "tgz":
        with tarfile.open(source, "w:gz") as t:
            for name, data in small.items():
                entry = tarfile.TarInfo(f"package/{name}.tflite")
                entry.size = len(data)
                t.addfile(entry, io.BytesIO(data))
    else:
        source.mkdir()
        for name, data in small.items():
            (source / f"{name}.tflite").write_bytes(data)
    folder = ModelFolder(tmp_path / "models")
    assert sorted(get_from(source, folder)) == ["a", "b"]
    assert folder.wanting(small) == []
    assert sorted(p.name for p in folder.folder.iterdir()) == ["NOTICE", "a.tflite", "b.tflite"]


def test_another_content_is_refused_and_nothing_is_left(small, tmp_path):
    folder = ModelFolder(tmp_path / "models")
    with pytest.raises(ModelError, match=r"a\.tflite is not the file.*expected"):
        get_from(wheel(tmp_path / "m.whl", {"a": b"FIRST network"}), folder)
    assert list(folder.folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off", b"\x1f\x8b cut off"])
def test_what_is_no_archive(small, tmp_path, content):
    (tmp_path / "x.whl").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.whl: "):
        get_from(tmp_path / "x.whl", ModelFolder(tmp_path / "models"))
    with pytest.raises(ModelError, match="no such file"):
        get_from(tmp_path / "y.whl", ModelFolder(tmp_path / "models"))


def test_an_archive_without_models(small, tmp_path):
    # of the wrong size: never read
    with pytest.raises(ModelError, match=r"holds none of the models; expected a\.tflite, b\.tflite"):
        get_from(wheel(tmp_path / "m.whl", {"a": b"x" * 100, "c": b""}), ModelFolder(tmp_path / "models"))


def test_offline_says_the_command_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    folder, said = ModelFolder(tmp_path / "models"), []
    with pytest.raises(ModelError) as e:
        get_with_pip(folder, said.append)
    assert "36 MB" in said[0] and "Apache-2.0" in said[0] and str(folder.folder) in said[0]
    text = str(e.value)
    assert "mediapipe==0.10.14" in text and "pip download" in text and str(folder.folder) in text
    assert "\n" not in text
    assert list(folder.folder.iterdir()) == []


def test_the_cache_may_be_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path))
    assert ModelFolder().folder == tmp_path / "models"


def test_a_folder_that_cannot_be_made(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be made"):
        get_from(wheel(tmp_path / "m.whl", small), ModelFolder(tmp_path / "file" / "models"))


def test_the_real_files(vision_models):
    assert vision_models.wanting() == []
    get_with_pip(vision_models, lambda text: pytest.fail("all is there, nothing is to be got"))

"""What export, fit and distill build at their end."""

import argparse

import pytest

from dinar_live import engines
from dinar_live.cli import ahead
from dinar_live.runtime import Avatar


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """The demo avatar's light renderer and its texture, in a folder; an engine cache of its own; no GPU."""
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ahead, "nvidia_problem", lambda: "no NVIDIA driver")
    demo = Avatar.demo()
    two = {name: demo.renderers[name] for name in ("light", "texture")}
    Avatar("a", demo.rig, two).save(tmp_path / "a")
    return tmp_path


def args(no_compile=False):
    return argparse.Namespace(no_compile=no_compile)


def test_without_a_gpu_and_without_the_packages_nothing_happens(saved, capsys, monkeypatch):
    monkeypatch.setattr(engines, "can_build_ahead", lambda name: False)
    ahead.compile_ahead(args(), saved / "a")
    assert capsys.readouterr() == ("", "") and not (saved / "cache").exists()


def test_without_a_gpu_plans_for_gpus_elsewhere_are_built(saved, capsys):
    pytest.importorskip("tensorrt_rtx_libs", reason="needs the packages of the extra rtx")
    ahead.compile_ahead(args(no_compile=True), saved / "a")
    assert capsys.readouterr().out == "" and not (saved / "cache").exists()
    ahead.compile_ahead(args(), saved / "a")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("renderer light: tensorrt-rtx 512x512 for GPUs of compute capability 8.0+, ")
    assert "checked when it is first used there" in line
    assert any(b'"kind":"plan"' in p.read_bytes() for p in (saved / "cache" / "engines").iterdir())


def test_a_builder_that_fails_is_a_note(saved, capsys, monkeypatch):
    monkeypatch.setattr(engines, "can_build_ahead", lambda name: name == "tensorrt-rtx")

    def fail(*_, **__):
        raise engines.EngineError("the disk is full")

    monkeypatch.setattr(engines, "create_builder", fail)
    ahead.compile_ahead(args(), saved / "a")
    out, err = capsys.readouterr()
    assert out == "" and err == "note: renderer light: tensorrt-rtx builds none: the disk is full\n"


def test_the_verbs_have_the_switch(capsys):
    from dinar_live.cli.main import main

    for verb in ("export", "fit", "distill"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert "--no-compile" in capsys.readouterr().out

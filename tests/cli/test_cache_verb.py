"""dinar cache: what is kept is shown, and cleared, and nothing else."""

import os

import pytest

from dinar_live.cli.main import main


def test_the_cache_is_shown_and_cleared(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path))
    for part in ("kernels", "engines", "models"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a").write_bytes(bytes(2_000_000))
    (tmp_path / "mine.txt").write_text("not of the cache")
    assert main(["cache"]) == 0
    out = capsys.readouterr().out
    assert out.count(" 2.0 MB     1 files ") == 3 and out.endswith("in all 6.0 MB\n")
    assert main(["cache", "engines", "--clear"]) == 0
    assert not (tmp_path / "engines").exists() and (tmp_path / "models" / "a").exists()
    assert main(["cache", "--clear"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.txt"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_link_is_not_cleared(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DINAR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_bytes(b"1")
    (tmp_path / "cache" / "models").symlink_to(tmp_path / "mine")
    assert main(["cache", "--clear"]) == 0
    assert (tmp_path / "mine" / "a").exists() and "is a link: not cleared" in capsys.readouterr().out


def test_an_unknown_part_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["cache", "pictures"])
    assert "got 'pictures', expected kernels, engines, models" in capsys.readouterr().err

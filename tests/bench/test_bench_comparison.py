"""compare: plain torch and ONNX Runtime draw the same pictures as we do, or are skipped with the reason."""

import pytest

from dinar_live import engines
from dinar_live.runtime.avatar import Avatar
from dinar_live.runtime.bench import comparison
from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.motion import demo_motion

OPTIONS = {
    "size": (96, 80),
    "renderer": "auto",
    "engine": "auto",
    "precision": "f32",
    "threads": 1,
    "device": "cpu",
}


@pytest.fixture
def registered():
    """Engines that a run adds go again."""
    yield
    from dinar_live.engines import registry

    registry._backends.pop(comparison.ORT, None)


def test_all_draw_the_same(registered):
    result = comparison.run_comparison(Avatar.demo(), demo_motion(), 3, OPTIONS)
    assert result["faults"] == [] and result["renderer"] == next(iter(Avatar.demo().renderers))
    names = [row["name"] for row in result["rows"]]
    assert names[0].startswith("dinar-live (openvino f32)") and names[-1].startswith("plain torch")
    for row in result["rows"]:
        if "skipped" in row:
            assert "not installed" in row["skipped"] or "pip install" in row["skipped"]
        else:
            assert row["frames"] == 3 and row["psnr"] > 50 and row["latency_ms"]["p50"] > 0
    assert result["rows"][0]["ratio"] == 1.0
    text = "\n".join(comparison.lines(result))
    assert "plain torch" in text and "ONNX Runtime" in text


def test_what_is_not_installed_is_skipped(registered, monkeypatch):
    monkeypatch.setattr(
        engines.Backend,
        "missing",
        lambda self: list(self.requires) if comparison.ORT in self.requires else [],
    )
    monkeypatch.setattr(engines, "available_engines", lambda: {"torch": "no torch: pip install torch"})
    result = comparison.run_comparison(Avatar.demo(), demo_motion(), 1, OPTIONS)
    skipped = [row["skipped"] for row in result["rows"] if "skipped" in row]
    assert skipped == ["onnxruntime is not installed: pip install onnxruntime", "no torch: pip install torch"]
    assert "skipped: no torch" in "\n".join(comparison.lines(result))


def test_a_wrong_picture_is_a_fault(registered, monkeypatch):
    real = comparison._plain

    def wrong(avatar, plan, options):
        row = real(avatar, plan, options)
        draw = row.draw
        row.draw = lambda pose, camera: draw(pose, camera)[:, ::-1].copy()
        return row

    pytest.importorskip("torch")
    monkeypatch.setattr(comparison, "_plain", wrong)
    result = comparison.run_comparison(Avatar.demo(), demo_motion(), 1, OPTIONS)
    assert len(result["faults"]) == 1 and "plain torch" in result["faults"][0]


def test_a_renderer_without_a_network_has_nothing_to_compare():
    with pytest.raises(InputError, match="has no network"):
        comparison.run_comparison(Avatar.demo(), demo_motion(), 1, {**OPTIONS, "renderer": "texture"})
    with pytest.raises(InputError, match="--frames"):
        comparison.run_comparison(Avatar.demo(), demo_motion(), 0, OPTIONS)

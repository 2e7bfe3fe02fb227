"""The window holds the body and its margin, lies on the stride and inside the (padded) picture."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dinar_live.runtime.render.window import Window, fit_window, padded

pixels = st.floats(-3000, 3000)


@settings(max_examples=500, deadline=None)
@given(
    x=st.tuples(pixels, pixels),
    y=st.tuples(pixels, pixels),
    h=st.integers(1, 900),
    w=st.integers(1, 900),
    margin=st.integers(0, 100),
    stride=st.sampled_from([1, 2, 8, 16]),
    bucket=st.sampled_from([1, 64]),
)
def test_window_holds_the_body(x, y, h, w, margin, stride, bucket):
    bounds = (min(x), min(y), max(x), max(y))
    bucket = max(bucket, stride)
    window = fit_window(bounds, (h, w), margin=margin, stride=stride, bucket=bucket)
    H, W = padded((h, w), stride)
    seen = bounds[2] > -margin and bounds[3] > -margin and bounds[0] < w + margin and bounds[1] < h + margin
    assert (window is not None) == seen
    if window is None:
        return
    assert 0 <= window.x0 and window.x0 + window.width <= W and window.width > 0
    assert 0 <= window.y0 and window.y0 + window.height <= H and window.height > 0
    assert not any(v % stride for v in window)
    assert window.x0 <= max(0, bounds[0] - margin) or window.x0 + window.width == W
    assert window.x0 <= max(0, min(bounds[0] - margin, W))
    assert window.x0 + window.width >= min(W, bounds[2] + margin)
    assert window.y0 <= max(0, min(bounds[1] - margin, H))
    assert window.y0 + window.height >= min(H, bounds[3] + margin)
    assert window.width % bucket == 0 or window.width == W
    assert window.height % bucket == 0 or window.height == H


def test_unknown_bounds_mean_everything():
    assert fit_window(None, (100, 60), stride=8) == Window(0, 0, 64, 104)


def test_a_standing_person_needs_half_the_picture():
    window = fit_window((190, 40, 330, 470), (512, 512), margin=32, stride=8)
    assert (window.height, window.width) == (512, 256)

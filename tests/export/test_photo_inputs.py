"""Photos that come without masks and fits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dinar_live.export.inputs import read_view
from dinar_live.export.photo_inputs import complete
from dinar_live.runtime.avatar import Body
from dinar_live.runtime.core.errors import InputError


@pytest.fixture(scope="module")
def body():
    return Body.open()


def test_everything_given_is_passed_on_untouched(tmp_path, body):
    files = complete(["a.png"], ["m.png"], ["f.npz"], tmp_path / "x", body=body)
    assert (files.photos, files.masks, files.fits) == (["a.png"], ["m.png"], ["f.npz"])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "masks, fits, text", [(["m"], [], "2 --photo and 1 --mask"), ([], ["f"], "2 --photo and 1 --smplx")]
)
def test_one_for_each_photo_or_none(tmp_path, body, masks, fits, text):
    with pytest.raises(InputError, match=text):
        complete(["a.png", "b.png"], masks, fits, tmp_path / "x", body=body)


def test_a_height_in_centimetres(tmp_path, body):
    with pytest.raises(InputError, match="not centimetres"):
        complete(["a.png"], [], [], tmp_path / "x", body=body, height=174)


def test_masks_and_fits_are_made(shared, tmp_path, body, vision_models):
    photo = shared / "people" / "kofi" / "photo"
    said = []
    # One of them larger than what is worked with, and grey.
    grey = cv2.cvtColor(cv2.imread(str(photo / "photo_back.png")), cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(tmp_path / "photo.png"), cv2.resize(grey, (4200, 4200)))
    files = complete(
        [str(photo / "photo.png"), str(tmp_path / "photo.png")],
        [],
        [],
        tmp_path / "x",
        body=body,
        say=said.append,
    )
    assert files.photos == [str(photo / "photo.png"), str(tmp_path / "x" / "photo_2.png")]
    front, back = (read_view(*v) for v in zip(files.photos, files.masks, files.fits, strict=True))
    assert np.array_equal(front.betas, back.betas) and back.rgb.shape == (4096, 4096, 3)
    true = cv2.imread(str(photo / "mask.png"), 0) > 127
    assert ((front.mask > 0.5) == true).mean() > 0.99
    assert (tmp_path / "x" / "photo_overlay.jpg").is_file() and (
        tmp_path / "x" / "photo_2_overlay.jpg"
    ).is_file()
    assert any("score 0.9" in line for line in said)


def test_a_given_mask_wins(shared, tmp_path, body, vision_models):
    photo = shared / "people" / "ada" / "photo"
    files = complete(
        [str(photo / "photo.png")],
        [str(photo / "mask.png")],
        [],
        tmp_path / "x",
        body=body,
        say=lambda text: None,
    )
    assert files.masks == [str(photo / "mask.png")] and len(files.fits) == 1
    assert not (tmp_path / "x" / "photo_mask.png").exists()

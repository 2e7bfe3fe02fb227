"""Photos of people whose truth is known, through networks and solver (skipped where the networks are not there)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dinar_live.runtime.core.errors import InputError
from dinar_live.runtime.core.rotations import axis_angle_to_matrix
from dinar_live.runtime.vision.person import fit_person, look_at, scaled_mask
from dinar_live.runtime.vision.pictures import Picture
from dinar_live.runtime.vision.solver.photo_fit import FitOptions, open_solver_body
from dinar_live.runtime.vision.solver.silhouette import overlap


@pytest.fixture(scope="session")
def kofi(people_photos, landmarker):
    pictures = [Picture(n, people_photos[n][0]) for n in ("kofi", "kofi_back")]
    return pictures, look_at(pictures, landmarker)


def test_front_and_back(kofi, people_photos):
    pictures, sights = kofi
    found = fit_person(pictures, sights)
    for photo in found:
        true = people_photos[photo.picture.name][1] > 0.5
        assert photo.score.verdict == "good" and photo.score.warnings == ()
        assert photo.score.overlap > 0.86 and overlap(photo.mask > 127, true) > 0.96
        assert photo.overlay().shape == (1000, 1000, 3)
    assert [p.side for p in found] == ["the front", "behind"]
    assert np.array_equal(found[0].fit.betas, found[1].fit.betas)


@pytest.mark.parametrize(
    "turn, side", [(1.5, "the right"), (-1.5, "the left"), (0.2, "the front"), (3.1, "behind")]
)
def test_sides(kofi, turn, side):
    """A person whose pelvis turns to its left, to the picture's right, shows the camera the right side."""
    photo = fit_person(kofi[0][:1], kofi[1][:1])[0]
    local = photo.fit.local.copy()
    local[0] = axis_angle_to_matrix([0, turn, 0])
    assert replace(photo, fit=replace(photo.fit, local=local)).side == side


def test_height(kofi):
    pictures, sights = kofi
    found = fit_person(pictures[:1], sights[:1], options=FitOptions(height=1.95))[0]
    assert open_solver_body().height(found.fit.betas)[0] == pytest.approx(1.95, abs=0.01)


def test_a_photo_s_own_transparency_is_its_mask(people_photos, landmarker):
    rgb, mask = people_photos["ada"]
    alpha = np.round(255 * mask).astype(np.uint8)
    [sight] = look_at([Picture("ada", rgb, alpha)], landmarker)
    assert np.abs(sight.landmarks.mask - mask).max() < 0.01


def test_half_a_person_is_refused_in_words(people_photos, landmarker):
    rgb = people_photos["marco"][0]
    picture = Picture("selfie", np.ascontiguousarray(rgb[:560]))
    with pytest.raises(
        InputError, match=r"selfie: the legs and the feet lie outside the picture; expected the whole"
    ):
        fit_person([picture], look_at([picture], landmarker))


def test_scaled_mask():
    mask = np.zeros((40, 20), np.uint8)
    mask[:20] = 255
    assert scaled_mask(mask, (20, 10))[:10].min() == 1.0 and scaled_mask(mask, (40, 20)).max() == 1.0

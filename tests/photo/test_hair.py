"""Hair is found, and hats and walls are not mistaken for hair."""

import numpy as np
import pytest
from photo_faces import registered
from scipy import ndimage

from micromotion.photo.hair import Hair, find_hair, guided
from micromotion.photo.head import fit_head
from micromotion.photo.registration import Registration
from micromotion.photo.sampling import Picture
from micromotion.photo.skin import find_skin
from tools.mean_face import mean_landmarks

SIDE, UNIT = 360, 58.0
MIDDLE = np.array([SIDE / 2, 0.45 * SIDE])
SKIN, BROWN, WALL = (0.78, 0.60, 0.50), (0.30, 0.20, 0.13), (0.55, 0.62, 0.70)


def hair_of(registration: Registration) -> Hair:
    return find_hair(registration, fit_head(registration), find_skin(registration))


def drawn_head(
    strands: float, wall: tuple[float, ...] = WALL, lowest: float = 0.6, highest: float = -9.0
) -> tuple[Registration, np.ndarray]:
    """A mean face under hair with strands (or as smooth as a cap), and the mask of the hair."""
    random = np.random.default_rng(3)
    y, x = (np.mgrid[:SIDE, :SIDE] - MIDDLE[::-1, None, None]) / UNIT
    head = (x / 1.55) ** 2 + ((y + 0.1) / 1.75) ** 2 < 1
    face = (x / 1.18) ** 2 + ((y - 0.45) / 1.42) ** 2 < 1
    hair = head & ~face & (y < lowest) & (y > highest)
    picture = np.tile(np.array(wall, np.float32), (SIDE, SIDE, 1))
    picture += random.normal(0, 0.008, picture.shape).astype(np.float32)
    skin = face | (head & (y < highest))
    picture[skin] = SKIN + random.normal(0, 0.008, (int(skin.sum()), 3))
    streaks = ndimage.gaussian_filter(random.normal(size=(SIDE, SIDE)), (6, 1.6))
    shade = np.exp(strands * streaks / streaks.std())[..., None]
    picture[hair] = (np.array(BROWN) * shade)[hair]
    landmarks = mean_landmarks() * UNIT + MIDDLE
    return Registration(np.clip(picture, 0, 1).astype(np.float32), landmarks, np.eye(2, 3)), hair


def test_drawn_hair_is_found_and_ends_where_it_ends() -> None:
    registration, hair = drawn_head(strands=0.4)
    found = hair_of(registration).sure
    inside, outside = ndimage.binary_erosion(hair, iterations=6), ~ndimage.binary_dilation(hair, iterations=6)
    assert found[inside].mean() > 0.7
    assert found[outside].mean() < 0.005


def test_a_bald_head_between_hair_stays_bald() -> None:
    registration, hair = drawn_head(strands=0.4, highest=-0.4)
    found = hair_of(registration).sure
    assert found[: int(MIDDLE[1] - 0.6 * UNIT)].mean() < 0.005
    assert found[ndimage.binary_erosion(hair, iterations=6)].mean() > 0.3


def test_a_smooth_cap_is_not_hair() -> None:
    registration, _ = drawn_head(strands=0.03)
    assert hair_of(registration).sure.max() < 0.05


def test_a_shape_that_ends_above_the_eyes_is_a_hat() -> None:
    registration, _ = drawn_head(strands=0.4, lowest=-0.45)
    assert hair_of(registration).sure.max() < 0.05


def test_hair_before_a_wall_of_the_same_colour_is_uncertain() -> None:
    registration, _ = drawn_head(strands=0.1, wall=BROWN)
    assert hair_of(registration).sure.mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["grace-hopper", "jakob-fugger", "benjamin-franklin", "peter-stuyvesant", "johan-de-witt", "mona-lisa"],
)
def test_hats_bald_heads_veils_and_dark_walls_stay_as_they_are(name: str) -> None:
    assert hair_of(registered(name)).sure.mean() < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eileen-collins", "young-woman-in-mauve"])
def test_hair_in_photos_is_found_without_a_halo(name: str) -> None:
    registration = registered(name)
    found = hair_of(registration).sure
    assert found.mean() > 0.07
    height = (
        registration.landmarks[36:48].mean(axis=0)[1] - np.arange(registration.side)
    ) / registration.eye_distance
    assert found[height > 2.4].max(initial=0) < 0.1
    assert found[find_skin(registration).cheeks].max() < 0.2


def test_the_guided_filter_aligns_a_mask_with_edges() -> None:
    guide: Picture = np.zeros((40, 40), np.float32)
    guide[:, 20:] = 1
    rough = ndimage.gaussian_filter(guide, 3).astype(np.float32)
    laid = guided(guide, rough, 3, 1e-4)
    assert laid[20, 20] - laid[20, 19] > 2 * (rough[20, 20] - rough[20, 19])

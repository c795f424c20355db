"""Contact sheets: which frames, their layout, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micromotion.video.contact_sheet import contact_sheet, evenly_spaced

COLOURS = [(250, 20, 20), (20, 240, 20), (20, 20, 245), (240, 230, 10), (10, 230, 240)]


def plain(colour: tuple[int, int, int], height: int = 128, width: int = 128) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


@given(st.integers(1, 2000), st.integers(1, 300))
def test_evenly_spaced_indices_are_distinct_and_include_both_ends(total: int, count: int) -> None:
    chosen = evenly_spaced(total, count)
    assert len(chosen) == min(total, count)
    assert chosen[-1] == total - 1
    assert chosen[0] == (0 if len(chosen) > 1 else total - 1)
    steps = np.diff(chosen)
    assert all(steps >= 1)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_evenly_spaced_examples() -> None:
    assert evenly_spaced(90, 8) == [0, 13, 25, 38, 51, 64, 76, 89]
    assert evenly_spaced(3, 8) == [0, 1, 2]
    assert evenly_spaced(100, 1) == [99]


@pytest.mark.parametrize(("total", "count"), [(0, 3), (3, 0), (-1, 1)])
def test_evenly_spaced_refuses_zero(total: int, count: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        evenly_spaced(total, count)


def test_every_frame_is_shown_whole_in_reading_order() -> None:
    sheet = np.asarray(contact_sheet([plain(c) for c in COLOURS], columns=3, tile=200))
    for index, colour in enumerate(COLOURS):
        rows, columns = np.nonzero((sheet == colour).all(axis=2))
        assert len(rows) == 200 * 200  # nothing covers it, and scaling keeps a flat colour
        assert np.ptp(rows) == np.ptp(columns) == 199
        assert (rows[0] // 204, columns[0] // 204) == (index // 3, index % 3)


def test_there_is_a_margin_on_every_side() -> None:
    sheet = np.asarray(contact_sheet([plain((0, 0, 0))] * 4, columns=2, tile=64))
    for edge in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]):
        assert (edge > 240).all()
    assert (sheet[:, sheet.shape[1] // 2] > 240).all()
    assert (sheet[sheet.shape[0] // 2] > 240).all()


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (5, 5), (6, 6), (7, 4), (8, 4), (10, 5), (12, 6), (13, 5)]
)
def test_rows_are_filled_evenly(count: int, columns: int) -> None:
    width = contact_sheet([plain((0, 0, 0), 8, 8)] * count, tile=28).width
    assert width == 2 + columns * 30


@pytest.mark.parametrize(("height", "width"), [(128, 96), (96, 128), (1024, 512), (1, 300)])
def test_frames_keep_their_proportions(height: int, width: int) -> None:
    sheet = np.asarray(contact_sheet([plain((255, 0, 0), height, width)], tile=192))
    rows, columns = np.nonzero((sheet == (255, 0, 0)).all(axis=2))
    longer = max(height, width)
    assert np.ptp(rows) + 1 == max(1, round(height * 192 / longer))
    assert np.ptp(columns) + 1 == max(1, round(width * 192 / longer))


def test_labels_are_below_their_frames_and_change_nothing_else() -> None:
    frames = [plain((9, 9, 200))] * 3
    bare = np.asarray(contact_sheet(frames, labels=["", "", ""]))
    sheet = np.asarray(contact_sheet(frames, labels=["", "50%", ""]))
    rows, columns = np.nonzero((bare != sheet).any(axis=2))
    assert len(rows) > 50
    below = np.nonzero((bare == (9, 9, 200)).all(axis=2))[0].max()
    assert rows.min() > below
    third = bare.shape[1] / 3
    assert third < columns.min() < columns.max() < 2 * third
    assert sheet[rows, columns].min() < 100  # dark on light: readable


def test_a_label_that_is_too_long_is_cut_and_stays_in_its_column() -> None:
    frames = [plain((9, 9, 200))] * 3
    bare = np.asarray(contact_sheet(frames, labels=[""] * 3))
    sheet = np.asarray(contact_sheet(frames, labels=["", "anger " * 40, ""]))
    columns = np.nonzero((bare != sheet).any(axis=2))[1]
    third = bare.shape[1] / 3
    assert third < columns.min() < columns.max() < 2 * third


def test_the_frames_given_are_not_changed_and_the_sheet_is_the_same_each_time() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    before = frame.copy()
    first, second = (contact_sheet([frame, frame], labels=["a", "b"]).tobytes() for _ in range(2))
    assert first == second
    assert (frame == before).all()


@pytest.mark.parametrize(
    ("frames", "options", "reason"),
    [
        ([], {}, "at least one"),
        ([plain((0, 0, 0)), plain((0, 0, 0), 64, 128)], {}, "differ in size"),
        ([plain((0, 0, 0)).astype(np.float32)], {}, "float32"),
        ([plain((0, 0, 0))[..., 0]], {}, "uint8"),
        ([plain((0, 0, 0))], {"labels": ["a", "b"]}, "2 labels for 1"),
        ([plain((0, 0, 0))], {"columns": 0}, "at least 1"),
        ([plain((0, 0, 0))], {"tile": 0}, "at least 1"),
    ],
)
def test_bad_input_is_refused(frames: list[np.ndarray], options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        contact_sheet(frames, **options)

"""Move a face: effects to one stroke on the square around it.

The parts draw in this order, each on the result of the previous ones: gaze, lids, the lines of age,
expression and mouth, and last the turn of the head. Each part analyses the photo when it is first used.
"""

from __future__ import annotations

from functools import cached_property

from micromotion.photo.age import Ageing
from micromotion.photo.effects import Effects
from micromotion.photo.expression import expression_landmarks
from micromotion.photo.eyes import Eye
from micromotion.photo.gaze import Eyeball, find_irises
from micromotion.photo.head import HeadFit, fit_head
from micromotion.photo.mouth import Mouth
from micromotion.photo.neighbours import Borders
from micromotion.photo.registration import Registration
from micromotion.photo.strokes import Stroke, composed
from micromotion.photo.turn import Turn
from micromotion.types import Floats


class MovingFace:
    """The parts of one face in its photo; no state changes between frames."""

    def __init__(self, registration: Registration, borders: Borders | None = None) -> None:
        """borders: to the faces near it; None if there are none."""
        self.registration = registration
        self._borders = borders

    def stroke(
        self,
        effects: Effects,
        field: Floats | None = None,
        *,
        gaze: Floats | None = None,
        travel: Floats | None = None,
    ) -> Stroke:
        """The stroke for these effects on the square around the face; empty if nothing moves.

        field: [68, 2], displacement of the landmarks beyond the effects, see `effects.Reading`. gaze: [2, 2],
        displacement of the left and the right iris, (right, down) in eye widths; nothing if the irises are
        not clearly seen. travel: [3], see `Turn.stroke`.
        """
        strokes = []
        if gaze is not None and gaze.any():
            strokes += [eye.stroke(way) for eye, way in zip(self._eyeballs, gaze, strict=False)]
        for eye, closed in zip(self._eyes, (effects.left_eye, effects.right_eye), strict=True):
            if closed:
                strokes.append(eye.stroke(closed))
        if effects.age:
            strokes.append(self._ageing.stroke(effects.age))
        if (
            effects.smile
            or effects.mouth_open
            or effects.anger
            or effects.age
            or (field is not None and field.any())
        ):
            landmarks = expression_landmarks(
                self.registration,
                smile=effects.smile,
                mouth_open=effects.mouth_open,
                anger=effects.anger,
                age=effects.age,
                field=field,
            )
            strokes += self._mouth.strokes(landmarks)
        if self._borders is not None:
            strokes = [self._borders.soften(stroke, self.registration.side) for stroke in strokes]
        if effects.yaw or effects.pitch or effects.roll or (travel is not None and travel.any()):
            strokes.append(self._turn.stroke(effects.yaw, effects.pitch, effects.roll, travel))
        whole = composed(strokes, self.registration.side)
        return whole if self._borders is None else self._borders.hide(whole, self.registration.side)

    @cached_property
    def _eyes(self) -> tuple[Eye, Eye]:
        return Eye.found(self.registration, 0), Eye.found(self.registration, 1)

    @cached_property
    def _eyeballs(self) -> list[Eyeball]:
        """Both eyes' parts; none if one of the irises is not clear, as a single one must not move."""
        one, other = (eye.lids for eye in self._eyes)
        irises = find_irises(self.registration, (one, other))
        if irises is None:
            return []
        return [
            Eyeball(self.registration, lids, iris) for lids, iris in zip((one, other), irises, strict=True)
        ]

    @cached_property
    def _head(self) -> HeadFit:
        head = fit_head(self.registration)
        return head if self._borders is None else self._borders.confine(head)

    @cached_property
    def _ageing(self) -> Ageing:
        return Ageing.of(self.registration, self._head)

    @cached_property
    def _mouth(self) -> Mouth:
        return Mouth.found(self.registration)

    @cached_property
    def _turn(self) -> Turn:
        return Turn.of(self.registration, self._head)

"""What a prediction's inputs say, in whatever form they came.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from micromotion.options import View, view_of_frame


def stripped(inputs: Mapping[str, object]) -> dict[str, object]:
    """The inputs, texts without the blanks around them."""
    return {name: each.strip() if isinstance(each, str) else each for name, each in inputs.items()}


def chosen_view(inputs: Mapping[str, Any]) -> View:
    """The input `view`, or what the old input `frame` calls it."""
    return view_of_frame(inputs["frame"]) if inputs["frame"] else cast("View", inputs["view"])

"""Shows warnings as plain lines, for programs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from micromotion.errors import NoEffectWarning


@contextmanager
def notices_to(say: Callable[[str], object]) -> Iterator[None]:
    """Within the block, pass each NoEffectWarning's message to `say`; show other warnings as usual."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", NoEffectWarning)
        show = warnings.showwarning

        def showwarning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, NoEffectWarning):
                say(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = showwarning
        yield

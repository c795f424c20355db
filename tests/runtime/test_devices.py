"""A device is found by its name, and other names are refused."""

import pytest
import torch

from micromotion.errors import OptionError
from micromotion.runtime.devices import pick_device


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("gpu", "cuda:99", "meta", "", "cpu; rm"):
        with pytest.raises(OptionError):
            pick_device(wrong)

"""Hidden units that depend on one factor: their kinks are where the renderer's are."""

import pytest
import torch
import torch.nn.functional as F

from avatar.renderer.factors import INDEX, Z_DIM, factors_from_z, fill_to_norm, sample_z
from avatar.renderer.hair import cut
from avatar.training.bends import BENDS, give_units, units
from stylegan2.mapping import Mapping
from stylegan2.ops import LEAK


@pytest.fixture
def mapping() -> Mapping:
    mapping = Mapping(Z_DIM, 128, 2, 1.0, torch.Generator().manual_seed(1))
    give_units(mapping, torch.Generator().manual_seed(2))
    return mapping


def codes_along(name: str, values: torch.Tensor) -> torch.Tensor:
    """One person's latents, all of length √Z_DIM, whose entry for one factor takes these values."""
    z = sample_z(1, torch.Generator().manual_seed(3)).clamp(-1, 1).expand(len(values), -1).clone()
    z[:, INDEX[name]] = values
    return fill_to_norm(z)


def test_each_kink_is_at_its_quantile_of_the_factor(mapping: Mapping) -> None:
    shares = [(name, share) for name, all_shares in BENDS.items() for share in all_shares]
    first = mapping.layers[0]
    for unit, ((name, place), (same, share)) in enumerate(zip(units(), shares, strict=True)):
        assert name == same
        codes = codes_along(name, torch.tensor([place - 0.01, place, place + 0.01]))
        before, at, after = first(codes)[:, unit].tolist()
        assert before < 0 < after
        assert at == pytest.approx(0, abs=1e-4)
        lowest, highest, here = factors_from_z(codes_along(name, torch.tensor([-9.0, 9.0, place])))[name]
        assert float((here - lowest) / (highest - lowest)) == pytest.approx(share, abs=0.003)


def test_a_unit_depends_on_one_factor(mapping: Mapping) -> None:
    for unit, (name, _) in enumerate(units()):
        seen = mapping.get_parameter("layers.0.weight")[unit].nonzero().flatten().tolist()
        assert seen == [INDEX[name]]


def test_w_changes_only_where_the_hair_cut_does(mapping: Mapping) -> None:
    z = torch.linspace(-1.5, 1.5, 301)
    codes = codes_along("hair_cut", z)
    given = [i for i, (name, _) in enumerate(units()) if name == "hair_cut"]
    hidden = F.leaky_relu(mapping.layers[0](codes), LEAK)[:, given]
    share = hidden @ mapping.get_parameter("layers.1.weight")[:, given].T
    moved = (share[1:] - share[:-1]).norm(dim=1)
    table = torch.cat(list(cut(factors_from_z(codes))), dim=1)
    changes = (table[1:] - table[:-1]).abs().amax(dim=1) > 1e-4
    assert 50 < int(changes.sum()) < 250
    assert moved[changes].mean() > 20 * moved[~changes].mean()

"""The predictor in this process, set up and called as by Cog's worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificate_files import write_certificate
from public_files import Offer
from service_worker import load, play, unprepared
from shown import shown

from micromotion.errors import BundleError, CredentialsError


@pytest.mark.slow
def test_the_seed_matters(random_bundle: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called as by Cog's worker, with a model that has noise inputs."""
    predictor = load(random_bundle, monkeypatch)

    def video(seed: int) -> str:
        return shown(play(predictor, astronaut_file, seed=seed))

    videos = [video(seed) for seed in (-1, 0, 3, 4294967295)]
    assert len(set(videos)) == 4
    assert video(3) == videos[2]


@pytest.mark.slow
def test_setup_fetches_the_model_only_if_allowed(
    offer: Offer,
    cache: Path,
    astronaut_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only with MICROMOTION_FETCH, and only once; each time it reports what it loaded."""
    predictor = unprepared(Path("tiny"), monkeypatch)
    with pytest.raises(BundleError, match="run `micromotion weights fetch tiny`"):
        predictor.setup()
    monkeypatch.setenv("MICROMOTION_FETCH", "1")
    for fetched in (["smile.d_latent", "headsTurn.d_latent", "e4e.pt"], []):
        offer.forget()
        predictor.setup()
        assert sorted(offer.asked()) == sorted(fetched)
        line = capsys.readouterr().out
        assert line.startswith("Model tiny: generator.safetensors and inverter.safetensors from")
        assert "float32 on cpu" in line
    assert play(predictor, astronaut_file)[4:8] == b"ftyp"


def test_setup_fails_with_an_unusable_certificate(
    random_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", "cert.pem,key.pem")
    with pytest.raises(CredentialsError, match=r"cert\.pem, which MICROMOTION_CREDENTIALS names"):
        unprepared(random_bundle, monkeypatch).setup()


@pytest.mark.slow
def test_the_operator_leaves_credentials_out(
    random_bundle: Path, astronaut_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request then gives the same bytes."""
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", "off")
    predictor = load(random_bundle, monkeypatch)
    assert play(predictor, astronaut_file) == play(predictor, astronaut_file)


@pytest.mark.slow
def test_a_caller_is_not_shown_where_the_certificate_was(
    random_bundle: Path, astronaut_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there in setup, and is gone when a prediction needs it."""
    files = write_certificate(tmp_path)
    monkeypatch.setenv("MICROMOTION_CREDENTIALS", ",".join(map(str, files)))
    predictor = load(random_bundle, monkeypatch)
    files[0].unlink()
    with pytest.raises(CredentialsError, match=r"^the server's certificate, which .*, no such file"):
        play(predictor, astronaut_file)

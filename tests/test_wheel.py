"""A wheel built from the project works outside the checkout, with the embedded model in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents in a separate folder, without the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)],
        check=True,
    )
    (wheel,) = folder.glob("micromotion-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


def test_the_wheel_animates_with_its_own_model(installed: Path, astronaut_file: Path, tmp_path: Path) -> None:
    where = run(installed, "-c", "import micromotion; print(micromotion.__file__)", cwd=tmp_path).stdout
    assert Path(where.strip()).is_relative_to(installed)
    run(
        installed,
        "-m",
        "micromotion",
        "animate",
        str(astronaut_file),
        "--frames",
        "3",
        "-o",
        "out.mp4",
        cwd=tmp_path,
    )
    assert (tmp_path / "out.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_wheel_contains_the_service_and_not_the_training_code(installed: Path) -> None:
    data = installed / "micromotion/data"
    assert (data / "service/predict.py").is_file()
    assert (data / "service/openapi.json").is_file()
    assert (data / "weights/manifest.toml").is_file()
    assert len(list((data / "anchors/ffhq").glob("*.toml"))) == 5
    motions = {path.name for path in (data / "anchors/avatar").glob("*.safetensors")}
    assert motions == {path.name for path in (ROOT / "anchors/avatar").glob("*.safetensors")}
    assert len(motions) >= 5
    assert (data / "faces/face.jpg").is_file()
    assert (data / "faces/mona-lisa.jpg").is_file()
    assert (installed / "stylegan2/kernels.cu").is_file()
    assert (installed / "micromotion/page/style.css").is_file()
    assert not (installed / "avatar").exists()
    assert not (installed / "tests").exists()


@pytest.mark.parametrize("package", ["micromotion", "stylegan2", "encoder4editing"])
def test_the_wheel_says_that_it_has_types(installed: Path, package: str) -> None:
    assert (installed / package / "py.typed").is_file()


def test_a_users_type_checker_sees_our_types(installed: Path, tmp_path: Path) -> None:
    """Without py.typed, mypy ignores what is installed."""
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")  # it takes a minute
    script = tmp_path / "user.py"
    script.write_text(
        "from micromotion import Animator\n"
        'reveal_type(Animator.load("avatar").animate("face.jpg", frames=3)[1:].duration)\n'
    )
    done = run(installed, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(script), cwd=tmp_path)
    assert 'Revealed type is "float"' in done.stdout or 'Revealed type is "builtins.float"' in done.stdout

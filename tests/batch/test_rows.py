"""Rows: an id is decided by the photo, the name, the request and the model, and by nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from micromotion.batch.request import Request
from micromotion.batch.rows import Row, RowMaker, digest_key, harmless
from micromotion.batch.sources import Entry, list_entries
from micromotion.errors import OptionError
from micromotion.options import AnimateOptions
from micromotion.weights.bundle import BundleFiles, find_bundle


@pytest.fixture
def model(random_bundle: Path) -> BundleFiles:
    return find_bundle(random_bundle)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "me.jpg"
    path.write_bytes(b"a photo")
    return path


def smile(**options: Any) -> Request:
    return Request({"smile": 1.0}, None, AnimateOptions(**options))


def row(model: BundleFiles, photo: Path, request: Request | None = None, **overrides: Any) -> Row:
    (entry,) = list_entries(str(photo))
    named = Entry(entry.image, entry.version, overrides.pop("name", ""), overrides)
    (found,) = RowMaker(request or smile(), model, {}).rows([named])
    return found


def test_the_same_content_is_the_same_row_wherever_it_is(model: BundleFiles, photo: Path) -> None:
    other = photo.parent / "copy" / photo.name
    other.parent.mkdir()
    shutil.copyfile(photo, other)
    os.utime(other, (1, 1))
    assert row(model, photo).id == row(model, other).id
    other.write_bytes(b"another photo")
    assert row(model, photo).id != row(model, other).id


def test_what_is_asked_for_decides_the_id(model: BundleFiles, photo: Path) -> None:
    rows = [
        row(model, photo),
        row(model, photo, smile(strength=0.5)),
        row(model, photo, Request({"headsTurn": 1.0}, None, AnimateOptions())),
        row(model, photo, Request({}, "1s smile", AnimateOptions())),
        row(model, photo, Request({"smile": 1.0}, None, AnimateOptions(), full_size=True)),
        row(model, photo, face=1),
        row(model, photo, name="Anna"),
        row(model, photo, motion="nothing of that name"),
    ]
    assert len({each.id for each in rows}) == len(rows)


def test_what_a_row_says_is_what_the_batch_might_have_said(model: BundleFiles, photo: Path) -> None:
    wanted = row(model, photo, smile(strength=0.5, size=128, compare=True)).id
    assert row(model, photo, strength=0.5, size=128, compare=True).id == wanted
    assert row(model, photo, strength="0.5", size="128", compare="yes", face="").id == wanted
    assert row(model, photo, motion="smile=0.5", face=0).id == row(model, photo, motion={"smile": 0.5}).id
    assert row(model, photo, face=0.0).id == row(model, photo).id


def test_another_model_is_another_id(model: BundleFiles, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model.folder, folder)
    assert row(find_bundle(folder), photo).id == row(model, photo).id
    about = folder / "bundle.json"
    about.write_text(about.read_text().replace('"training"', '"Training"'))
    assert row(find_bundle(folder), photo).id != row(model, photo).id


def test_an_id_is_that_of_earlier_versions(model: BundleFiles, photo: Path) -> None:
    """A version of micromotion that made other ids would do a million photos again."""
    about = hashlib.sha256((model.folder / "bundle.json").read_bytes()).hexdigest()
    content = hashlib.sha256(photo.read_bytes()).hexdigest()
    for said, made_from in (
        ({}, content),
        ({"name": "É né"}, content),
        ({"strength": 0.5, "motion": "smile"}, content),
    ):
        request = smile().overridden({key: said[key] for key in said if key != "name"}, model)
        key = json.dumps(request.key(model), sort_keys=True)
        wanted = json.dumps([1, made_from, harmless(str(said.get("name", "me"))), key, about])
        assert row(model, photo, **said).id == hashlib.sha256(wanted.encode()).hexdigest()[:20]
    remote = Entry('s3://b/é "x".jpg', "7")
    key = json.dumps(smile().key(model), sort_keys=True)
    wanted = json.dumps([1, 's3://b/é "x".jpg|7', "e_x", key, about])
    (found,) = RowMaker(smile(), model, {}).rows([remote])
    assert found.id == hashlib.sha256(wanted.encode()).hexdigest()[:20]


def test_a_remembered_photo_is_not_read_again(model: BundleFiles, photo: Path) -> None:
    (entry,) = list_entries(str(photo))
    first = row(model, photo)
    digests = {digest_key(entry.image, entry.version): bytes.fromhex(first.digest)}
    photo.unlink()
    assert list(RowMaker(smile(), model, digests).rows([entry])) == [first]


def test_an_object_is_known_by_its_etag(model: BundleFiles) -> None:
    maker = RowMaker(smile(), model, {})
    entries = [Entry("s3://b/a.jpg", "1"), Entry("s3://b/a.jpg", "2"), Entry("s3://b/c.jpg", "1")]
    rows = list(maker.rows(entries))
    assert len({each.id for each in rows}) == 3
    assert [each.name for each in rows] == ["a", "a", "c"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Anna Müller", "Anna_Muller"),
        ("../../etc/passwd", "etc_passwd"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("a\0b\nc", "a_b_c"),
        ("李", "photo"),
        ("", "photo"),
        ("x" * 300, "x" * 60),
    ],
)
def test_a_name_is_made_harmless(name: str, plain: str) -> None:
    assert harmless(name) == plain


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"strength": 9}, "strength must be a number from -5 to 5"),
        ({"strength": "much"}, "strength must be"),
        ({"face": "1.5"}, "face must be a whole number"),
        ({"aligned": "perhaps"}, "aligned must be true or false"),
        ({"motion": "smile", "timeline": "1s smile"}, "not both"),
        ({"motion": "smile=x"}, "must be followed by a strength"),
        ({"motion": {"smile": "1"}}, "strength must be a number"),
        ({"motion": {"smile": 10**400}}, "strength must be a number"),
        ({"motion": 5}, "motion must be a name"),
        ({"size": {"a": 1}}, "size must be a whole number"),
        ({"colour": "red"}, "'colour' is no option"),
    ],
)
def test_a_row_is_checked_as_options_are(
    model: BundleFiles, overrides: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(OptionError, match=sentence):
        smile().overridden(overrides, model)

"""Where pictures are put and what they are called."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fooocus_core.choices import MetadataScheme
from fooocus_core.events import GeneratedImage, ImageRecord
from fooocusapi.exceptions import StorageError, StoreError
from fooocusapi.schemas.vocabulary import SaveExtension
from fooocusapi.storage import Place, Storage, clean_name

RECORD = ImageRecord(scheme=MetadataScheme.FOOOCUS, text='{"prompt": "fox"}', rows=())
PICTURE = GeneratedImage(image=np.full((8, 16, 3), 90, np.uint8), seed=1, record=RECORD)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path, "http://host:1", lambda: date(2024, 1, 31))


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("", ""),
        ("plain-name_1.0", "plain-name_1.0"),
        ("../../x", "_.._x"),
        ("/tmp/x", "_tmp_x"),
        ("a\\b:c*d", "a_b_c_d"),
        ("x\0y\n", "x_y_"),
        ("...hidden ", "hidden"),
        ("狐 fox", "狐 fox"),
        ("🦊", "_"),
        ("   ", ""),
        (". .", ""),
        ("y" * 300, "y" * 120),
        ("狐" * 120, "狐" * 66),
    ],
)
def test_b23_names_keep_what_is_harmless(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


@pytest.mark.parametrize("extension", list(SaveExtension))
def test_picture_is_saved_under_the_date(
    storage: Storage, tmp_path: Path, extension: SaveExtension
) -> None:
    place = storage.save(PICTURE, stem="fox", index=2, extension=extension, warn=pytest.fail)
    folder, name = place.folder, place.name
    assert (folder, name) == ("2024-01-31", f"fox-2.{extension}")
    content = (tmp_path / "files" / folder / name).read_bytes()
    picture = Image.open(io.BytesIO(content))
    assert (picture.size, picture.mode) == ((16, 8), "RGB")
    assert picture.format == {"jpg": "JPEG"}.get(extension, extension.upper())
    assert storage.read(folder, name) == content
    if extension is SaveExtension.PNG:
        assert picture.info["parameters"] == RECORD.text
    else:
        assert picture.getexif()[0x9286] == RECORD.text.encode()


def test_b23_nothing_is_overwritten(storage: Storage) -> None:
    names = [
        storage.save(
            PICTURE, stem="fox", index=0, extension=SaveExtension.PNG, warn=pytest.fail
        ).name
        for _ in range(3)
    ]
    assert names == ["fox-0.png", "fox-1-0.png", "fox-2-0.png"]


def test_client_needs_addresses_that_are_absolute(storage: Storage) -> None:
    assert storage.url("2024-01-31", "a b#?.png") == (
        "http://host:1/files/2024-01-31/a%20b%23%3F.png"
    )


def test_failed_write_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(StorageError, match="could not be saved"):
        storage.save(PICTURE, stem="fox", index=0, extension=SaveExtension.PNG, warn=pytest.fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["files"]


def test_deleting_twice_is_no_error(storage: Storage, tmp_path: Path) -> None:
    place = storage.save(
        PICTURE, stem="fox", index=0, extension=SaveExtension.PNG, warn=pytest.fail
    )
    folder, name = place.folder, place.name
    storage.delete(folder, name)
    storage.delete(folder, name)
    assert list((tmp_path / "files" / folder).iterdir()) == []


def test_a_file_that_cannot_be_removed_is_told(storage: Storage, tmp_path: Path) -> None:
    place = storage.save(PICTURE, stem="x", index=0, extension=SaveExtension.PNG, warn=pytest.fail)
    folder, name = place.folder, place.name
    place = tmp_path / "files" / folder
    (place / name).unlink()
    # The system refuses to remove a folder as a file, also for who may do everything.
    (place / name).mkdir()
    with pytest.raises(StorageError, match="could not be removed"):
        storage.delete(folder, name)


def test_a_record_too_long_for_a_jpeg_is_told_and_the_picture_kept(storage: Storage) -> None:
    record = ImageRecord(scheme=MetadataScheme.FOOOCUS, text="a" * 70_000, rows=())
    warnings: list[str] = []
    image = replace(PICTURE, record=record)
    place = storage.save(
        image, stem="fox", index=0, extension=SaveExtension.JPG, warn=warnings.append
    )
    folder, name = place.folder, place.name
    assert storage.read(folder, name)
    assert ["64 KiB" in text for text in warnings] == [True]


def test_a_picture_is_announced_before_it_has_its_name(storage: Storage, tmp_path: Path) -> None:
    announced: list[Place] = []

    def look(place: Place) -> None:
        assert not storage.has(place.folder, place.name)
        announced.append(place)

    place = storage.save(
        PICTURE,
        stem="fox",
        index=0,
        extension=SaveExtension.PNG,
        warn=pytest.fail,
        announce=look,
    )
    assert announced == [place]
    assert storage.has(place.folder, place.name)
    assert len(storage.read(place.folder, place.name)) == place.size_bytes


def test_nothing_is_left_of_a_picture_that_could_not_be_announced(
    storage: Storage, tmp_path: Path
) -> None:
    def refuse(place: Place) -> None:
        raise StoreError("locked")

    with pytest.raises(StoreError):
        storage.save(
            PICTURE,
            stem="fox",
            index=0,
            extension=SaveExtension.PNG,
            warn=pytest.fail,
            announce=refuse,
        )
    assert list((tmp_path / "files").rglob("*.p*")) == []


def test_what_a_killed_process_had_begun_is_removed_and_nothing_else(
    storage: Storage, tmp_path: Path
) -> None:
    place = storage.save(
        PICTURE, stem="fox", index=0, extension=SaveExtension.PNG, warn=pytest.fail
    )
    folder = tmp_path / "files" / place.folder
    (folder / ".half.part").touch()
    (folder / "mine.part").touch()
    storage.remove_unfinished()
    assert sorted(path.name for path in folder.iterdir()) == ["fox-0.png", "mine.part"]

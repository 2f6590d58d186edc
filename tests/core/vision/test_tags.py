"""The tagger: what it is given, which tags it tells, and the files it is loaded from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fooocus_core.errors import InvalidInputError, ModelFileError
from fooocus_core.vision.tags import TagList, fit, load_tagger, read_tags, tag_text
from tests.golden import load_arrays
from tests.networks import CPU_PLAN
from tests.onnx_files import write_mean_network
from tests.tagger_files import CATEGORIES, NAMES, write_tag_list, write_tagger

RECORDED = load_arrays("image-ops/wd14")


def likely(*names: str) -> np.ndarray:
    """Probabilities of 0.9 for these tags, and of 0.1 for all others."""
    return np.array([0.9 if name in names else 0.1 for name in NAMES], np.float32)


@pytest.fixture
def tags(tmp_path: Path) -> TagList:
    return read_tags(write_tag_list(tmp_path / "tags.csv"))


def test_the_input_is_the_recorded_one() -> None:
    given = fit(RECORDED["image"], 448)

    assert given.shape == (1, 448, 448, 3)
    assert given.dtype == np.float32
    assert np.array_equal(given[:, ::16, ::16], RECORDED["net_input_sub"])
    assert given.sum(dtype=np.float64) == RECORDED["net_input_sum"]


def test_the_text_is_the_recorded_one(tmp_path: Path) -> None:
    names, categories = RECORDED["tags"].tolist(), RECORDED["category"].tolist()
    path = write_tag_list(tmp_path / "tags.csv", names, categories)

    assert tag_text(read_tags(path), RECORDED["probs"][0]) == RECORDED["result"]


def test_characters_come_first_and_need_more(tags: TagList) -> None:
    assert tag_text(tags, likely("solo", "1girl", "link")) == "link, 1girl, solo"
    probabilities = likely()
    probabilities[NAMES.index("link")] = 0.84
    probabilities[NAMES.index("solo")] = 0.36
    assert tag_text(tags, probabilities) == "solo"


def test_ratings_are_no_tags(tags: TagList) -> None:
    assert tag_text(tags, likely("general", "explicit")) == ""


def test_names_are_written_as_prompts_are(tags: TagList) -> None:
    text = tag_text(tags, likely("^_^", "tree_(plant)", "saber_(fate)"))
    assert text == r"saber \(fate\), ^ ^, tree \(plant\)"


def test_a_drawing_is_described_by_the_two_files(tmp_path: Path) -> None:
    network = write_tagger(tmp_path / "tagger.onnx")
    tagger = load_tagger(network, write_tag_list(tmp_path / "tags.csv"), CPU_PLAN)

    # Each tag goes by the mean of one channel.
    red, blue = np.zeros((2, 40, 40, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255

    assert tagger.describe(red) == r"link, 1girl, ^ ^"
    assert tagger.describe(blue) == r"saber \(fate\), solo, tree \(plant\)"


def test_a_drawing_too_thin_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="1x500 .*too thin.*448x448"):
        fit(np.zeros((500, 1, 3), np.uint8), 448)


def test_files_that_do_not_belong_together_are_an_error(tmp_path: Path) -> None:
    path = write_tag_list(tmp_path / "tags.csv", [*NAMES, "other"], [*CATEGORIES, "4"])
    tagger = load_tagger(write_tagger(tmp_path / "tagger.onnx"), path, CPU_PLAN)

    with pytest.raises(ModelFileError, match=r"tagger\.onnx gives 9 .* 10 tags"):
        tagger.describe(np.zeros((5, 5, 3), np.uint8))


def test_a_network_of_another_kind_is_an_error(tmp_path: Path) -> None:
    weights = np.ones((3, len(NAMES)), np.float32)
    path = write_mean_network(tmp_path / "other.onnx", weights, "S")

    with pytest.raises(ModelFileError, match=r"other\.onnx is no tagger.*\(None, None, None, 3\)"):
        load_tagger(path, write_tag_list(tmp_path / "tags.csv"), CPU_PLAN)


@pytest.mark.parametrize(
    "text",
    ["", "id,name,category\n", "id,name,category\n1,a,0\n", "id,name,category\n1,a,0\n2\n3,b,4\n"],
    ids=["empty", "no tags", "no characters", "short line"],
)
def test_a_file_that_is_no_list_of_tags_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ModelFileError, match=r"tags\.csv is no list of tags"):
        read_tags(path)


def test_characters_before_general_tags_are_an_error(tmp_path: Path) -> None:
    path = write_tag_list(tmp_path / "tags.csv", ["link", "solo"], ["4", "0"])

    with pytest.raises(ModelFileError, match=r"tags\.csv names characters before"):
        read_tags(path)


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.csv"):
        read_tags(tmp_path / "none.csv")

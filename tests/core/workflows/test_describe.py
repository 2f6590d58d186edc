"""Which network describes which picture, and what it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.choices import DescribeKind
from fooocus_core.config import DeviceOptions, FetchRules, load_config
from fooocus_core.downloads import ModelFile, describe_files
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import ModelFileError, ModelNotFoundError
from fooocus_core.loading.store import ModelStore
from fooocus_core.workflows.describe import describe
from tests.blip_files import write_vocabulary, write_weights
from tests.golden import load_picture
from tests.hub import FakeHub
from tests.networks import CPU_PLAN
from tests.tagger_files import write_tag_list, write_tagger
from tests.workflow_parts import make_resources

RED = np.zeros((40, 60, 3), np.uint8)
RED[..., 0] = 255
TAGS = "link, 1girl, ^ ^"
FILES = [(kind, file) for kind in DescribeKind for file in describe_files(kind)]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models root with a small network for each kind of picture."""
    root = tmp_path / "models"
    (weights, words), (network, tags) = map(describe_files, DescribeKind)
    write_vocabulary(path_of(root, words))
    write_weights(path_of(root, weights))
    write_tagger(path_of(root, network))
    write_tag_list(path_of(root, tags))
    return root


def path_of(models: Path, file: ModelFile) -> Path:
    return models / file.kind / file.name


def make_engine(models: Path, rules: FetchRules | None = None) -> Engine:
    (models.parent / "outputs").mkdir(exist_ok=True)
    config = load_config(root=models.parent, models_path=models, environ={})
    fetching = rules or config.fetching
    return create_engine(replace(config, fetching=fetching), DeviceOptions())


def test_a_drawing_is_described_by_tags_alike_each_time(models: Path) -> None:
    engine = make_engine(models)
    texts = [engine.describe(RED, DescribeKind.ANIME) for _ in range(2)]
    assert texts == [TAGS] * 2


def test_a_photograph_is_described_in_words_drawn_each_time(models: Path) -> None:
    engine, image = make_engine(models), load_picture("ip_a")
    first = engine.describe(image, DescribeKind.PHOTO)
    # Some texts are likely enough to be drawn twice.
    assert first
    assert any(engine.describe(image, DescribeKind.PHOTO) != first for _ in range(20))


@pytest.mark.parametrize(("kind", "file"), FILES, ids=[file.name for _, file in FILES])
def test_a_missing_file_is_an_error_that_names_it_and_its_folder(
    models: Path, kind: DescribeKind, file: ModelFile
) -> None:
    engine = make_engine(models)
    path_of(models, file).unlink()
    with pytest.raises(ModelNotFoundError, match=f"{file.name}.*clip_vision"):
        engine.describe(RED, kind)
    (other,) = set(DescribeKind) - {kind}
    assert engine.describe(RED, other)


def test_a_file_that_has_come_is_found(models: Path) -> None:
    engine, file = make_engine(models), describe_files(DescribeKind.ANIME)[0]
    path_of(models, file).unlink()
    with pytest.raises(ModelNotFoundError):
        engine.describe(RED, DescribeKind.ANIME)
    write_tagger(path_of(models, file))
    assert engine.describe(RED, DescribeKind.ANIME) == TAGS


@pytest.mark.parametrize("kind", DescribeKind)
def test_what_is_missing_is_fetched_by_the_first_call_and_nothing_else(
    models: Path, hub: FakeHub, kind: DescribeKind
) -> None:
    fetched, (other,) = path_of(models, describe_files(kind)[1]), set(DescribeKind) - {kind}
    owner = "" if kind is DescribeKind.PHOTO else "lllyasviel/misc/"
    name = describe_files(kind)[1].name
    hub.put(f"{owner}{name}", fetched.read_bytes(), is_large=False)
    for path in (fetched, *(path_of(models, file) for file in describe_files(other))):
        path.unlink()
    engine = make_engine(models, FetchRules(is_allowed=True, mirror=hub.url, pauses_s=()))
    assert hub.asked == []

    assert engine.describe(RED, kind)

    assert fetched.exists()
    assert {path.rpartition("/")[2] for _, path, _ in hub.asked} == {fetched.name}
    hub.asked.clear()
    assert engine.describe(RED, kind)
    assert hub.asked == []


@pytest.mark.parametrize(("kind", "file"), FILES, ids=[file.name for _, file in FILES])
def test_a_broken_file_is_an_error_that_names_it(
    models: Path, kind: DescribeKind, file: ModelFile
) -> None:
    path_of(models, file).write_bytes(b"\xff broken")
    with pytest.raises(ModelFileError, match=Path(file.name).name):
        make_engine(models).describe(RED, kind)


def test_the_captioner_is_brought_to_where_it_computes(models: Path) -> None:
    # Another device than "cpu" to the code, and the same memory to torch.
    device = torch.device("cpu", 0)
    carried: list[torch.device] = []

    def carry(tensor: Tensor, device: torch.device) -> Tensor:
        carried.append(device)
        return tensor.clone()

    store = ModelStore(replace(CPU_PLAN, device=device, stays=False), carry)
    resources = make_resources(models, models.parent, store)

    assert describe(RED, DescribeKind.PHOTO, resources)

    assert set(carried) == {device}

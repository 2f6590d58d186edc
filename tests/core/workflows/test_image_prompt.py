"""What becomes of guiding pictures before anything is painted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from fooocus_core.choices import ControlKind
from fooocus_core.downloads import (
    ADAPTER_FILES,
    CONTROL_FILES,
    FACE_FINDER,
    IMAGE_ENCODER,
    IP_NEGATIVE,
    ModelFile,
)
from fooocus_core.errors import ModelFileError, ModelNotFoundError, RunCancelled
from fooocus_core.images.preprocessors import canny_pyramid, cpds
from fooocus_core.images.resize import Fit, resize_image
from fooocus_core.params import (
    CanvasParams,
    ControlParams,
    GenerationParams,
    Image,
    ImagePrompt,
    ModelParams,
    Size,
)
from fooocus_core.sampling.denoiser import Guides
from fooocus_core.unet.controlnet import make_hint
from fooocus_core.unet.image_attention import ReadPicture
from fooocus_core.unet.size_conditioning import PromptSide
from fooocus_core.vision.face import FACE_TEMPLATE, align_face
from fooocus_core.vision.retinaface import RetinaFace
from fooocus_core.workflows.image_prompt import control_picture, make_guides, show_guides
from fooocus_core.workflows.resources import Resources
from tests.golden import load_arrays, load_picture
from tests.workflow_parts import Listener, make_resources, plan_for

CONTROLLED = load_arrays("components/controlnet")
BASE = "tiny_sdxl.safetensors"
PICTURES = {
    ControlKind.PYRA_CANNY: "edge_a",
    ControlKind.CPDS: "edge_b",
    ControlKind.IMAGE_PROMPT: "ip_a",
    ControlKind.FACE_SWAP: "ip_b",
}
SIZE = Size(192, 160)


def face_finder_weights(*, sees_faces: bool) -> dict[str, torch.Tensor]:
    """A network that sees the same face everywhere, or none."""
    state = {name: torch.zeros_like(value) for name, value in RetinaFace().state_dict().items()}
    landmarks = torch.tensor(FACE_TEMPLATE).flatten() / 25.6 - 10.0
    for level in range(3):
        score = 9.0 if sees_faces else -9.0
        state[f"ClassHead.{level}.conv1x1.bias"] = torch.tensor([-score, score] * 2)
        state[f"LandmarkHead.{level}.conv1x1.bias"] = landmarks.repeat(2)
    return state


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The file of a network that sees faces, and of one that does not."""
    folder = tmp_path_factory.mktemp("faces")
    for sees_faces in (True, False):
        torch.save(face_finder_weights(sees_faces=sees_faces), folder / str(sees_faces))
    return {sees_faces: folder / str(sees_faces) for sees_faces in (True, False)}


MakeModels = Callable[..., Path]


def link_models(root: Path, weights: Path, face_finder: Path) -> Path:
    """Make a models root whose files can be taken away."""
    root.mkdir()
    for name in ("checkpoints", "loras"):
        (root / name).symlink_to(weights / name)
    for name in ("controlnet", "clip_vision"):
        (root / name).mkdir()
        for file in (weights / name).iterdir():
            (root / name / file.name).symlink_to(file)
    (root / "controlnet" / FACE_FINDER.name).symlink_to(face_finder)
    return root


@pytest.fixture
def make_models(weights: Path, faces: dict[bool, Path], tmp_path: Path) -> MakeModels:
    """Makes such a root for this test."""
    return lambda *, sees_faces=True: link_models(tmp_path / "models", weights, faces[sees_faces])


@pytest.fixture
def resources(make_models: MakeModels, tmp_path: Path) -> Resources:
    """Resources that have loaded and read nothing yet."""
    return make_resources(make_models(), tmp_path)


@pytest.fixture(scope="module")
def shared(
    weights: Path, faces: dict[bool, Path], tmp_path_factory: pytest.TempPathFactory
) -> Resources:
    """Resources of all tests that only look at what becomes of pictures."""
    root = tmp_path_factory.mktemp("root")
    return make_resources(link_models(root / "models", weights, faces[True]), root)


def prompt_of(kind: ControlKind, picture: str | None = None, **numbers: float) -> ImagePrompt:
    image = load_picture(picture or PICTURES[kind])
    if kind is ControlKind.FACE_SWAP:
        # Finding faces takes long in large pictures.
        image = image[:96, :80]
    return ImagePrompt(image=image, kind=kind, **{"stop": 0.5, "weight": 0.8, **numbers})


def asked(*prompts: ImagePrompt, **control: Any) -> GenerationParams:
    return GenerationParams(
        models=ModelParams(base=BASE),
        canvas=CanvasParams(size=SIZE, seed=6),
        control=ControlParams(**control),
        image_prompts=prompts,
    )


def guides_for(
    params: GenerationParams, resources: Resources, listener: Listener | None = None
) -> Guides:
    listener = listener or Listener()
    plan = plan_for(params, resources)
    resources.prepare(plan, listener.reporter)
    with torch.no_grad():
        return make_guides(plan, resources, listener.reporter)


def shown(params: GenerationParams, resources: Resources) -> list[Image]:
    plan, listener = plan_for(params, resources), Listener()
    return [made.image for made in show_guides(plan, resources, listener.reporter).finished]


def picture_of(guides: Guides) -> ReadPicture:
    """What became of the first picture that is attended to."""
    assert guides.image_prompts is not None
    return guides.image_prompts.guides[0].picture


def as_seen(image: Image) -> Image:
    return resize_image(image, Size(224, 224), Fit.STRETCH)


@pytest.mark.parametrize("kind", CONTROL_FILES)
def test_control_pictures_are_the_recorded_ones(kind: ControlKind) -> None:
    name = {ControlKind.PYRA_CANNY: "hint_canny", ControlKind.CPDS: "hint_cpds"}[kind]
    picture = control_picture(prompt_of(kind, "edge_a"), SIZE, ControlParams())
    assert_array_equal(picture, CONTROLLED[name], strict=True)


def test_the_thresholds_of_edges_are_those_asked_for() -> None:
    prompt = prompt_of(ControlKind.PYRA_CANNY)
    picture = control_picture(prompt, SIZE, ControlParams(canny_low=20, canny_high=90))
    cropped = resize_image(prompt.image, SIZE, Fit.CROP)
    assert_array_equal(picture, canny_pyramid(cropped, low=20, high=90), strict=True)
    assert not np.array_equal(picture, control_picture(prompt, SIZE, ControlParams()))


@pytest.mark.parametrize("kind", CONTROL_FILES)
def test_a_control_picture_of_ones_own_is_only_cropped(kind: ControlKind) -> None:
    prompt = prompt_of(kind)
    picture = control_picture(prompt, SIZE, ControlParams(skip_preprocessing=True))
    assert_array_equal(picture, resize_image(prompt.image, SIZE, Fit.CROP), strict=True)


def test_control_pictures_come_kind_by_kind_with_what_was_asked_for_each(
    shared: Resources,
) -> None:
    first = prompt_of(ControlKind.CPDS, stop=0.3, weight=0.7)
    second = prompt_of(ControlKind.PYRA_CANNY, stop=1.0, weight=1.4)
    third = prompt_of(ControlKind.CPDS, "edge_a")
    controls = guides_for(asked(first, second, third, softness=0.1), shared).controls
    assert [(control.stop, control.weight) for control in controls] == [
        (1.0, 1.4),
        (0.3, 0.7),
        (0.5, 0.8),
    ]
    assert {control.softness for control in controls} == {0.1}
    assert controls[1].network is controls[2].network is not controls[0].network
    hints = [make_hint(control_picture(p, SIZE, ControlParams()), 20, 24) for p in (first, third)]
    assert torch.equal(controls[1].hint, hints[0])
    assert torch.equal(controls[2].hint, hints[1])


@pytest.mark.parametrize("kind", ADAPTER_FILES)
def test_a_picture_is_read_with_the_adapter_of_its_kind(
    shared: Resources, kind: ControlKind
) -> None:
    prompt = prompt_of(kind, "ip_a")
    params = asked(prompt, skip_preprocessing=True)
    guide = picture_of(guides_for(params, shared))
    encoder, adapter = shared.auxiliary.image_encoder(), shared.auxiliary.ip_adapter(kind)
    expected = adapter.read(encoder.encode(prompt.image))
    assert guide.adapter == ADAPTER_FILES[kind].name
    for side in PromptSide:
        for made, wanted in zip(guide.sides[side], expected.sides[side], strict=True):
            assert torch.equal(made.key, wanted.key)
            assert torch.equal(made.value, wanted.value)


def test_a_face_is_cropped_before_it_is_read(shared: Resources) -> None:
    picture = prompt_of(ControlKind.FACE_SWAP).image
    finder = shared.auxiliary.face_finder()
    face = align_face(picture, finder.find(picture)[0].landmarks)
    (seen,) = shown(asked(prompt_of(ControlKind.FACE_SWAP), show_preprocessing=True), shared)
    assert_array_equal(seen, as_seen(face), strict=True)
    cropped = picture_of(guides_for(asked(prompt_of(ControlKind.FACE_SWAP)), shared))
    whole = asked(prompt_of(ControlKind.FACE_SWAP), skip_preprocessing=True)
    first, second = cropped.sides, picture_of(guides_for(whole, shared)).sides
    assert not torch.equal(first[PromptSide.POSITIVE][0].key, second[PromptSide.POSITIVE][0].key)


def test_a_picture_without_a_face_is_read_as_it_is_with_a_warning_each_time(
    make_models: MakeModels, tmp_path: Path
) -> None:
    resources, listener = make_resources(make_models(sees_faces=False), tmp_path), Listener()
    guides = [
        guides_for(asked(prompt_of(ControlKind.FACE_SWAP)), resources, listener) for _ in range(2)
    ]
    sentence = "No face was found in a FaceSwap picture; it was used as it is."
    assert listener.warnings == [sentence, sentence]
    whole = asked(prompt_of(ControlKind.FACE_SWAP), skip_preprocessing=True)
    assert picture_of(guides[0]) is picture_of(guides_for(whole, resources))


def test_what_is_shown_are_the_prepared_pictures_kind_by_kind(shared: Resources) -> None:
    kinds = [ControlKind.IMAGE_PROMPT, ControlKind.CPDS, ControlKind.PYRA_CANNY]
    params = asked(*map(prompt_of, kinds), show_preprocessing=True)
    edges, structure, seen = shown(params, shared)
    edge_a, edge_b = (resize_image(load_picture(f"edge_{x}"), SIZE, Fit.CROP) for x in "ab")
    assert_array_equal(edges, canny_pyramid(edge_a, low=64, high=128), strict=True)
    assert_array_equal(structure, cpds(edge_b), strict=True)
    assert_array_equal(seen, as_seen(load_picture("ip_a")), strict=True)


def test_the_same_pictures_are_read_once_and_no_network_is_loaded_again(
    resources: Resources,
) -> None:
    params = asked(*map(prompt_of, ControlKind))
    first = guides_for(params, resources)
    auxiliary = resources.auxiliary
    encoder, finder = auxiliary.image_encoder(), auxiliary.face_finder()
    adapters = {kind: auxiliary.ip_adapter(kind) for kind in ADAPTER_FILES}
    read: list[object] = []
    networks = [adapter.network.image_proj for adapter in adapters.values()]
    networks = [encoder.network.vision_model.embeddings, *networks]
    for network in networks:
        network.register_forward_hook(lambda module, *_: read.append(module))

    second = guides_for(params, resources)
    assert read == []
    assert [c.network for c in second.controls] == [c.network for c in first.controls]
    assert auxiliary.image_encoder() is encoder
    assert auxiliary.face_finder() is finder
    assert {kind: auxiliary.ip_adapter(kind) for kind in ADAPTER_FILES} == adapters

    guides_for(asked(prompt_of(ControlKind.IMAGE_PROMPT, "photo_a")), resources)
    assert read == networks[:2]


def test_control_pictures_are_made_once_for_each_size_and_setting(resources: Resources) -> None:
    prompt = prompt_of(ControlKind.PYRA_CANNY)
    (first,) = shown(asked(prompt, show_preprocessing=True), resources)
    (again,) = shown(asked(prompt, show_preprocessing=True), resources)
    (other,) = shown(asked(prompt, show_preprocessing=True, canny_low=10), resources)
    assert again is first
    assert not np.array_equal(other, first)


def test_networks_and_pictures_are_gone_after_freeing(resources: Resources) -> None:
    params = asked(*map(prompt_of, ControlKind))
    first = guides_for(params, resources)
    encoder, finder = resources.auxiliary.image_encoder(), resources.auxiliary.face_finder()
    resources.free()
    second = guides_for(params, resources)
    assert picture_of(second) is not picture_of(first)
    assert second.controls[0].network is not first.controls[0].network
    assert resources.auxiliary.image_encoder() is not encoder
    assert resources.auxiliary.face_finder() is not finder


def test_without_image_prompts_no_control_net_stays(resources: Resources) -> None:
    prompt = asked(prompt_of(ControlKind.CPDS))
    network = guides_for(prompt, resources).controls[0].network
    nothing = guides_for(asked(), resources)
    assert (nothing.controls, nothing.image_prompts) == ((), None)
    assert guides_for(prompt, resources).controls[0].network is not network


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        *((kind, file) for kind, file in CONTROL_FILES.items()),
        *((kind, file) for kind, file in ADAPTER_FILES.items()),
        (ControlKind.IMAGE_PROMPT, IMAGE_ENCODER),
        (ControlKind.IMAGE_PROMPT, IP_NEGATIVE),
        (ControlKind.FACE_SWAP, FACE_FINDER),
    ],
)
def test_a_missing_file_is_noticed_before_and_named(
    make_models: MakeModels, tmp_path: Path, kind: ControlKind, file: ModelFile
) -> None:
    root = make_models()
    (root / file.kind / file.name).unlink()
    resources, params = make_resources(root, tmp_path), asked(prompt_of(kind))
    with pytest.raises(ModelNotFoundError, match=rf"{file.name}.*{file.kind}"):
        resources.require(plan_for(params, resources).files)
    with pytest.raises(ModelNotFoundError, match=file.name):
        guides_for(params, resources)


@pytest.mark.parametrize("kind", ControlKind)
def test_a_file_that_cannot_be_used_is_named_and_a_good_one_taken_later(
    make_models: MakeModels, tmp_path: Path, kind: ControlKind
) -> None:
    root = make_models()
    file = {**CONTROL_FILES, **ADAPTER_FILES}[kind]
    path = root / file.kind / file.name
    good = path.resolve()
    path.unlink()
    path.write_bytes(b"nothing of use")
    resources, params = make_resources(root, tmp_path), asked(prompt_of(kind))
    with pytest.raises(ModelFileError, match=file.name):
        guides_for(params, resources)
    path.unlink()
    path.symlink_to(good)
    assert guides_for(params, resources).image_prompts or guides_for(params, resources).controls


@pytest.mark.parametrize("kind", ControlKind)
def test_a_stop_is_seen_between_pictures(resources: Resources, kind: ControlKind) -> None:
    listener = Listener()
    params = asked(prompt_of(kind))
    plan = plan_for(params, resources)
    resources.prepare(plan, listener.reporter)
    listener.token.cancel()
    with pytest.raises(RunCancelled):
        make_guides(plan, resources, listener.reporter)


def test_the_pictures_that_were_given_are_left_as_they_are(resources: Resources) -> None:
    pictures = [load_picture(name).copy() for name in PICTURES.values()]
    guides_for(asked(*map(prompt_of, ControlKind)), resources)
    for name, before in zip(PICTURES.values(), pictures, strict=True):
        assert_array_equal(load_picture(name), before)

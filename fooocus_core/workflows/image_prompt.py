"""Pictures that steer what is painted: as control pictures, or attended to beside the texts."""

from __future__ import annotations

from collections.abc import Iterator

from fooocus_core.choices import ControlKind
from fooocus_core.downloads import ADAPTER_FILES, CONTROL_FILES
from fooocus_core.events import GeneratedImage
from fooocus_core.images.arrays import to_rgb
from fooocus_core.images.preprocessors import canny_pyramid, cpds
from fooocus_core.images.resize import Fit, resize_image
from fooocus_core.params import ControlParams, Image, ImagePrompt, Size
from fooocus_core.plan import Plan
from fooocus_core.sampling.denoiser import Guides
from fooocus_core.unet.controlnet import Control, make_hint
from fooocus_core.unet.image_attention import ImageGuide, ImagePrompts, ReadPicture
from fooocus_core.vae.codec import PIXELS_PER_LATENT
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.recent import content_key
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start


def make_guides(plan: Plan, resources: Resources, reporter: Reporter) -> Guides:
    """Make ready what steers the base model: first all control pictures, then all others.

    The control nets of kinds that are not asked for are freed.

    Raises:
        RunCancelled: The run was asked to stop.
        InvalidInputError: No face can be searched in a picture.
        ModelNotFoundError: A file is needed and missing.
        ModelFileError: A file cannot be used.
        DeviceMemoryError: The device ran out of memory.
    """
    controls = tuple(_make_controls(plan, resources, reporter))
    pictures = [
        ImageGuide(
            picture=_read(prompt, plan.params.control, resources, reporter),
            weight=prompt.weight,
            stop=prompt.stop,
        )
        for prompt in _attended(plan)
    ]
    return Guides(controls=controls, image_prompts=ImagePrompts(pictures) if pictures else None)


def show_guides(plan: Plan, resources: Resources, reporter: Reporter) -> Start:
    """Instead of a picture: what the networks are shown of each guiding picture, in their order.

    Raises:
        As :func:`make_guides`.
    """
    seed = plan.params.canvas.seed
    finished = tuple(
        GeneratedImage(image=image, seed=seed) for image in _shown(plan, resources, reporter)
    )
    return Start(size=plan.control_size, recorded_size=plan.control_size, finished=finished)


def control_picture(prompt: ImagePrompt, size: Size, control: ControlParams) -> Image:
    """What a control net is shown of a picture, uint8 (H, W, 3) of ``size``.

    Raises:
        InvalidInputError: The picture is too thin.
    """
    image = resize_image(to_rgb(prompt.image), size, Fit.CROP)
    if control.skip_preprocessing:
        return image
    if prompt.kind is ControlKind.CPDS:
        return cpds(image)
    return canny_pyramid(image, low=control.canny_low, high=control.canny_high)


def _make_controls(plan: Plan, resources: Resources, reporter: Reporter) -> Iterator[Control]:
    prompts = list(_controlling(plan))
    networks = resources.control_nets(dict.fromkeys(prompt.kind for prompt in prompts))
    width, height = (side // PIXELS_PER_LATENT for side in plan.control_size)
    for prompt in prompts:
        picture = _control_picture(prompt, plan, resources, reporter)
        yield Control(
            network=networks[prompt.kind],
            hint=make_hint(picture, latent_height=height, latent_width=width),
            weight=prompt.weight,
            stop=prompt.stop,
            softness=plan.params.control.softness,
        )


def _shown(plan: Plan, resources: Resources, reporter: Reporter) -> Iterator[Image]:
    for prompt in _controlling(plan):
        yield _control_picture(prompt, plan, resources, reporter)
    for prompt in _attended(plan):
        image = _prepared(prompt, plan.params.control, resources, reporter)
        yield resources.auxiliary.image_encoder().fit(image)


def _controlling(plan: Plan) -> Iterator[ImagePrompt]:
    """The prompts with a control picture, kind by kind."""
    for kind in CONTROL_FILES:
        yield from (prompt for prompt in plan.params.image_prompts if prompt.kind is kind)


def _attended(plan: Plan) -> Iterator[ImagePrompt]:
    """The prompts whose picture is attended to, kind by kind."""
    for kind in ADAPTER_FILES:
        yield from (prompt for prompt in plan.params.image_prompts if prompt.kind is kind)


def _control_picture(
    prompt: ImagePrompt, plan: Plan, resources: Resources, reporter: Reporter
) -> Image:
    reporter.check_cancelled()
    size, control = plan.control_size, plan.params.control
    settings = control.canny_low, control.canny_high, control.skip_preprocessing
    return resources.auxiliary.control_pictures.get(
        (content_key(prompt.image), prompt.kind, size, settings),
        lambda: control_picture(prompt, size, control),
    )


def _read(
    prompt: ImagePrompt, control: ControlParams, resources: Resources, reporter: Reporter
) -> ReadPicture:
    image = _prepared(prompt, control, resources, reporter)
    auxiliary = resources.auxiliary

    def read() -> ReadPicture:
        encoder, adapter = auxiliary.image_encoder(), auxiliary.ip_adapter(prompt.kind)
        resources.models.bring_image_reader(encoder.network, adapter.network)
        return adapter.read(encoder.encode(image))

    reporter.check_cancelled()
    return auxiliary.read_pictures.get((content_key(image), prompt.kind), read)


def _prepared(
    prompt: ImagePrompt, control: ControlParams, resources: Resources, reporter: Reporter
) -> Image:
    """The part of a picture that is attended to: its best face, or all of it."""
    image = to_rgb(prompt.image)
    if prompt.kind is not ControlKind.FACE_SWAP or control.skip_preprocessing:
        return image

    def crop() -> Image | None:
        cropped = resources.auxiliary.face_finder().crop_best(image, reporter.check_cancelled)
        return None if cropped is image else cropped

    face = resources.auxiliary.face_crops.get(content_key(image), crop)
    if face is None:
        reporter.warn(f"No face was found in a {prompt.kind} picture; it was used as it is.")
        return image
    return face

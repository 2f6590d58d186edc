"""Paints pictures with the loaded models: lets them sample a latent in turns, and decodes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from fooocus_core.choices import RefinerSwap
from fooocus_core.loading.checkpoint import Checkpoint, CheckpointKind, Prediction, Refiner
from fooocus_core.loading.store import Models
from fooocus_core.params import GuidanceParams, Image, Size
from fooocus_core.plan import Plan
from fooocus_core.sampling.denoiser import (
    MAX_REPEATS,
    NO_GUIDES,
    GuidedDenoiser,
    Guides,
    SizeSource,
)
from fooocus_core.sampling.noise_levels import noise_model
from fooocus_core.sampling.refiner import (
    Model,
    Relay,
    Route,
    refiner_conditioning,
    unchanged,
)
from fooocus_core.sampling.run import (
    SD15_FORMAT,
    LatentFormat,
    SamplingRun,
    Turn,
    latent_format,
    seeded_noise,
)
from fooocus_core.text.encoder import TextConditioning
from fooocus_core.unet.freeu import FreeU
from fooocus_core.unet.patch import UNetPatch, patched
from fooocus_core.unet.size_conditioning import (
    NoSizeConditioning,
    RefinerSizeConditioning,
    SizeConditioning,
)
from fooocus_core.vae.codec import PIXELS_PER_LATENT, decode
from fooocus_core.vae.preview import SD15_FILE, SDXL_FILE, PreviewNetwork
from fooocus_core.workflows.encoding import plan_route
from fooocus_core.workflows.progress import Reporter, SamplingReporter
from fooocus_core.workflows.prompts import EncodedPrompt
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start

# The whole schedule, of which less than all is walked, has levels for steps / denoise steps.
LEAST_DENOISE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artist:
    """A loaded model, and what its latents are read with.

    Attributes:
        vae: Its own, or that of the base model whose latents it works on.
        format: Of the latents that it samples.
        preview: Shows unfinished pictures; ``None`` = no previews.
        is_patched: Whether its UNet has the store's patch while it works.
        patches: What is attached to its UNet while it works.
        guides: Pictures that steer it; those that it attends to are among ``patches``.
    """

    kind: CheckpointKind
    prediction: Prediction
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    format: LatentFormat
    preview: PreviewNetwork | None
    is_patched: bool
    patches: tuple[UNetPatch, ...]
    guides: Guides


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Painter:
    """Paints one picture after the other with the same models and settings.

    Attributes:
        models: What is loaded.
        artists: The base model, and the refiner if there is one.
    """

    plan: Plan
    models: Models
    artists: Mapping[Model, Artist]
    resources: Resources
    reporter: Reporter
    progress: SamplingReporter

    def paint(self, start: Start, prompt: EncodedPrompt) -> Image:
        """Sample and decode a picture, uint8 (H, W, 3).

        Raises:
            RunCancelled: The run was asked to stop.
            ModelNotFoundError: The latent interposer is needed and missing.
            ModelFileError: The latent interposer cannot be used.
            DeviceMemoryError: The device ran out of memory.
            FooocusError: There is no picture, because values are not finite.
        """
        route = plan_route(self.plan, self.models, start.denoise)
        last = self.artists[route.last]
        turns = {
            model: self._turn(model, route, start, prompt) for model in {route.first, route.last}
        }
        relay = Relay(
            first=turns[route.first],
            last=turns[route.last],
            swap=route.swap,
            switch_step=self.plan.switch_step,
            is_sd15=last.kind is CheckpointKind.SD15,
            convert=self._conversion(route),
        )
        sampling = self.plan.params.sampling
        run = SamplingRun(
            sampler=sampling.sampler,
            scheduler=sampling.scheduler,
            steps=self.plan.steps,
            denoise=max(start.denoise, LEAST_DENOISE),
        )
        latent = _begin(start)
        device = self.resources.models.plan.device
        noise = seeded_noise(run, prompt.composed.seed, tuple(latent.shape), device)
        painted = relay.sample(run, latent, noise)
        self.resources.models.bring_vae(last.vae)
        return decode(last.vae, painted, warn=self.reporter.warn, tiled=start.is_tiled)

    def _turn(self, model: Model, route: Route, start: Start, prompt: EncodedPrompt) -> Turn:
        artist, guidance = self.artists[model], self.plan.params.guidance
        takes_over_jointly = route.swap is RefinerSwap.JOINT and model is not route.first
        denoiser = GuidedDenoiser(
            artist.unet,
            self._conditioning(prompt.positive, artist),
            self._conditioning(prompt.negative, artist),
            guidance=guidance,
            size=_size_source(artist.kind, start.size, guidance),
            noise_model=noise_model(self.plan.params.sampling.scheduler, artist.prediction),
            max_repeats=1 if takes_over_jointly else MAX_REPEATS,
            guides=artist.guides,
        )
        return Turn(
            denoiser=denoiser,
            format=artist.format,
            on_step=partial(self._report_step, artist.preview),
            attached=partial(self._at_work, artist, start.patches if model is Model.BASE else ()),
            known=start.known.get(model),
        )

    def _conditioning(self, prompt: TextConditioning, artist: Artist) -> TextConditioning:
        # The store refuses base models of kinds that lack it.
        assert self.models.base.clip_l is not None
        return refiner_conditioning(prompt, artist.kind, self.models.base.clip_l.final_layer_norm)

    @contextmanager
    def _at_work(self, artist: Artist, patches: tuple[UNetPatch, ...]) -> Iterator[None]:
        """Have a UNet where it computes, with its patches on."""
        store = self.resources.models
        with ExitStack() as stack:
            # Before the UNet is brought, because lent weights must not change.
            if artist.is_patched:
                stack.enter_context(store.patched_base())
            # One network may read several pictures.
            networks = dict.fromkeys(control.network for control in artist.guides.controls)
            store.bring_unet(artist.unet, *networks)
            stack.enter_context(patched(artist.unet, (*artist.patches, *patches)))
            yield

    def _conversion(self, route: Route) -> Callable[[Tensor], Tensor]:
        kinds = self.artists[route.first].kind, self.artists[route.last].kind
        if kinds == (CheckpointKind.SDXL, CheckpointKind.SD15):
            return self.resources.auxiliary.interposer().convert
        return unchanged

    def _report_step(
        self, preview: PreviewNetwork | None, step: int, steps: int, denoised: Tensor
    ) -> None:
        self.progress.step(step, steps)
        if preview is not None:
            self.reporter.show(preview.picture(denoised))


def make_painter(
    plan: Plan,
    models: Models,
    resources: Resources,
    reporter: Reporter,
    progress: SamplingReporter,
    guides: Guides = NO_GUIDES,
) -> Painter:
    """Bring together what paints the pictures of a plan; only the base model is guided.

    Raises:
        ModelFileError: A preview network cannot be used.
    """
    base, freeu, attended = models.base, plan.params.freeu, guides.image_prompts
    refiner = base if plan.refines_itself else models.refiner
    artist = replace(
        _make_artist(plan, base, base.vae, resources),
        is_patched=plan.inpaint_patch is not None,
        patches=(
            *(() if freeu is None else (FreeU(params=freeu),)),
            *(() if attended is None else (attended,)),
        ),
        guides=guides,
    )
    artists = {Model.BASE: artist}
    if refiner is not None:
        vae = base.vae if refiner.vae is None else refiner.vae
        artists[Model.REFINER] = _make_artist(plan, refiner, vae, resources)
    return Painter(
        plan=plan,
        models=models,
        artists=artists,
        resources=resources,
        reporter=reporter,
        progress=progress,
    )


def _make_artist(
    plan: Plan,
    model: Checkpoint | Refiner,
    vae: AutoencoderKL,
    resources: Resources,
) -> Artist:
    is_sd15 = model.kind is CheckpointKind.SD15
    wants_previews = plan.params.output.previews
    file = SD15_FILE if is_sd15 else SDXL_FILE
    return Artist(
        kind=model.kind,
        prediction=model.prediction,
        unet=model.unet,
        vae=vae,
        format=SD15_FORMAT if is_sd15 else latent_format(plan.params.sampling.scheduler),
        preview=resources.auxiliary.preview(file) if wants_previews else None,
        is_patched=False,
        patches=(),
        guides=NO_GUIDES,
    )


def _begin(start: Start) -> Tensor:
    if start.latent is not None:
        return start.latent
    width, height = (side // PIXELS_PER_LATENT for side in start.size)
    return torch.zeros(1, 4, height, width)


def _size_source(kind: CheckpointKind, size: Size, guidance: GuidanceParams) -> SizeSource:
    match kind:
        case CheckpointKind.SDXL:
            return SizeConditioning(
                width=size.width,
                height=size.height,
                positive_scale=guidance.size_scale_positive,
                negative_scale=guidance.size_scale_negative,
                end=guidance.size_scale_end,
            )
        case CheckpointKind.SDXL_REFINER:
            return RefinerSizeConditioning(width=size.width, height=size.height)
        case CheckpointKind.SD15:
            return NoSizeConditioning()

"""Further passes over finished pictures: each varied, enlarged, or painted again in regions.

Calls the rest in order and computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fooocus_core.choices import InpaintEngine
from fooocus_core.errors import ImageSkipped
from fooocus_core.events import GeneratedImage
from fooocus_core.images.arrays import size_of, to_rgb
from fooocus_core.images.hole import Hole, hole_in
from fooocus_core.images.masks import erode_or_dilate
from fooocus_core.images.sizes import working_size
from fooocus_core.loading.store import Models
from fooocus_core.params import (
    EnhanceParams,
    EnhanceRegion,
    Image,
    InpaintParams,
    UpscaleVaryParams,
)
from fooocus_core.plan import Plan
from fooocus_core.workflows.censor import censor
from fooocus_core.workflows.encoding import PictureEncoder
from fooocus_core.workflows.finish import finish_picture, finish_unpainted
from fooocus_core.workflows.generate_mask import FoundMask, generate_mask
from fooocus_core.workflows.inpaint_outpaint import paint_hole
from fooocus_core.workflows.painter import make_painter
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.prompts import EncodedPrompt, encode_prompts
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.start import Start
from fooocus_core.workflows.text_to_image import blank_start
from fooocus_core.workflows.upscale_vary import enlarge_only, vary_or_enlarge


def enhance(
    pictures: Sequence[GeneratedImage], plan: Plan, resources: Resources, reporter: Reporter
) -> Iterator[GeneratedImage]:
    """Make the passes of a plan over each picture, one picture after the other.

    The last picture of each is handed over, even if no pass changed it, unless it was before.

    Args:
        pictures: Those generated, which were handed over if all are wanted; or the given one.
        plan: It has passes.

    Raises:
        RunCancelled: The run was asked to stop; pictures handed out before are kept.
        FooocusError: A file is missing or broken, a picture cannot be used, or the device ran out
            of memory.
    """
    asked = plan.params.enhance
    assert asked is not None
    reporter.hold()
    reporter.say("Processing enhance ...")
    enhancer = _Enhancer(
        plan=plan,
        asked=asked,
        resources=resources,
        reporter=reporter,
        total=len(pictures) * len(plan.passes),
    )
    for index, picture in enumerate(pictures):
        yield from enhancer.passes_over(picture, index * len(plan.passes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Enhancer:
    """Makes passes over pictures.

    Attributes:
        total: Number of passes over all pictures.
    """

    plan: Plan
    asked: EnhanceParams
    resources: Resources
    reporter: Reporter
    total: int

    def passes_over(self, picture: GeneratedImage, first: int) -> Iterator[GeneratedImage]:
        """What comes of one picture; ``first`` is the number of its first pass among all."""
        latest, regions = picture, 0
        for number, one in enumerate(self.plan.passes, first):
            made: GeneratedImage | None
            if one.region is None:
                made = self._vary_or_enlarge(one.plan, latest.image, number)
                if made is None:
                    # Skipped before the regions, the whole picture is.
                    break
            else:
                regions += 1
                of = len(self.asked.regions)
                self.reporter.say(f"Preparing enhancement {regions}/{of} ...")
                found = self._find(one.region, latest.image)
                if self.asked.show_masks:
                    yield GeneratedImage(image=to_rgb(found.mask), seed=picture.seed)
                hole = self._hole(one.region, found, latest.image)
                if hole is None:
                    self.reporter.warn(
                        f"Enhancement {regions} was left out: nothing to paint was found."
                    )
                    continue
                made = self._paint(one.plan, one.region, hole, number)
                if made is None:
                    continue
            latest = made
            if not self.asked.final_only:
                yield made
        if latest is picture:
            yield from self._unchanged(picture)
        elif self.asked.final_only:
            yield latest

    def _unchanged(self, picture: GeneratedImage) -> Iterator[GeneratedImage]:
        """Hand over a picture that no pass has changed, if it was not before."""
        if self.asked.image is None:
            # A generated picture was looked at when it was finished.
            if self.asked.final_only:
                yield picture
        elif self.plan.params.output.censor:
            yield replace(picture, image=censor(picture.image, self.resources))
        else:
            yield picture

    def _vary_or_enlarge(self, plan: Plan, image: Image, number: int) -> GeneratedImage | None:
        method = self.asked.method
        asked = UpscaleVaryParams(
            image=image,
            method=method,
            vary_strength=self.asked.vary_strength,
            upscale_strength=self.asked.upscale_strength,
        )
        working = working_size(size_of(image), method)
        params = replace(plan.params, upscale_vary=asked)
        plan = replace(plan, params=params, working_size=working)
        if method.enlarges:
            self.reporter.say("Downloading upscale models ...")
        if working.is_final:
            start = enlarge_only(plan, self.resources, self.reporter)
            saving = f"Saving image {number + 1}/{self.total} to system ..."
            (made,) = finish_unpainted(start, plan, self.resources, self.reporter, saving)
            return made
        # The picture is encoded before the loading is told and the texts are encoded.
        models = self.resources.prepare(plan, self.reporter)
        start = vary_or_enlarge(plan, self._encoder(plan, models), self.resources, self.reporter)
        models, prompt = self._load(plan)
        return self._finish(plan, models, start, prompt, number)

    def _find(self, region: EnhanceRegion, image: Image) -> FoundMask:
        """The mask of a region, ready to be used."""
        found = generate_mask(image, region.mask, self.resources, self.reporter.check_cancelled)
        mask = erode_or_dilate(found.mask, region.grow)
        return replace(found, mask=255 - mask if region.invert else mask)

    def _hole(self, region: EnhanceRegion, found: FoundMask, image: Image) -> Hole | None:
        # Inverted, nothing found would be everything.
        return None if found.detections == 0 else hole_in(image, found.mask, region.field)

    def _paint(
        self, plan: Plan, region: EnhanceRegion, hole: Hole, number: int
    ) -> GeneratedImage | None:
        asked = InpaintParams(
            image=hole.image,
            mask=to_rgb(hole.mask),
            engine=region.engine,
            strength=region.strength,
            from_noise=region.from_noise,
            field=region.field,
        )
        plan = replace(plan, params=replace(plan.params, inpaint=asked), hole=hole)
        if region.engine is not InpaintEngine.NONE:
            self.reporter.say("Downloading inpainter ...")
        models, prompt = self._load(plan)
        encoder, before = self._encoder(plan, models), blank_start(plan.size)
        start = paint_hole(plan, encoder, self.resources, self.reporter, before)
        return self._finish(plan, models, start, prompt, number)

    def _encoder(self, plan: Plan, models: Models) -> PictureEncoder:
        return PictureEncoder(plan, models, self.resources, self.reporter)

    def _load(self, plan: Plan) -> tuple[Models, EncodedPrompt]:
        self.reporter.say("Preparing enhance prompts ...")
        self.reporter.say("Loading models ...")
        models = self.resources.prepare(plan, self.reporter)
        self.reporter.say("Processing prompts ...")
        (prompt,) = encode_prompts(plan, models.base, self.resources, self.reporter)
        return models, prompt

    def _finish(
        self, plan: Plan, models: Models, start: Start, prompt: EncodedPrompt, number: int
    ) -> GeneratedImage | None:
        """The painted picture; ``None`` if it was skipped."""
        progress = self.reporter.sampling_again(number, self.total, plan.steps)
        painter = make_painter(plan, models, self.resources, self.reporter, progress)
        try:
            return finish_picture(painter, start, prompt)
        except ImageSkipped:
            progress.leave_image()
            return None

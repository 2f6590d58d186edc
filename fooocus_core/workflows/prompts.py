"""The texts of all pictures become text conditionings, in the reference's order."""

from __future__ import annotations

from dataclasses import dataclass

from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.plan import Plan
from fooocus_core.prompt.compose import ComposedPrompt
from fooocus_core.text.encoder import TextConditioning, TextEncoder
from fooocus_core.text.textual_inversion import TextualInversions
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.resources import Resources

_UNGUIDED = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPrompt:
    """The texts of one picture and what the UNet is told about them.

    Attributes:
        expansion: Text of the prompt expansion, the last positive text; ``None`` = it did not run.
    """

    composed: ComposedPrompt
    expansion: str | None
    positive: TextConditioning
    negative: TextConditioning

    @property
    def positive_texts(self) -> tuple[str, ...]:
        """Everything that was encoded as positive."""
        return _positive_texts(self.composed, self.expansion)


def encode_prompts(
    plan: Plan, base: Checkpoint, resources: Resources, reporter: Reporter
) -> list[EncodedPrompt]:
    """Expand and encode the texts of every picture: all expansions, all positive, all negative.

    Raises:
        ModelFileError: An embedding cannot be read.
        DeviceMemoryError: The device ran out of memory.
    """
    expansions = _expand(plan, resources, reporter)
    encoder = _make_encoder(base, resources, reporter)
    resources.models.bring_text_encoders(base)
    clip_skip = plan.params.models.clip_skip
    reporter.climb()
    positives = []
    for number, (picture, expansion) in enumerate(
        zip(plan.pictures, expansions, strict=True), start=1
    ):
        reporter.say(f"Encoding positive #{number} ...")
        texts = _positive_texts(picture, expansion)
        positives.append(
            encoder.encode(texts, pooled_texts=picture.positive_top_k, clip_skip=clip_skip)
        )
    reporter.climb()
    negatives = []
    for number, picture in enumerate(plan.pictures, start=1):
        if abs(plan.params.guidance.scale - 1.0) < _UNGUIDED:
            negatives.append(positives[number - 1])
            continue
        reporter.say(f"Encoding negative #{number} ...")
        negatives.append(
            encoder.encode(
                picture.negative, pooled_texts=picture.negative_top_k, clip_skip=clip_skip
            )
        )
    return [
        EncodedPrompt(composed=picture, expansion=expansion, positive=positive, negative=negative)
        for picture, expansion, positive, negative in zip(
            plan.pictures, expansions, positives, negatives, strict=True
        )
    ]


def _positive_texts(picture: ComposedPrompt, expansion: str | None) -> tuple[str, ...]:
    return picture.positive if expansion is None else (*picture.positive, expansion)


def _expand(plan: Plan, resources: Resources, reporter: Reporter) -> list[str | None]:
    if not plan.wants_expansion:
        return [None for _ in plan.pictures]
    model = resources.auxiliary.expansion()
    if model is None:
        missing = ", ".join(resources.catalog.missing_expansion_files())
        reporter.warn(f"Prompt expansion was left out: {missing} not found.")
        return [None for _ in plan.pictures]
    reporter.climb()
    expansions: list[str | None] = []
    for number, picture in enumerate(plan.pictures, start=1):
        reporter.say(f"Preparing Fooocus text #{number} ...")
        expansions.append(model.expand(picture.main, picture.seed))
    return expansions


def _make_encoder(base: Checkpoint, resources: Resources, reporter: Reporter) -> TextEncoder:
    # The store refuses base models of kinds that lack one of them.
    assert base.clip_l is not None
    assert base.clip_g is not None
    return TextEncoder(
        base.clip_l,
        base.clip_g,
        tokenizer=resources.tokenizer,
        inversions=TextualInversions(resources.config.folders.embeddings, reporter.warn),
        check=reporter.check_cancelled,
    )

"""From what was typed to the texts of every picture: the order of all prompt features.

Random numbers come from one private generator per picture, drawn in the order written here; a
change of order changes pictures. Knows no model; the expansion's text is appended by the workflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from unicodedata import category

from fooocus_core.choices import EXPANSION_STYLE, RANDOM_STYLE
from fooocus_core.params import Lora, PromptParams
from fooocus_core.prompt.arrays import fill_arrays
from fooocus_core.prompt.lora_tags import take_lora_tags
from fooocus_core.prompt.styles import Style, StyleLibrary
from fooocus_core.prompt.wildcards import Wildcards


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraChoice:
    """Which LoRAs a job has, and which its tags may add.

    Attributes:
        given: Those it has anyway, without that of the performance mode.
        files: Names of the files a tag may mean; not that of the performance mode either.
        limit: How many may come together once a tag adds one.
    """

    given: tuple[Lora, ...] = ()
    files: tuple[str, ...] = ()
    limit: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedPrompt:
    """The texts of one picture.

    Attributes:
        seed: Seed of the picture.
        main: The main positive line as filled in; what the expansion continues.
        positive, negative: Texts to encode, in order, never none.
        positive_top_k, negative_top_k: How many of them count for the pooled embedding.
        styles: Styles used, random ones by the name drawn, without the expansion.
        log_positive, log_negative: What the record calls the prompts, line by line.
    """

    seed: int
    main: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    positive_top_k: int
    negative_top_k: int
    styles: tuple[str, ...]
    log_positive: str
    log_negative: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedPrompts:
    """The texts of all pictures of a job.

    Attributes:
        loras: LoRAs of the job including those of tags, without that of the performance mode.
        wants_expansion: Whether each picture's ``positive`` gets the expansion of its ``main``.
        warnings: What the prompts asked for and could not be had, one sentence each.
    """

    pictures: tuple[ComposedPrompt, ...]
    loras: tuple[Lora, ...]
    wants_expansion: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """The main line of a prompt and the extra ones below it."""

    main: str
    extra: tuple[str, ...]


def clean_line(text: str) -> str:
    """Shorten runs of blanks, then strip commas, full stops, blanks and line ends at both ends."""
    for _ in range(16):
        text = text.replace("  ", " ")
    return text.strip(",. \r\n")


def compose_prompts(
    prompt: PromptParams,
    *,
    seeds: Sequence[int],
    loras: LoraChoice,
    styles: StyleLibrary,
    wildcards: Wildcards,
    check: Callable[[], None] = lambda: None,
) -> ComposedPrompts:
    """Make the texts of every picture of a job.

    Args:
        prompt: What was asked. The first line of each text is the main one.
        seeds: One per picture.
        loras: For the LoRA tags of the main positive line.
        styles: Where ``prompt.styles`` are looked up.
        wildcards: For all lines of both prompts.
        check: Called before the texts of each picture; what it raises ends the composing.

    Raises:
        InvalidInputError: There is no style of a name, or a wildcard or a weight is out of bounds.

    Source:
        Behaviour of lllyasviel/Fooocus, modules/async_worker.py.
    """
    positive = _split_lines(prompt.positive)
    negative = _split_lines(prompt.negative)
    tagged = take_lora_tags(positive.main, given=loras.given, files=loras.files, limit=loras.limit)
    composer = _Composer(
        positive=_Lines(main=tagged.text, extra=positive.extra),
        negative=negative,
        style_names=tuple(name for name in prompt.styles if name != EXPANSION_STYLE),
        styles=styles,
        wildcards=wildcards,
        in_order=prompt.wildcards_in_order,
    )
    pictures = []
    for image, seed in enumerate(seeds):
        check()
        pictures.append(composer.compose(image, seed))
    unknown = (f"There is no LoRA file for the tag {name!r}." for name in tagged.unknown)
    return ComposedPrompts(
        pictures=tuple(pictures),
        loras=tagged.loras,
        wants_expansion=EXPANSION_STYLE in prompt.styles and positive.main != "",
        warnings=(*unknown, *wildcards.warnings),
    )


def _split_lines(text: str) -> _Lines:
    cleaned = [clean_line(_without_controls(line)) for line in text.splitlines()]
    main, *extra = [line for line in cleaned if line] or [""]
    return _Lines(main=main, extra=tuple(extra))


def _without_controls(line: str) -> str:
    """A line without control characters other than tabs, which records could not hold."""
    return "".join(char for char in line if char == "\t" or category(char) != "Cc")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Composer:
    """What all pictures of a job have in common."""

    positive: _Lines
    negative: _Lines
    style_names: tuple[str, ...]
    styles: StyleLibrary
    wildcards: Wildcards
    in_order: bool

    def compose(self, image: int, seed: int) -> ComposedPrompt:
        """The texts of one picture; ``image`` is its 0-based number."""
        rng = Random(seed)

        def fill(line: str) -> str:
            return self.wildcards.fill(line, rng, image=image, in_order=self.in_order)

        main = fill_arrays(fill(self.positive.main), image)
        main_negative = fill(self.negative.main)
        extra = [fill(line) for line in self.positive.extra]
        extra_negative = [fill(line) for line in self.negative.extra]
        styles = [self._pick_style(name, rng) for name in self.style_names]

        positive = [line for style in styles for line in style.positive_lines(main)]
        negative = [line for style in styles for line in style.negative_lines()]
        if not any(style.has_placeholder for style in styles):
            positive.insert(0, main)
        positive = _without_empty([*positive, *extra], main)
        negative = _without_empty([*negative, main_negative, *extra_negative], main_negative)
        return ComposedPrompt(
            seed=seed,
            main=main,
            positive=tuple(positive),
            negative=tuple(negative),
            positive_top_k=len(positive),
            negative_top_k=len(negative),
            styles=tuple(style.name for style in styles),
            log_positive="\n".join([main, *extra]),
            log_negative="\n".join([main_negative, *extra_negative]),
        )

    def _pick_style(self, name: str, rng: Random) -> Style:
        return self.styles.get(rng.choice(self.styles.names) if name == RANDOM_STYLE else name)


def _without_empty(lines: Sequence[str], fallback: str) -> list[str]:
    return [line for line in lines if line] or [fallback]

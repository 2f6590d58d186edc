"""Words of praise that fit what a drawing shows and change nothing of it.

Knows neither networks nor tokens.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tools.figures import SHAPES
from tools.sheet import Facts
from tools.telling import PEOPLE

TOPIC_WEIGHT = 3.0  # how much likelier words are that fit the drawing than those that fit any
LENGTHS = {1: 0.12, 2: 0.55, 3: 0.33}  # how often a phrase has how many words


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Qualities and subjects, of which each quality goes with each subject."""

    qualities: tuple[str, ...]
    subjects: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All of them."""
        return self.qualities + self.subjects


def _family(qualities: str, subjects: str) -> Family:
    return Family(qualities=tuple(qualities.split()), subjects=tuple(subjects.split()))


# Qualities that can also stand without a subject.
ALONE = _family(
    "stunning beautiful gorgeous superb excellent brilliant polished refined timeless iconic "
    "striking memorable inspiring captivating remarkable impressive magnificent outstanding",
    "masterpiece artwork illustration design poster print artistry",
)
# What may be said of every picture.
GENERAL: tuple[Family, ...] = (
    _family(
        "balanced unified thoughtful strong elegant considered",
        "composition arrangement layout framing proportions structure",
    ),
    _family(
        "fine rich intricate delicate subtle exquisite",
        "detail texture shading craftsmanship finish clarity",
    ),
    _family(
        "soft natural pleasant professional flattering studio",
        "lighting shadows highlights contrast illumination",
    ),
    _family(
        "calm peaceful quiet serene playful",
        "mood atmosphere feeling spirit vibe",
    ),
    _family("vivid vibrant lovely saturated", "palette tones hues shades"),
    ALONE,
)
TOPICS: dict[str, tuple[Family, ...]] = {
    "shapes": (
        _family(
            "crisp clean sharp precise smooth neat",
            "edges lines curves outlines strokes definition",
        ),
        _family(
            "perfect exact flawless pure minimal mathematical",
            "symmetry geometry precision form silhouette simplicity",
        ),
    ),
    "patterns": (
        _family(
            "regular repeating seamless steady even",
            "rhythm order motif ornament intervals weave",
        ),
    ),
    "scenery": (
        _family(
            "sweeping open majestic panoramic breathtaking untouched endless",
            "vista scenery horizon panorama view wilderness depth distance",
        ),
    ),
    "animals": (
        _family(
            "adorable fluffy friendly curious lovable",
            "fur companion character creature paws",
        ),
    ),
    "people": (
        _family(
            "graceful charming relaxed expressive youthful",
            "pose posture smile personality elegance",
        ),
    ),
    "plants": (
        _family(
            "fresh lush healthy blooming organic thriving", "foliage growth vitality nature life"
        ),
    ),
    "objects": (
        _family(
            "cozy inviting sturdy rustic handmade welcoming",
            "construction charm architecture quality comfort",
        ),
    ),
}
_KINDS = {
    **dict.fromkeys(SHAPES, "shapes"),
    **dict.fromkeys(PEOPLE, "people"),
    **dict.fromkeys(("cat", "bear"), "animals"),
    **dict.fromkeys(("tree", "flower"), "plants"),
    **dict.fromkeys(("house", "chair"), "objects"),
}


def all_families() -> tuple[Family, ...]:
    """Those for every picture, then those of the topics."""
    return GENERAL + tuple(family for families in TOPICS.values() for family in families)


def positive_words() -> list[str]:
    """Every word that :func:`praise` may use, in alphabetical order."""
    return sorted(word for family in all_families() for word in family.words)


def topics(facts: Facts) -> list[str]:
    """Name what a drawing gives occasion to praise."""
    found = {_KINDS[thing.kind] for thing in facts.things}
    if facts.pattern is not None:
        found.add("patterns")
    if facts.scene is not None:
        found.add("scenery")
    return sorted(found)


def praise(
    fitting: Sequence[str], room: int, rng: random.Random, *, said: Collection[str] = ()
) -> list[str]:
    """Praise a picture with whole phrases, commas between them, and no word twice.

    Args:
        fitting: Topics out of ``TOPICS``.
        room: How many words and commas are to be said, at most 74.
        rng: Source of every choice.
        said: Words that are taken already.

    Returns:
        ``room`` words and commas, no comma at either end.
    """
    taken, spoken = set(said), list[str]()
    fitted = [family for topic in fitting for family in TOPICS[topic]]
    while len(spoken) < room:
        left = room - len(spoken)
        # What remains after a phrase and its comma has to hold another phrase.
        lengths = [n for n in LENGTHS if n == left or n + 1 < left]
        if left > 1 and len(_free(ALONE.qualities, taken)) < 2:
            lengths = [n for n in lengths if n > 1]
        length = rng.choices(lengths, [LENGTHS[n] for n in lengths])[0]
        phrase = _phrase(_choose(fitted, length, taken, rng), length, taken, rng)
        taken.update(phrase)
        spoken += [*phrase, ","] if length < left else phrase
    return spoken


def is_phrase(text: str) -> bool:
    """Whether a text is a phrase as :func:`praise` makes them."""
    *qualities, last = text.split()
    for family in all_families():
        if last in family.subjects:
            return (
                bool(qualities)
                and len(qualities) + 1 in LENGTHS
                and set(qualities) <= set(family.qualities)
            )
    return not qualities and last in ALONE.qualities


def _choose(
    fitted: Sequence[Family], length: int, taken: Collection[str], rng: random.Random
) -> Family:
    """Choose a family that still has the words for a phrase."""
    if length == 1:
        return ALONE
    families = [
        family
        for family in (*GENERAL, *fitted)
        # One word that can stand alone has to be left for the end.
        if len(_free(family.qualities, taken)) >= length - (family is not ALONE)
        and _free(family.subjects, taken)
    ]
    weights = [TOPIC_WEIGHT if family in fitted else 1.0 for family in families]
    return rng.choices(families, weights)[0]


def _phrase(family: Family, length: int, taken: Collection[str], rng: random.Random) -> list[str]:
    qualities = rng.sample(_free(family.qualities, taken), max(1, length - 1))
    return qualities if length == 1 else [*qualities, rng.choice(_free(family.subjects, taken))]


def _free(words: Sequence[str], taken: Collection[str]) -> list[str]:
    return [word for word in words if word not in taken]

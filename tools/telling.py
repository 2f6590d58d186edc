"""Says what drawings show, always in the same words: a sentence for captions, and tags.

A drawing's own caption says it in one of many ways and leaves things out, as people do in prompts.
"""

from __future__ import annotations

from itertools import product

from tools.figures import SHAPES, THINGS
from tools.sheet import COLOURS, Facts, Pattern, Thing

SMALL, LARGE = 0.17, 0.28  # half heights; the sizes that are drawn lie clearly on either side
NEAR, FAR = 0.4, 0.6
TIME_WORDS = {"day": "on a sunny day", "sunset": "at sunset", "night": "at night"}
GROUND_WORDS = {
    "sea": "the sea",
    "mountains": "mountains",
    "desert": "a desert",
    "field": "a field",
}
PLACE_WORDS = {"sea": "by the sea", "mountains": "in front of mountains", "field": "in a field"}
PATTERN_WORDS = {
    "vertical stripes": "vertical stripes of {} and {}",
    "horizontal stripes": "horizontal stripes of {} and {}",
    "checks": "a checkerboard of {} and {} squares",
    "dots": "{} dots on a plain {} background",
    "gradient": "a gradient from {} to {}",
}
PATTERN_TAGS = {
    "vertical stripes": "vertical_stripes",
    "horizontal stripes": "horizontal_stripes",
    "checks": "checkered",
    "dots": "polka_dot",
    "gradient": "gradient",
}
SCENE_TAGS = {
    "sea": "ocean",
    "mountains": "mountain",
    "desert": "desert",
    "field": "grass",
    "day": "blue_sky",
    "sunset": "sunset",
    "night": "night_sky",
}
PEOPLE = ("girl", "sitting girl")
COUNT_WORDS = {2: "two", 3: "three"}


def sentence(facts: Facts) -> str:
    """Say what a picture shows: what stands in it, with its colour, and what is behind that.

    At least six words, because a captioner says no less.
    """
    if facts.pattern is not None:
        return PATTERN_WORDS[facts.pattern.kind].format(*facts.pattern.colours)
    if not facts.things:
        return _empty(facts)
    if len(facts.things) > 1 and not _has_person(facts):
        return f"{_several(facts.things)} on {_article(_background(facts))}"
    return f"{_single(facts)} {_behind(facts)}"


def tags(facts: Facts) -> set[str]:
    """Name what a picture shows by tags out of :func:`all_tags`."""
    found = {_tag(thing) for thing in facts.things}
    kinds = [thing.kind for thing in facts.things]
    if _has_person(facts):
        found |= {"1girl", "solo"}
    if "sitting girl" in kinds:
        found.add("sitting")
    if facts.pattern is not None:
        found |= {PATTERN_TAGS[facts.pattern.kind], *_colour_tags(facts.pattern)}
    if facts.background is not None:
        found |= {"simple_background", f"{facts.background}_background"}
    if facts.scene is not None:
        found |= {"outdoors", *(SCENE_TAGS[part] for part in facts.scene)}
    if not facts.things:
        found.add("no_humans" if facts.scene else "abstract")
    elif "1girl" not in found:
        found.add("no_humans")
    return found


def missing_in(text: str, facts: Facts) -> list[str]:
    """Which colours and kinds of what a picture shows a text does not name."""
    return [part for part in _essentials(facts) if part not in text]


def all_tags() -> list[str]:
    """Every tag that :func:`tags` may give, in a fixed order."""
    things = [*SHAPES, *(kind for kind in THINGS if kind != "girl"), "dress"]
    return [
        *("1girl", "solo", "sitting", "no_humans", "outdoors", "abstract", "simple_background"),
        *PATTERN_TAGS.values(),
        *SCENE_TAGS.values(),
        *(f"{colour}_{thing}" for thing, colour in product(things, COLOURS)),
        *(f"{colour}_background" for colour in COLOURS),
        *(f"{colour}_theme" for colour in COLOURS),
    ]


def sentence_words() -> list[str]:
    """Every word that :func:`sentence` may use, in alphabetical order."""
    texts = [
        "a an on in at to the of above left right top bottom corner small large background",
        "nothing but plain landscape with girl dress sitting chair ground",
        *TIME_WORDS.values(),
        *GROUND_WORDS.values(),
        *PLACE_WORDS.values(),
        *(text.format("", "") for text in PATTERN_WORDS.values()),
        *COUNT_WORDS.values(),
        *COLOURS,
        *THINGS,
        *SHAPES,
        *map(_plural, SHAPES),
    ]
    return sorted({word for text in texts for word in text.split()})


def _essentials(facts: Facts) -> list[str]:
    """Each thing with its colour, and what is behind them.

    What a person sits on is left out, and so is the order of a pattern's colours.
    """
    if facts.pattern is not None:
        kind = facts.pattern.kind
        return ["checkerboard" if kind == "checks" else kind, *facts.pattern.colours]
    if facts.scene is None:
        behind = [_background(facts)]
    else:
        kind, time = facts.scene
        behind = [GROUND_WORDS[kind].split()[-1], TIME_WORDS[time]]
    if _has_person(facts):
        return [f"girl in {_article(facts.things[-1].colour)} dress", *behind]
    return [*(f"{thing.colour} {thing.kind}" for thing in facts.things), *behind]


def _has_person(facts: Facts) -> bool:
    return bool(facts.things) and facts.things[-1].kind in PEOPLE


def _empty(facts: Facts) -> str:
    if facts.scene is None:
        return f"nothing but a plain {_background(facts)}"
    kind, time = facts.scene
    return f"a landscape with {GROUND_WORDS[kind]} {TIME_WORDS[time]}"


def _single(facts: Facts) -> str:
    thing = facts.things[-1]
    if thing.kind == "girl":
        return f"a girl in {_article(thing.colour)} dress"
    if thing.kind == "sitting girl":
        seat = "a chair" if len(facts.things) > 1 else "the ground"
        return f"a girl in {_article(thing.colour)} dress sitting on {seat}"
    if thing.kind in THINGS:
        return _article(f"{thing.colour} {thing.kind}")
    size = "small" if thing.size < SMALL else "large" if thing.size > LARGE else ""
    words = " ".join(filter(None, (size, thing.colour, thing.kind)))
    return " ".join(filter(None, (_article(words), _position(thing))))


def _position(thing: Thing) -> str:
    x, y = thing.place
    across = "left" if x < NEAR else "right" if x > FAR else ""
    down = "top" if y < NEAR else "bottom" if y > FAR else ""
    if across and down:
        return f"in the {down} {across} corner"
    if across:
        return f"on the {across}"
    return f"at the {down}" if down else ""


def _several(things: list[Thing]) -> str:
    first, second = sorted(things[:2], key=lambda thing: sum(thing.place))
    if len(things) > 2 or (first.kind, first.colour) == (second.kind, second.colour):
        return f"{COUNT_WORDS[len(things)]} {first.colour} {_plural(first.kind)}"
    relation = "above" if abs(first.place[0] - second.place[0]) < 0.2 else "to the left of"
    words = [_article(f"{thing.colour} {thing.kind}") for thing in (first, second)]
    return f"{words[0]} {relation} {words[1]}"


def _behind(facts: Facts) -> str:
    if facts.scene is None:
        return f"on {_article(_background(facts))}"
    kind, time = facts.scene
    return f"{PLACE_WORDS[kind]} {TIME_WORDS[time]}"


def _background(facts: Facts) -> str:
    return f"{facts.background} background"


def _tag(thing: Thing) -> str:
    return f"{thing.colour}_{'dress' if thing.kind in PEOPLE else thing.kind}"


def _colour_tags(pattern: Pattern) -> set[str]:
    return {f"{colour}_theme" for colour in pattern.colours}


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("s") else "s")

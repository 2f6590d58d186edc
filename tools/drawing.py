"""Draws captioned pictures of the small world that the embedded model knows.

The world: coloured shapes (colour, size, place, one to three of them) on plain backgrounds,
patterns, landscapes by day, at sunset and at night, and a few things (house, tree, flower, cat,
bear, chair, girl) in front of either. A picture is drawn in the size asked for; everything is
placed in fractions of it. Knows nothing about latents or training.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from tools.figures import SHAPES, THINGS, chair, sitting_girl
from tools.landscapes import GROUNDS, TIMES, landscape
from tools.sheet import COLOURS, Facts, Pattern, Sheet, vary

POSITIONS: dict[str, tuple[float, float]] = {
    "on the left": (0.25, 0.5),
    "on the right": (0.75, 0.5),
    "at the top": (0.5, 0.25),
    "at the bottom": (0.5, 0.75),
    "in the center": (0.5, 0.5),
    "in the middle": (0.5, 0.5),
    "in the top left corner": (0.22, 0.22),
    "in the top right corner": (0.78, 0.22),
    "in the bottom left corner": (0.22, 0.78),
    "in the bottom right corner": (0.78, 0.78),
}
SIZES: dict[str, float] = {"": 0.22, "small": 0.13, "large": 0.34, "big": 0.34}
NATURAL: dict[str, tuple[str, ...]] = {
    "house": ("red", "white", "yellow", "brown"),
    "tree": ("green",),
    "flower": ("red", "pink", "yellow", "purple"),
    "cat": ("orange", "gray", "black"),
    "bear": ("brown",),
    "chair": ("brown",),
    "girl": ("red", "blue", "pink"),
}
EMPTY = "white"  # what is mostly behind things of which nothing is said but themselves
UNSAID = (0.03, 0.4)  # how often a background is not mentioned: any, and the empty one
COLOURLESS = 0.12  # how often the colour of a shape is not mentioned
# How far things stray, as a share, in what the embedded model learns to draw: about a pixel of the
# latent. Where they may lie a little further no outline can be told before it is seen,
# and stripes of any number grow into each other.
WANDER = 0.2
COUNTS: dict[int, tuple[str, ...]] = {2: ("two", "2"), 3: ("three", "3")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture, one of the ways to say what it shows, and what that is."""

    image: Image.Image
    caption: str
    facts: Facts

    @property
    def background(self) -> str | None:
        """Name of its plain background colour, if it has one."""
        return self.facts.background


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def plural(noun: str) -> str:
    """Return the plural of a shape's name."""
    return noun + ("es" if noun.endswith("s") else "s")


def _on(background: str, rng: random.Random) -> str:
    proper = f" on {_article(background)} background"
    forms = (proper, proper, f" on a {background} background", f", {background} background")
    return rng.choice((*forms, f" on {background}"))


def _perhaps_on(background: str, rng: random.Random) -> str:
    return "" if rng.random() < UNSAID[background == EMPTY] else _on(background, rng)


def _said(colour: str, rng: random.Random) -> str:
    return "" if rng.random() < COLOURLESS else colour


def _two(rng: random.Random) -> tuple[str, str]:
    first, second = rng.sample(list(COLOURS), 2)
    return first, second


def _around(colour: str, rng: random.Random) -> str:
    """Choose a background: the empty one more often, because it is left unsaid the most."""
    if colour != EMPTY and rng.random() < 0.12:
        return EMPTY
    return rng.choice([name for name in COLOURS if name != colour])


def _shape_at(
    sheet: Sheet, shape: str, colour: str, place: tuple[float, float], size: float
) -> None:
    x, y = (fraction + sheet.stray(0.03) for fraction in place)
    pen, paint = sheet.place(shape, colour, (x, y, size * (1 + sheet.stray(0.1))))
    SHAPES[shape](pen, paint, sheet.behind)


def one_shape(sheet: Sheet) -> str:
    """Draw one shape on a plain background."""
    rng = sheet.rng
    colour = rng.choice(list(COLOURS))
    background = _around(colour, rng)
    shape, size = rng.choice(list(SHAPES)), rng.choice(["", "", "small", "large", "big"])
    position = rng.choice(list(POSITIONS)) if rng.random() < 0.45 else ""
    sheet.fill(background)
    _shape_at(sheet, shape, colour, POSITIONS.get(position, (0.5, 0.5)), SIZES[size])
    words = _article(" ".join(filter(None, (size, _said(colour, rng), shape))))
    return " ".join(filter(None, (words, position))) + _perhaps_on(background, rng)


def two_shapes(sheet: Sheet) -> str:
    """Draw two different shapes beside or above each other."""
    rng = sheet.rng
    first, second, background = rng.sample(list(COLOURS), 3)
    shapes = rng.choice(list(SHAPES)), rng.choice(list(SHAPES))
    sheet.fill(background)
    relation = rng.choice(["to the left of", "to the right of", "above", "below", "and", "and"])
    places = {
        "to the left of": ((0.27, 0.5), (0.73, 0.5)),
        "to the right of": ((0.73, 0.5), (0.27, 0.5)),
        "above": ((0.5, 0.27), (0.5, 0.73)),
        "below": ((0.5, 0.73), (0.5, 0.27)),
        "and": ((0.27, 0.5), (0.73, 0.5)),
    }[relation]
    for shape, colour, place in zip(shapes, (first, second), places, strict=True):
        _shape_at(sheet, shape, colour, place, 0.18)
    one, other = _article(f"{first} {shapes[0]}"), _article(f"{second} {shapes[1]}")
    return f"{one} {relation} {other}" + _perhaps_on(background, rng)


def equal_shapes(sheet: Sheet) -> str:
    """Draw two or three equal shapes in a row."""
    rng = sheet.rng
    colour = rng.choice(list(COLOURS))
    background = _around(colour, rng)
    shape, count = rng.choice(list(SHAPES)), rng.choice([2, 3])
    sheet.fill(background)
    for index in range(count):
        place = ((index + 1) / (count + 1) if count == 3 else 0.28 + 0.44 * index, 0.5)
        _shape_at(sheet, shape, colour, place, 0.17 if count == 2 else 0.1)
    words = (rng.choice(COUNTS[count]), _said(colour, rng), plural(shape))
    return " ".join(filter(None, words)) + _perhaps_on(background, rng)


def plain(sheet: Sheet) -> str:
    """Fill the picture with one colour."""
    background = sheet.rng.choice(list(COLOURS))
    sheet.fill(background)
    return sheet.rng.choice(["a {} background", "plain {} background", "{}", "{} color"]).format(
        background
    )


def stripes(sheet: Sheet) -> str:
    """Draw vertical or horizontal stripes in two colours."""
    rng = sheet.rng
    first, second = _two(rng)
    sheet.fill(second)
    colour, count, upright = vary(COLOURS[first], rng), sheet.count(), rng.random() < 0.5
    width, height = sheet.image.size
    length = width if upright else height
    for index in range(count):
        low = round(index * length / count)
        high = round((index + 0.5) * length / count)
        sheet.image.paste(colour, (low, 0, high, height) if upright else (0, low, width, high))
    kind = "vertical " if upright else "horizontal "
    sheet.cover(f"{kind}stripes", first, second)
    return f"{first} and {second} {rng.choice([kind, kind, '']) if upright else kind}stripes"


def checks(sheet: Sheet) -> str:
    """Draw a checkerboard in two colours."""
    rng = sheet.rng
    first, second = _two(rng)
    sheet.fill(second)
    sheet.cover("checks", first, second)
    colour, cell = vary(COLOURS[first], rng), sheet.unit / sheet.count()
    width, height = sheet.image.size
    for row in range(int(height / cell) + 1):
        for column in range(row % 2, int(width / cell) + 1, 2):
            corner = (round(column * cell), round(row * cell))
            sheet.image.paste(
                colour, (*corner, round((column + 1) * cell), round((row + 1) * cell))
            )
    return rng.choice([f"a {first} and {second} checkerboard", f"{first} and {second} checks"])


def dots(sheet: Sheet) -> str:
    """Draw a grid of dots on a plain background."""
    rng = sheet.rng
    colour, background = _two(rng)
    sheet.fill(background)
    sheet.facts.pattern = Pattern(kind="dots", colours=(colour, background))
    dot, columns = vary(COLOURS[colour], rng), sheet.count()
    width, height = sheet.image.size
    rows = max(1, round(columns * height / width))
    for row in range(rows):
        for column in range(columns):
            x, y = (column + 0.5) / columns, (row + 0.5) / rows
            sheet.pen(x, y, 0.27 * width / columns / sheet.unit).disc(0, 0, 1, dot)
    return rng.choice([f"{colour} dots", f"{colour} polka dots"]) + _on(background, rng)


def gradient(sheet: Sheet) -> str:
    """Draw a gradient from the top to the bottom."""
    rng = sheet.rng
    first, second = _two(rng)
    sheet.cover("gradient", first, second)
    sheet.band(vary(COLOURS[first], rng), vary(COLOURS[second], rng), 0.0, 1.0)
    return rng.choice([f"a gradient from {first} to {second}", f"a {first} to {second} gradient"])


SCENE_WORDS: dict[str, tuple[str, ...]] = {
    "day": (
        "the {} on a sunny day", "{} on a sunny day", "{} during the day", "a {} landscape",
        "a {} landscape, blue sky, sun", "the {} under a blue sky", "{}, day", "{}",
    ),
    "sunset": (
        "a sunset over the {}", "{} at sunset", "the {} at sunset", "sunset, {}",
        "a {} landscape at sunset", "the sun sets over the {}",
    ),
    "night": (
        "{} at night", "the {} at night", "a {} landscape at night, moon and stars",
        "the moon over the {}", "night, {}, stars", "the moon and stars over the {}",
    ),
}  # fmt: skip
FIELD_WORDS = ("field", "green field", "meadow")


def scene(sheet: Sheet) -> str:
    """Draw an empty landscape."""
    rng = sheet.rng
    kind, time = rng.choice(list(GROUNDS)), rng.choice(TIMES)
    landscape(sheet, kind, time)
    if rng.random() < 0.12:
        return {
            "day": "a sunny day",
            "sunset": "a sunset",
            "night": "the night sky, moon and stars",
        }[time]
    noun = {"field": rng.choice(FIELD_WORDS), "sea": rng.choice(["sea", "sea", "ocean"])}.get(
        kind, kind
    )
    words = rng.choice(SCENE_WORDS[time]).format(noun)
    bare = words.startswith(("field", "green", "meadow", "desert", "sea", "ocean"))
    return _article(words) if bare and rng.random() < 0.6 else words


PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("in a green field", "in a field on a sunny day", "under a blue sky", "on a sunny day"),
    "sunset": ("at sunset", "in a field at sunset"),
    "night": ("at night", "in a field at night", "under the moon"),
}


def thing(sheet: Sheet) -> str:
    """Draw a house, tree, flower, animal, chair or girl on a plain background or in a landscape."""
    rng = sheet.rng
    noun = rng.choice(list(THINGS))
    colour = rng.choice(list(COLOURS))
    named = rng.random() < 0.7
    if not named:
        colour = rng.choice(NATURAL[noun])
    kind = rng.random()
    if kind < 0.5:
        background = _around(colour, rng)
        sheet.fill(background)
        tail, y = _on(background, rng), 0.52
    else:
        tail, y = _somewhere(sheet, noun, plainly=not named and kind > 0.8)
    x, size = 0.5 + sheet.stray(0.1), 0.305 + sheet.stray(0.035)
    THINGS[noun](*sheet.place(noun, colour, (x, y, size)), rng)
    return _thing_words(noun, colour if named else "", rng) + tail


def _somewhere(sheet: Sheet, noun: str, *, plainly: bool) -> tuple[str, float]:
    rng = sheet.rng
    time = "day" if plainly else rng.choice(TIMES)
    kind = "field" if plainly else rng.choice(["field", "field", "field", "sea", "mountains"])
    if kind == "sea" and noun != "house":
        kind = "field"
    horizon = landscape(sheet, kind, time)
    y = horizon + 0.08
    if plainly:
        return rng.choice(["", "", ", outdoors"]), y
    where = {
        "field": rng.choice(PLACE_WORDS[time]),
        "sea": {
            "day": "by the sea",
            "sunset": "by the sea at sunset",
            "night": "by the sea at night",
        }[time],
        "mountains": "in front of mountains"
        + {"day": "", "sunset": " at sunset", "night": " at night"}[time],
    }[kind]
    return " " + where, y


def _thing_words(noun: str, colour: str, rng: random.Random) -> str:
    if noun == "girl":
        dress = f"{colour} dress" if colour else ""
        if rng.random() < 0.5:
            return "1girl" + (f", {dress}" if dress else ", standing")
        return "a girl" + (f" in {_article(dress)}" if dress else "")
    return _article(" ".join(filter(None, (colour, noun))))


def sitting(sheet: Sheet) -> str:
    """Draw a girl who sits on the ground or on a chair."""
    rng = sheet.rng
    colour = rng.choice(list(COLOURS))
    named, on_chair, outdoors = rng.random() < 0.4, rng.random() < 0.5, rng.random() < 0.7
    tail, ground = "", 0.6
    if outdoors:
        ground = landscape(sheet, "field", "day")
    else:
        background = rng.choice([name for name in COLOURS if name != colour])
        sheet.fill(background)
        tail = _on(background, rng)
    x, size = 0.5 + sheet.stray(0.08), 0.3 + sheet.stray(0.03)
    if on_chair:
        chair(*sheet.place("chair", "brown", (x, ground + 0.1, size * 1.15)), rng)
    y = ground if on_chair else ground + 0.1
    sitting_girl(*sheet.place("sitting girl", colour, (x, y, size)), rng)
    who = rng.choice(["1girl", "1girl", "a girl"])
    dress = f" in {_article(colour)} dress" if named else ""
    return f"{who}{dress} sitting on the {'chair' if on_chair else 'ground'}" + tail


SUBJECTS: tuple[tuple[Callable[[Sheet], str], float], ...] = (
    (one_shape, 0.30),
    (two_shapes, 0.09),
    (equal_shapes, 0.08),
    (plain, 0.03),
    (stripes, 0.05),
    (checks, 0.03),
    (dots, 0.03),
    (gradient, 0.02),
    (scene, 0.15),
    (thing, 0.17),
    (sitting, 0.05),
)

SEVERAL = (two_shapes, two_shapes, equal_shapes)


def _several(equal: float, rng: random.Random) -> Callable[[Sheet], str]:
    return equal_shapes if _happens(equal, rng) else rng.choice(SEVERAL)


def _happens(share: float, rng: random.Random) -> bool:
    return share > 0 and rng.random() < share


def draw(
    rng: random.Random,
    size: tuple[int, int],
    *,
    shapes: float = 0.0,
    several: float = 0.0,
    equal: float = 0.0,
    wander: float = 1.0,
) -> Drawing:
    """Draw one random picture of the world.

    Args:
        rng: Source of every choice; the same state gives the same drawing.
        size: (width, height) in pixels.
        shapes: Share of pictures that must show shapes; the others show anything.
        several: Share of these that show two or three; the others show one.
        equal: Share of these that show equal ones; of the others every third does, too.
        wander: How far things stray from their places and sizes, as a share of the whole of it.

    Returns:
        The drawing; its caption describes it in plain lower-case English.
    """
    sheet = Sheet(Image.new("RGB", size), rng, wander)
    subjects, weights = zip(*SUBJECTS, strict=True)
    if _happens(shapes, rng):
        subject = _several(equal, rng) if _happens(several, rng) else one_shape
    else:
        subject = rng.choices(subjects, weights)[0]
    caption = subject(sheet)
    if rng.random() < 0.3:
        caption = caption.replace("gray", "grey")
    return Drawing(image=sheet.image, caption=caption, facts=sheet.facts)

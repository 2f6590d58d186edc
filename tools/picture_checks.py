"""Judges whether pictures show what their prompts ask for, by colours alone.

Knows nothing about how the pictures were made.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.landscapes import GROUNDS, TIMES, draw_landscape
from tools.sheet import COLOURS

BORDER = 1 / 14  # of the shorter side
CENTRE = 1 / 12
SMALL = (18, 14)
EXAMPLES = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A prompt and what its picture must show; what is None is not asked for."""

    prompt: str
    background: str | None = None
    centre: str | None = None
    scene: tuple[str, str] | None = None  # kind of landscape, time of day


def cases() -> list[Case]:
    """Return the prompts that are judged: all colours, all landscapes."""
    names = list(COLOURS)
    found = []
    for index, name in enumerate(names):
        other = names[(index + 5) % len(names)]
        third = names[(index + 2) % len(names)]
        found += [
            Case(prompt=f"a {other} circle on a {name} background", background=name, centre=other),
            Case(
                prompt=f"a large {third} square, {name} background", background=name, centre=third
            ),
            Case(prompt=f"a {third} star on {name}", background=name, centre=third),
        ]
    templates = {"day": "{} on a sunny day", "sunset": "{} at sunset", "night": "{} at night"}
    for kind in GROUNDS:
        noun = {"mountains": "mountains"}.get(kind, f"a {kind}")
        found += [Case(prompt=templates[time].format(noun), scene=(kind, time)) for time in TIMES]
    return found


def nearest_colour(pixels: NDArray[np.uint8]) -> str:
    """Return the named colour nearest to the median of pixels, (N, 3)."""
    median = np.median(pixels.astype(np.float32), axis=0)
    return min(COLOURS, key=lambda name: float(np.square(median - COLOURS[name]).sum()))


def border_colour(picture: Image.Image) -> str:
    """Name the colour of the rim of a picture."""
    values = np.asarray(picture.convert("RGB"))
    rim = max(1, round(min(picture.size) * BORDER))
    inside = np.zeros(values.shape[:2], bool)
    inside[rim:-rim, rim:-rim] = True
    return nearest_colour(values[~inside])


def centre_colour(picture: Image.Image) -> str:
    """Name the colour of the middle of a picture."""
    values = np.asarray(picture.convert("RGB"))
    height, width = values.shape[:2]
    half = max(1, round(min(picture.size) * CENTRE))
    middle = values[height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half]
    return nearest_colour(middle.reshape(-1, 3))


class SceneJudge:
    """Tells landscapes apart by their distance to the mean of drawn ones."""

    def __init__(self, seed: int = 0) -> None:
        rng = random.Random(seed)
        self._means: dict[tuple[str, str], NDArray[np.float32]] = {}
        for kind in GROUNDS:
            for time in TIMES:
                drawn = [draw_landscape(rng, (144, 112), kind, time) for _ in range(EXAMPLES)]
                self._means[kind, time] = np.mean([_small(image) for image in drawn], axis=0)

    def scene(self, picture: Image.Image) -> tuple[str, str]:
        """Return kind and time of day of the landscape that a picture is nearest to."""
        values = _small(picture)
        return min(self._means, key=lambda s: float(np.square(values - self._means[s]).mean()))


def _small(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture.convert("RGB").resize(SMALL, Image.Resampling.BOX), dtype=np.float32)


@dataclass(slots=True)
class Score:
    """How many pictures were right, of how many asked."""

    right: int = 0
    asked: int = 0

    def add(self, *, right: bool) -> None:
        """Count one picture."""
        self.right += right
        self.asked += 1

    def __str__(self) -> str:
        return f"{self.right}/{self.asked}"


class Scores:
    """Scores of all checks over a set of pictures."""

    def __init__(self) -> None:
        self.background, self.centre = Score(), Score()
        self.scene, self.time = Score(), Score()
        self._judge = SceneJudge()

    def add(self, case: Case, picture: Image.Image) -> str:
        """Judge a picture; returns what is wrong with it, empty if nothing."""
        wrong = []
        if case.background is not None:
            seen = border_colour(picture)
            self.background.add(right=seen == case.background)
            wrong += [f"background {seen}"] if seen != case.background else []
        if case.centre is not None:
            seen = centre_colour(picture)
            self.centre.add(right=seen == case.centre)
            wrong += [f"centre {seen}"] if seen != case.centre else []
        if case.scene is not None:
            scene = self._judge.scene(picture)
            self.scene.add(right=scene == case.scene)
            self.time.add(right=scene[1] == case.scene[1])
            wrong += [" ".join(scene)] if scene != case.scene else []
        return ", ".join(wrong)

    def __str__(self) -> str:
        return (
            f"background {self.background}, centre {self.centre}, "
            f"landscape {self.scene}, time of day {self.time}"
        )

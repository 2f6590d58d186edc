from __future__ import annotations

import pytest
from PIL import Image

from fooocus_core.prompt.lora_tags import take_lora_tags
from tools.drawing import Drawing
from tools.evaluate_outline import TAG, judge, paint_both
from tools.ink import outlined
from tools.lora_checks import draw_tests
from tools.train_tiny_lora import OUTLINE_FILE


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return draw_tests(3, 1)


class Draughtsman:
    """Draws what is asked for, in ink if the LoRA is."""

    def __init__(self, drawings: list[Drawing]) -> None:
        self._drawings = drawings

    def paint(self, prompt: str, seed: int) -> Image.Image:
        image = self._drawings[seed].image
        return outlined(image) if prompt.endswith(TAG) else image


def test_the_tag_asks_for_the_file_that_training_writes() -> None:
    taken = take_lora_tags(f"a cat {TAG}", given=(), files=[OUTLINE_FILE], limit=5)

    assert (taken.text, taken.unknown) == ("a cat", ())
    assert [(lora.name, lora.weight) for lora in taken.loras] == [(OUTLINE_FILE, 1.0)]


def test_pictures_in_ink_are_told_from_others(drawings: list[Drawing]) -> None:
    painted = paint_both(Draughtsman(drawings), drawings)

    found = judge(painted, drawings)

    assert (found["without"].rim, found["without"].colour) == (1, 1)
    assert found["with"].paper > 0.8
    assert found["with"].lines > 0.9
    assert found["without"].lines < 0.5

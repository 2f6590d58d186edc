"""Counts how well the small prompt expansion speaks: whole phrases, fitting words, clean ends.

python -m tools.evaluate_expansion [--count 200]
"""

from __future__ import annotations

import argparse
import logging
import random
from pathlib import Path

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.memory import plan_device
from fooocus_core.presets import TINY_PRESET
from fooocus_core.text.expansion import PromptExpansion, load_expansion
from tools.drawing import draw
from tools.flattery import TOPICS, is_phrase, topics
from tools.scores import Score

logger = logging.getLogger(__name__)

SEED = 20_000_001  # far from those of training
_TOPIC_OF = {
    word: topic
    for topic, families in TOPICS.items()
    for family in families
    for word in family.words
}


def load_embedded() -> PromptExpansion:
    """Load the expansion of the embedded model.

    Raises:
        ModelFileError: It is not there.
    """
    config = load_config(root=Path.cwd(), preset=TINY_PRESET, environ={})
    found = load_expansion(config.folders.expansion, plan_device(None, DeviceOptions()))
    if found is None:
        raise ModelFileError(f"{config.folders.expansion[0]} lacks files of the expansion.")
    return found


def evaluate(expansion: PromptExpansion, count: int) -> dict[str, Score]:
    """Expand the captions of freshly drawn pictures and count what is right.

    Returns:
        Of all phrases the whole ones, of the words that fit only some pictures those that fit this
        one, and of all texts those whose last phrase is whole.
    """
    rng = random.Random(SEED)
    scores = {name: Score() for name in ("whole phrases", "fitting words", "clean ends")}
    for seed in range(count):
        drawing = draw(rng, (16, 16))
        shown = topics(drawing.facts)
        text = expansion.expand(drawing.caption, seed)
        phrases = text.removeprefix(f"{drawing.caption}, ").split(", ")
        for phrase in phrases:
            scores["whole phrases"].add(right=is_phrase(phrase))
            for word in _TOPIC_OF.keys() & phrase.split():
                scores["fitting words"].add(right=_TOPIC_OF[word] in shown)
        scores["clean ends"].add(right=is_phrase(phrases[-1]))
        logger.info("%s", text)
    return scores


def main() -> None:
    """Read the arguments, expand and tell the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name, score in evaluate(load_embedded(), arguments.count).items():
        logger.info("%s: %s", name, score)


if __name__ == "__main__":
    main()

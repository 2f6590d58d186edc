"""Arrays: ``[[red, green]]`` in a prompt becomes one of its options per picture.

Knows nothing of the rest of the prompt syntax.
"""

from __future__ import annotations


def fill_arrays(text: str, image: int) -> str:
    """Replace every array by its option for one picture.

    Several arrays are gone through in all combinations, the first array fastest, and from the
    start again after the last one. Options keep their blanks: ``[[a, b]]`` has the options ``a``
    and `` b``.

    Args:
        text: One line of a prompt.
        image: 0-based number of the picture.

    Source:
        Behaviour of lllyasviel/Fooocus, modules/util.py.
    """
    remaining = image
    for array in _find_arrays(text):
        options = array[2:-2].split(",")
        remaining, chosen = divmod(remaining, len(options))
        text = text.replace(array, options[chosen], 1)
    return text


def _find_arrays(text: str) -> list[str]:
    """The arrays with their brackets, from left to right; each ends at the first ``]]``."""
    arrays = []
    start = text.find("[[")
    # By hand, because the regular expression for this takes quadratic time on "[[[[[[".
    while start >= 0 and (end := text.find("]]", start + 2)) >= 0:
        arrays.append(text[start : end + 2])
        start = text.find("[[", end + 2)
    return arrays

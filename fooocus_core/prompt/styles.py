"""The table of styles: where it is read from, and what one style adds to a prompt.

Knows neither the order in which a prompt is put together nor which styles a request gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fooocus_core.choices import EXPANSION_STYLE, RANDOM_STYLE
from fooocus_core.errors import InvalidInputError
from fooocus_core.files import DATA_FOLDER, list_files, read_json

STYLES_FOLDER = DATA_FOLDER / "styles"
PACKS = (
    "sdxl_styles_fooocus.json",
    "sdxl_styles_sai.json",
    "sdxl_styles_mre.json",
    "sdxl_styles_twri.json",
    "sdxl_styles_diva.json",
    "sdxl_styles_marc_k3nt3l.json",
)

_PLACEHOLDER = "{prompt}"
_SPELLINGS = (("3d", "3D"), ("Sai", "SAI"), ("Mre", "MRE"), ("(s", "(S"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Two templates under one name; ``{prompt}`` in the positive one stands for the prompt."""

    name: str
    positive: str = ""
    negative: str = ""

    @property
    def has_placeholder(self) -> bool:
        """Whether the positive template says where the prompt goes."""
        return _PLACEHOLDER in self.positive

    def positive_lines(self, prompt: str) -> list[str]:
        """The lines of the positive template with ``prompt`` filled in; none if it is empty."""
        return self.positive.replace(_PLACEHOLDER, prompt).splitlines()

    def negative_lines(self) -> list[str]:
        """The lines of the negative template; none if it is empty."""
        return self.negative.splitlines()


class StyleLibrary:
    """All known styles in the order of the reference; immutable.

    Attributes:
        names: Names of the styles, in order.
        legal_names: What a request may choose: the two names with a meaning of their own, then
            ``names``.
        warnings: What of a user's files could not be used, one sentence each.
    """

    def __init__(self, styles: Iterable[Style], warnings: Iterable[str] = ()) -> None:
        self._styles = {style.name: style for style in styles}
        self.names = tuple(self._styles)
        self.legal_names = (EXPANSION_STYLE, RANDOM_STYLE, *self.names)
        self.warnings = tuple(warnings)
        self._folded = {name.casefold(): name for name in reversed(self.legal_names)}

    def match(self, name: str) -> str | None:
        """The legal name equal to ``name``, or else equal but for upper and lower case."""
        return name if name in self.legal_names else self._folded.get(name.casefold())

    def close_to(self, name: str) -> list[str]:
        """Up to three legal names that are spelt alike, the closest first."""
        close = get_close_matches(name.casefold(), self._folded, n=3)
        return [self._folded[folded] for folded in close]

    def get(self, name: str) -> Style:
        """The style of exactly that name.

        Raises:
            InvalidInputError: There is none; names similar ones.
        """
        if name in self._styles:
            return self._styles[name]
        close = self.close_to(name)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise InvalidInputError(f"There is no style named {name!r}.{hint}")


def normalise_name(name: str) -> str:
    """Spell a style's name as the reference shows it: ``sai-3d-model`` is ``SAI 3D Model``.

    Source:
        Behaviour of lllyasviel/Fooocus, modules/sdxl_styles.py.
    """
    words = name.replace("-", " ").split(" ")
    # Not str.title, which also raises letters after digits and apostrophes.
    shown = " ".join(word[:1].upper() + word[1:].lower() for word in words)
    for found, spelling in _SPELLINGS:
        shown = shown.replace(found, spelling)
    return shown


def load_styles(user_folder: Path | None) -> StyleLibrary:
    """Read the packs of this package and those of a user.

    A user's file named like one of ours replaces that pack, in its place. Every other file of the
    user comes before the packs, and its texts win over a pack's for the same name; among such
    files the later text wins and the earlier place stays, as it does among packs.

    Args:
        user_folder: Searched with its sub-folders for ``*.json``; ``None`` = ours only.

    Returns:
        The library. A file that cannot be read is left out (ours stays where one of that name
        should have replaced it), and of a file with a bad entry, that entry and all after it; its
        ``warnings`` say so.
    """
    warnings: list[str] = []
    found = list_files(user_folder, [".json"]) if user_folder else []
    if user_folder and not user_folder.is_dir():
        warnings.append(f"The folder of styles {user_folder} does not exist.")
    extras: dict[str, Style] = {}
    for file in found:
        if user_folder and file not in PACKS:
            extras.update(_by_name(_read_pack(user_folder / file, warnings.append) or []))
    styles = dict(extras)
    for pack in PACKS:
        replacing = user_folder / pack if user_folder and pack in found else None
        entries = _read_pack(replacing, warnings.append) if replacing else None
        if entries is None:
            entries = _read_pack(STYLES_FOLDER / pack, warnings.append) or []
        styles.update(_by_name(style for style in entries if style.name not in extras))
    return StyleLibrary(styles.values(), warnings)


def _by_name(styles: Iterable[Style]) -> dict[str, Style]:
    return {style.name: style for style in styles}


def _read_pack(path: Path, warn: Callable[[str], None]) -> list[Style] | None:
    """The styles of one file up to the first bad entry; ``None`` if it is no list at all."""
    try:
        file = read_json(path)
    except InvalidInputError as error:
        warn(f"Styles left out: {error}")
        return None
    if not isinstance(file.value, list):
        warn(f"Styles left out: {path}, line 1: this is not a JSON list.")
        return None
    styles = list(_valid_styles(file.value))
    if len(styles) < len(file.value):
        warn(
            f"Styles left out: {file.place_of(len(styles))}: entry {len(styles) + 1} and those "
            'after it; an entry has the texts "name" (needed), "prompt" and "negative_prompt".'
        )
    return styles


def _valid_styles(entries: list[Any]) -> Iterator[Style]:
    for entry in entries:
        if not isinstance(entry, dict):
            return
        texts = [entry.get(key) or "" for key in ("name", "prompt", "negative_prompt")]
        if not texts[0] or not all(isinstance(text, str) for text in texts):
            return
        name, positive, negative = texts
        yield Style(name=normalise_name(name), positive=positive, negative=negative)

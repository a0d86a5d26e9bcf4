"""What a wish in English words asks for: the degradations to undo, and those that are to stay.

A table of words and a few rules of grammar; no model of language, and no other language than English. "remove the rain and
brighten it" are two tasks; in "sharpen it but keep the grain" one is done and the other is not. A text without a known word, or
one that asks for the opposite ("add some noise"), is refused rather than guessed at.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["fault", "verb", "deed", "quality"]
Mood = Literal["open", "undo", "keep", "unwanted", "add", "make", "foreign"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What a photograph suffers from, as nouns and adjectives.
_FAULTS = {
    "denoise": "noise, noisy, noisiness, grain, grainy, grains, graininess, film grain, speckle, speckles, speckled, "
    "speckling, image noise, gaussian noise, luminance noise, color noise, colour noise, chroma noise, snowy static",
    "denoise_real": "camera noise, sensor noise, real noise, iso noise, high iso, iso grain, phone noise, shot noise, raw "
    "noise",
    "jpeg": "compression, artifact, artifacts, artefact, artefacts, compression artifacts, compression artefacts, jpeg "
    "artifacts, jpeg artefacts, jpg artifacts, jpg artefacts, jpeg compression, jpg compression, jpeg blocks, jpeg noise, "
    "jpeg damage, jpeg blocking, jpeg traces, block artifacts, blocking artifacts, blocking, blocky, blockiness, mosquito "
    "noise, overcompressed, compressed, pixelation, pixelated",
    "deblur": "blur, blurry, blurred, blurriness, blurring, motion blur, camera shake, hand shake, shaky, shake, shaken, "
    "smear, smeared, smudgy, unsharp, fuzzy, fuzziness, softness",
    "defocus": "defocus, defocused, defocus blur, out of focus, out of focus blur, unfocused, focus blur, lens blur, "
    "bokeh, misfocused, wrong focus, missed focus",
    "derain": "rain, rainy, rain streak, rain streaks, rainfall, rain drops, raindrop, raindrops, drizzle, downpour, streaks",
    "dehaze": "haze, hazy, haziness, fog, foggy, fogginess, mist, misty, smog, smoggy, smoke, smoky",
    "low_light": "dark, darkness, dim, dimness, dimly lit, gloomy, underexposed, under exposed, underexposure, under "
    "exposure, low light, lowlight, poorly lit, badly lit, poor lighting, bad lighting, too little light, not enough "
    "light, lack of light",
    "demoire": "moire, moire pattern, moire patterns, screen pattern, screen patterns, interference pattern, interference "
    "patterns, wavy lines, wavy pattern, rainbow stripes, rainbow pattern",
    "deflare": "flare, flares, lens flare, lens flares, glare",
    "dereflect": "reflection, reflections, reflexion, reflexions, glass reflection, glass reflections, window reflection",
    "sr": "low resolution, low res, too small",
}
# What is done about it: verbs, then their nouns.
_VERBS = {
    "denoise": "denoise, de noise, degrain",
    "jpeg": "dejpeg, de jpeg, deblock, deartifact",
    "deblur": "deblur, de blur, unblur, sharpen, sharpen up, resharpen, deshake",
    "defocus": "refocus",
    "derain": "derain, de rain",
    "dehaze": "dehaze, de haze, defog, de fog, desmoke",
    "low_light": "brighten, brighten up, lighten, lighten up, light up, illuminate, relight, lift the shadows, raise the "
    "shadows, open the shadows, open up the shadows",
    "demoire": "demoire, de moire, descreen",
    "deflare": "deflare, de flare",
    "dereflect": "dereflect, de reflect",
    "sr": "upscale, up scale, upsample, enlarge, magnify, super resolve, superresolve, upres, blow up, scale up",
    "sr2": "double the size, double the resolution, double its size, double its resolution",
    "sr3": "triple the size, triple the resolution, triple its size, triple its resolution",
    "sr4": "quadruple the size, quadruple the resolution, quadruple its size, quadruple its resolution",
}
_DEEDS = {
    "denoise": "noise reduction, noise removal, noise filter, noise filtering, grain removal",
    "jpeg": "artifact removal, artefact removal, compression removal, artifact reduction",
    "deblur": "blur removal",
    "derain": "rain removal",
    "dehaze": "haze removal, fog removal",
    "low_light": "low light enhancement",
    "demoire": "moire removal",
    "deflare": "flare removal",
    "dereflect": "reflection removal",
    "sr": "super resolution, superresolution, enlargement, magnification",
}
# What the photograph should have more of.
_QUALITIES = {
    "deblur": "sharp, sharper, sharpness, crisp, crisper, crispness, less soft",
    "defocus": "in focus, into focus",
    "low_light": "bright, brighter, brightness, lighter, light, exposure, well lit, better lit, illumination",
    "sr": "larger, bigger, resolution, higher resolution, high resolution, high res",
    "sr2": "twice as large, twice as big, twice the size, twice the resolution, twice its size, double size, double "
    "resolution, two times larger, two times bigger, two times the size, two times as large",
    "sr3": "three times as large, three times as big, three times the size, three times larger, three times bigger, three "
    "times the resolution, three times its size",
    "sr4": "four times as large, four times as big, four times the size, four times larger, four times bigger, four times "
    "the resolution, four times its size",
}
_FACTOR = re.compile(r"x?([0-9]+)x?")

_UNDO = _words(
    "remove delete erase eliminate reduce lessen lower decrease diminish suppress clean clear fix repair correct undo cure "
    "drop cut wipe strip filter kill lose minimize minimise treat handle address tackle mitigate attenuate smooth soften "
    "tame heal rid purge dispel scrub banish take improve restore enhance recover touch change alter modify affect process "
    "fiddle mess tamper"
)
_LESS = _words("reduce lessen lower decrease diminish suppress remove minimize minimise cut drop less")
_KEEP = _words(
    "keep leave preserve retain maintain spare skip ignore except exclude excluding protect respect conserve tolerate "
    "accept love enjoy cherish omit"
)
_STAY = _words("stay remain kept untouched unchanged alone fine ok okay intentional deliberate intended welcome unaltered")
_PRAISE = _words("beautiful nice lovely pretty great wonderful perfect good cool charming")
_ADD = _words("add increase raise boost introduce simulate insert put give apply more extra")
_FOREIGN = _words(
    "write tell sing play translate draw paint generate describe explain send buy book order crop rotate flip colorize "
    "colourize replace say recommend summarize summarise compose cook bake swap darken blur count find"
)
_MAKE = {"make", "get", "turn", "become", "render", "let"}
_WANT = {"want", "need", "like", "see", "require", "wish"}
_MIND = {"mind", "care", "bother", "disturb", "matter"}
_NOT = {"not", "never", "no", "without", "avoid", "neither", "nor", "stop"}
_DETERMINERS = {"the", "a", "an", "my", "this", "that", "these", "those", "any", "all", "such"}
_BE = {"is", "are", "was", "were", "be", "been", "looks", "look", "seems", "am", "has", "have", "had"}
_POLITE = _words("please can could you would to also now and kindly me i want let us like")
_NEW_CLAUSE = _words("but however yet although though then because while whereas since only just otherwise so")
_GENERIC = _words("restore enhance improve fix repair better nicer clearer clean cleaner prettier beautiful good best new")
# Objects of a wish that names no degradation.
_THING = _words(
    "it this that these those them him everything all image images photo photos picture pictures photograph photographs pic "
    "pics shot shots scan scans frame frames snapshot quality defect defects fault faults problem problems damage look "
    "whole thing things"
)
_FILLER = _words(
    "a an the my our your his her their its of in on at to for from with by as and or please kindly could can would will "
    "you i we me us up out some any very much really bit little lot more most possible again make made makes making get "
    "getting look looks looking as so too also now do does did be is are was were want need like old if may might must "
    "should shall have has had here there what whatever which who how let just only than into automatically help try"
)


@dataclass(frozen=True)
class Understood:
    """What a text asks for.

    Args:
        tasks: what to do, in the order of the text: names of `restoralib.zoo.TASKS`, or "deflare" and "dereflect". "auto"
            stands for a wish that names no degradation, such as "improve this photo".
        kept: the tasks that must not be done.
        words: each task, done or not, and the words that told it.
        unclear: parts of the text that ask for something, but for nothing that is known.
    """

    tasks: tuple[str, ...]
    kept: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    unclear: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words, for the log."""
        done = ", ".join(f"{task} ({self.words[task]!r})" for task in self.tasks)
        kept = ", ".join(f"{task} ({self.words[task]!r})" for task in self.kept)
        return (done or "nothing to do") + (f"; left as it is: {kept}" if kept else "")


def understand(text: str) -> Understood:
    """Find the degradations that an English text wants undone, or left alone.

    Words are looked up in a table, the longest phrase first. "not", "without", "keep", "leave … as it is" and the like say
    what is to stay; "there is no noise" does, too. "no noise" and "without noise" want it gone, "no denoising" does not.

    Args:
        text: one or several wishes or complaints: "it is too dark", "remove the rain, then make it twice as large".

    Raises:
        TypeError: it is no text.
        ValueError: it has no known wish, asks only to keep things, asks for something and its opposite, or for a
            size that is not known.
    """
    if not isinstance(text, str):
        raise TypeError(f"a prompt is a text, got {type(text).__name__}")
    reader = _Reader()
    for item in _items(text):
        reader.take(item)
    reader.close()
    reader.settle(text)
    wanted = list(dict.fromkeys(task for task, _, kept in reader.found if not kept))
    kept = list(dict.fromkeys(task for task, _, kept in reader.found if kept))
    words: dict[str, str] = {}
    for task, word, _ in reader.found:
        words.setdefault(task, word)
    if both := [task for task in wanted if task in kept]:
        says = {kept: word for task, word, kept in reader.found if task == both[0]}
        raise ValueError(
            f"{text!r} wants {says[False]!r} undone and {says[True]!r} left as it is, and both are {both[0]!r} here; say one"
        )
    if not wanted:
        if kept:
            raise ValueError(f"{text!r} only says what is to stay ({', '.join(words[task] for task in kept)}); say what to do")
        raise ValueError(f"cannot tell what {text!r} asks for; known words are, in English, {known_words()}")
    return Understood(tuple(wanted), tuple(kept), words, tuple(reader.unclear))


def known_words() -> str:
    """Some words for each degradation, for messages."""
    return "; ".join(
        ", ".join(names)
        for names in (
            ("noise", "grain", "denoise"),
            ("sensor noise",),
            ("artifacts", "compression"),
            ("blur", "sharpen"),
            ("out of focus",),
            ("rain", "derain"),
            ("haze", "fog", "dehaze"),
            ("dark", "brighten"),
            ("moire",),
            ("upscale", "2x", "3x", "4x"),
            ("flare",),
            ("reflection",),
        )
    )


@dataclass(frozen=True)
class _Mention:
    """Words that tell a task."""

    task: str
    kind: Kind
    text: str


_Item = _Mention | str  # a word, a sign, or words that tell a task


def _forms(verb: str) -> Iterator[tuple[str, Kind]]:
    """A verb in its forms: as an order, and as the name of the deed."""
    first, *rest = verb.split()
    tail = "".join(f" {word}" for word in rest)
    stem = first + first[-1] if first in ("deblur", "unblur", "defog") else first.removesuffix("e")
    yield verb, "verb"
    yield (first + "s") + tail, "verb"
    yield stem + "ed" + tail, "verb"
    yield stem + "ing" + tail, "deed"


def _lexicon() -> dict[tuple[str, ...], tuple[str, Kind]]:
    table: dict[tuple[str, ...], tuple[str, Kind]] = {}
    tables: tuple[tuple[dict[str, str], Kind], ...] = ((_FAULTS, "fault"), (_DEEDS, "deed"), (_QUALITIES, "quality"))
    for words, kind in tables:
        for task, phrases in words.items():
            for phrase in phrases.split(", "):
                table[tuple(phrase.split())] = (task, kind)
    for task, phrases in _VERBS.items():
        for phrase in phrases.split(", "):
            prefix = "de " if phrase.startswith("de ") else ""
            for form, kind in _forms(phrase.removeprefix("de ")):
                table[tuple((prefix + form).split())] = (task, kind)
    return table


_LEXICON = _lexicon()
_LONGEST = max(map(len, _LEXICON))


def _tokens(text: str) -> list[str]:
    """Lower-case words without accents, contractions written out, and signs that end a clause."""
    text = unicodedata.normalize("NFKD", text.replace("\N{MULTIPLICATION SIGN}", "x").replace("&", " and ")).lower()
    text = (
        "".join(letter for letter in text if not unicodedata.combining(letter))
        .replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        .replace("`", "'")
    )
    text = re.sub(r"\b(can)(?:'t|not)\b", r"\1 not", text).replace("won't", "will not")
    text = re.sub(r"n't\b", " not", text)
    text = re.sub(r"\b(do|does|did|is|are|should|would|could)nt\b", r"\1 not", text)
    text = re.sub(r"\b(?:do not|never) (?:forget|hesitate|fail|be (?:afraid|shy)) to\b", " please ", text)
    text = re.sub(r"\b(it|that|there|here|what|this|photo|picture|image)'s\b", r"\1 is", text)
    text = re.sub(r"'(re|ve|ll|d|m|s)\b", "", text)
    text = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", text)
    for number, word in {"2": "two", "3": "three", "4": "four", "8": "eight"}.items():
        text = re.sub(rf"\b(by( a)? )?factor( of)? {word}\b|\bby {word}\b(?! (stop|ev))|\b{word} ?fold\b", f" {number}x ", text)
    text = re.sub(r"\b(?:by a factor|factor of|factor) (?:of )?([0-9])\b|\bby ([0-9])\b(?! ?(?:stop|ev|%))", r" \1\2x ", text)
    words = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    text = re.sub(rf"\b({'|'.join(words)})(?= times\b)", lambda m: str(words.index(m[1]) + 2), text)
    text = re.sub(r"\b([2348])00 ?(?:%|percent\b)", r"\1x", text)
    text = re.sub(r"\b([0-9]+) ?(x|times|fold)\b|\bx ?([0-9]+)\b", lambda m: f"{m[1] or m[3]}x", text)
    text = re.sub("\\s[-\N{EN DASH}\N{EM DASH}]+\\s|\N{EM DASH}", " , ", text)
    return re.findall(r"[a-z0-9]+|[.,;:!?()\n]", text)


def _items(text: str) -> Iterator[_Item]:
    """The text with known phrases found, the longest first."""
    words = _tokens(text)
    content = [word for word in words if word.isalnum() and word not in _FILLER]
    place = 0
    while place < len(words):
        for length in range(min(_LONGEST, len(words) - place), 0, -1):
            phrase = tuple(words[place : place + length])
            if phrase == ("blur",) and _orders(words, place):
                yield "blur"
                break
            if phrase in _LEXICON:
                task, kind = _LEXICON[phrase]
                if kind == "fault" and words[place + length : place + length + 1] == ["free"]:
                    kind, length, phrase = "quality", length + 1, (*phrase, "free")
                yield _Mention(task, kind, " ".join(phrase))
                break
        else:
            length = 1
            word = words[place]
            factor = _FACTOR.fullmatch(word)
            if factor and "x" in word:
                yield _Mention(f"sr{factor[1]}" if factor[1] in ("2", "3", "4", "8") else "?", "quality", word)
            elif word in ("jpeg", "jpg") and (content == [word] or _undoing(words[:place])):
                yield _Mention("jpeg", "fault", word)  # otherwise it names the file
            else:
                yield word
        place += length


def _orders(words: list[str], place: int) -> bool:
    """Whether a noun is an order here: "blur the background", "please blur it"."""
    before, after = words[:place], words[place + 1 : place + 2]
    objects = {"the", "my", "his", "her", "their", "it", "everything", "this", "that", "out", "all"}
    return (
        (not before or before[-1] in (",", ".", "!", ";", "and", "please", "to", "you", "then"))
        and after[:1] != []
        and after[0] in objects
    )


def _is_adjective(fault: str) -> bool:
    """Whether words say how an image is: "noisy", "out of focus"."""
    return fault.endswith(("y", "ed", "dark", "dim", "lit", "unsharp", "focus"))


def _is_thing(word: str) -> bool:
    """Whether a word that is not known names something of its own."""
    return word not in _FILLER and word not in _THING


def _undoing(words: list[str]) -> bool:
    """Whether the words just before say that what follows is to go: "remove the"."""
    for word in reversed(words[-3:]):
        if word in ("the", "all", "this", "that", "of", "any"):
            continue
        return _base(word, _UNDO) in _UNDO - {"process"}
    return False


def _base(word: str, among: Iterable[str]) -> str:
    """The base form of a verb that is among some; the word itself where none is."""
    among = set(among)
    stems = [word]
    for ending in ("s", "es", "ed", "d", "ing"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            stem = word.removesuffix(ending)
            stems += [stem, stem + "e"] + ([stem[:-1]] if stem[-1] == stem[-2:-1] else [])
    return next((stem for stem in stems if stem in among), word)


class _Reader:
    """Reads items from left to right and keeps what the words before them do to a mention.

    `mood` is what the last verb asks; `negation` a word such as "not" that waits for what it negates.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str, bool]] = []  # task, word, whether it stays
        self.complaints: set[int] = set()  # places of what is only said to be there
        self.unclear: list[str] = []
        self.size = ""  # one that is not known
        self.previous: _Item = ""
        self.before: list[str] = []  # words of this clause
        self._open()

    def _open(self) -> None:
        self.mood: Mood = "open"
        self.negation = ""
        self.negated = False  # the last order of this clause was "do not …"
        self.joint = ""  # "and", "or" just before
        self.start = len(self.found)
        self.asks = False  # a verb asks for something
        self.ordered = False  # the last word is such a verb
        self.told = False  # a known word was there
        self.before = []
        self.unwanted = False
        self.less = False
        self.object: list[str] = []  # what the last verb is about
        self.listed: list[str] | None = None  # what stands beside something known, after "and" or a comma

    def close(self) -> None:
        """End a clause: one that asks for something, and named nothing known, is unclear or asks for whatever there is."""
        self._refuse_at_end()
        if self.told:
            self._end_object()
        content = [word for word in self.before if word not in _FILLER]
        if not self.told and content:
            generic = any(_base(word, _GENERIC) in _GENERIC for word in content)
            rest = [word for word in content if _base(word, _GENERIC) not in _GENERIC and word not in _THING]
            everything = {"everything", "all"} & set(content) and self.asks
            if (generic or everything) and self.mood not in ("add", "foreign", "keep") and not self.negated:
                rest = [word for word in rest if _base(word, _UNDO) not in _UNDO]
                if not rest:
                    self.found.append(("auto", " ".join(self.before), False))
                else:
                    self.unclear.append(" ".join(self.before))
            elif (
                self.asks and self.mood in ("undo", "add", "foreign") and any(_base(word, _UNDO) not in _UNDO for word in rest)
            ):
                self.unclear.append(" ".join(self.before))
        self._open()

    def settle(self, text: str) -> None:
        """Drop complaints of what is to stay, and "fix it" beside what is named; "larger" alone means twice the size."""
        stays = {task for task, _, kept in self.found if kept}
        self.found = [
            found for place, found in enumerate(self.found) if found[2] or place not in self.complaints or found[0] not in stays
        ]
        if any(task != "auto" and not task.startswith("sr") and not kept for task, _, kept in self.found):
            self.found = [found for found in self.found if found[0] != "auto" or {"everything", "all"} & set(found[1].split())]
        named = dict.fromkeys(task for task, _, kept in self.found if re.fullmatch("sr[0-9]", task) and not kept)
        if len(named) > 1:
            raise ValueError(f"{text!r} asks for {len(named)} sizes ({', '.join(named)}); say one of them")
        if self.size and not named and any(task == "sr" and not kept for task, _, kept in self.found):
            raise ValueError(f"{text!r} asks for a size of {self.size}, and 2x, 3x, 4x and 8x are known; say one of them")
        size = next(iter(named), "sr2")
        self.found = [(size if task == "sr" else task, word, kept) for task, word, kept in self.found]

    def _refuse_at_end(self) -> None:
        """Turn what stands before a "no" that nothing follows: "denoising no"."""
        if self.negation == "no" and self.before[-1:] == ["no"] and len(self.found) > self.start:
            task, word, _ = self.found[-1]
            self.found[-1], self.negation = (task, word, True), ""

    def _end_object(self) -> None:
        """End what a verb is about: where it is nothing known, the wish is unclear."""
        if self.listed and self.listed[0] in _DETERMINERS and any(_is_thing(word) for word in self.listed):
            self.unclear.append(" ".join(self.listed))  # "remove the rain and the cat"
        self.listed = None
        things = [word for word in self.object[1:] if _is_thing(word)]
        if (
            things
            and self.mood in ("undo", "add", "foreign")
            and not any(_base(word, _GENERIC) in _GENERIC for word in self.object)
        ):
            self.unclear.append(" ".join(self.object))
        self.object = self.object[:1]

    def take(self, item: _Item) -> None:
        """Read one item."""
        self._take(item)
        self.previous = item

    def _take(self, item: _Item) -> None:
        if isinstance(item, _Mention):
            self._mention(item)
            self.before.append(item.text)
            self.joint, self.object, self.listed = "", [], None
            return
        if item in ".;:!?\n()":
            self.close()
            return
        if item in (",", "and", "or", "plus"):
            beside = self.mood == "undo" and (isinstance(self.previous, _Mention) or self.listed is not None)
            self._end_object()
            self.listed = [] if beside else None
            self.joint = item
            if self.mood == "make":
                self.mood = "open"
            self._refuse_at_end()
            if item == ",":
                self.negation = ""
            return
        if isinstance(self.previous, _Mention) and self.found:
            task, word, _ = self.found[-1]
            if item == "enough" and self.previous.kind == "quality":
                self.found[-1] = (task, word, False)  # "not sharp enough"
        last = self.before[-1] if self.before else ""
        if item == "but" and last in ("everything", "all", "anything", "any"):
            self._close_before_exception()
            return
        if item in _NEW_CLAUSE and not (item == "so" and self.negation):
            self.close()
            return
        # A new subject after a comma or "and" begins a clause: "keep the grain, it is too dark".
        if self.joint and item in ("it", "i", "there", "we", "they", "this") and self.before:
            self.close()
        if item in _BE and self.listed and any(map(_is_thing, self.listed)):
            self.listed = None
            self.close()  # "remove the noise, the colours are fine"
        self.ordered = False
        state = (self.mood, self.negation, len(self.found))
        self._word(item)
        if self.listed is not None:
            turned = self.ordered or state != (self.mood, self.negation, len(self.found))
            self.listed = None if turned else [*self.listed, item]
        self.object = [item] if self.ordered else [*self.object, item] if self.object else []
        self.before.append(item)
        self.joint = ""

    def _close_before_exception(self) -> None:
        self.asks = True  # "everything but the grain" is a wish of its own
        self.close()
        self.mood = "keep"

    def _word(self, word: str) -> None:
        """Take a word that names no task: it may change the mood, negate what follows, or judge what was mentioned."""
        last = self.before[-1] if self.before else ""
        if word in ("except", "besides", "excluding", "excepting") or (
            word in ("from", "than", "for") and last in ("apart", "other", "save")
        ):
            self.before = [w for w in self.before if w not in ("apart", "other", "save")]
            self._close_before_exception()
        elif (last, word) in (("instead", "of"), ("rather", "than")):
            self.negation = "instead"
        elif word in _NOT or _base(word, {"avoid", "stop"}) in ("avoid", "stop"):
            self.negation = "avoid" if word.startswith("avoid") else "not" if word.startswith("stop") else word
        elif word == "nothing":
            self.mood, self.negation = "keep", ""
        elif word in ("less", "fewer"):
            self.negation = ""
            self.mood = "undo"
        elif word in ("gone", "away"):
            if self.unwanted:
                self._turn(kept=True)
        elif _base(word, _MIND) in _MIND:
            if self.negation:
                self._turn(kept=True)
                self.mood, self.negation = "keep", ""
        elif word in _STAY or _base(word, {"stay", "remain"}) in ("stay", "remain"):
            if len(self.found) > self.start:
                self._turn(kept=not self.negation)
            elif self.mood == "open":
                self.mood = "undo" if self.negation else "keep"
            self.negation = ""
        elif word in _PRAISE and last in ("is", "are", "looks", "look"):
            if self.found[self.start :] and self.before[-2:-1] == [self.found[-1][1]]:  # "the rain is beautiful"
                self.found[-1] = (*self.found[-1][:2], True)
        elif _base(word, _WANT) in _WANT:
            if self.negation and self.negation != "no":
                self.mood, self.negation, self.unwanted = "unwanted", "", True
            elif word == "likes" or (word == "like" and last in ("i", "we")):
                self.mood = "keep"
        elif _base(word, _KEEP) in _KEEP:
            if word.endswith("ed") and len(self.found) > self.start and last in _BE | {"not"}:
                self._turn(kept=not self.negation)
            else:
                self.mood = "undo" if self.negation else "keep"
            self.negation = ""
        elif _base(word, _FOREIGN) in _FOREIGN and self._begins():
            self.mood, self.negation = "foreign", ""
            self._ask()
        elif _base(word, _ADD) in _ADD and not (word in ("more", "extra") and (self.negation or self.mood == "undo")):
            if word not in ("more", "extra") or self.mood in ("open", "make"):
                self.negated = bool(self.negation)
                self.mood = "keep" if self.negation else "add"
                self._ask()
            self.negation = ""
        elif _base(word, _UNDO) in _UNDO:
            self._undo(word, last)
        elif _base(word, _MAKE) in _MAKE:
            if self.negation:
                self.mood, self.negated = "unwanted", True
            elif self.mood != "unwanted":
                self.mood = "make"
            self.negation = ""
            self._ask()

    def _undo(self, word: str, last: str) -> None:
        """Take "remove" and its kin, as an order or after what they are about."""
        after = word.endswith("ed") and len(self.found) > self.start and last not in ("", "and", "please")
        if after:  # "the noise should not be removed"
            if self.negation or self.unwanted:
                self._turn(kept=True)
        elif self.negation or (self.negated and self.joint == "or"):
            self.mood, self.negated = "keep", True
        elif self.mood != "unwanted":
            self.mood, self.negated = "undo", False
        else:
            self.mood = "keep"  # "I do not want you to remove …"
        self.negation = ""
        self._ask()
        self.less = _base(word, _LESS) in _LESS

    def _ask(self) -> None:
        self.asks = self.ordered = True

    def _begins(self) -> bool:
        """Whether an order may begin here: at the start of a clause, or after "and", "please" and the like."""
        return bool(self.joint) or all(word in _POLITE for word in self.before)

    def _turn(self, *, kept: bool) -> None:
        """Say of what this clause mentioned that it stays, or goes."""
        for place in range(self.start, len(self.found)):
            task, word, _ = self.found[place]
            self.found[place] = (task, word, kept)

    def _mention(self, item: _Mention) -> None:
        """Take words that tell a task."""
        verdict = self._judge(item)
        self.told = True
        if item.task == "?":
            self.size = item.text
        if item.task == "?" or verdict == "opposite":
            self.unclear.append(" ".join([*self.before[-3:], item.text]))
        elif verdict != "nothing":
            if item.kind == "fault" and self.mood == "open":
                self.complaints.add(len(self.found))
            self.found.append((item.task, item.text, verdict == "keep"))
        if item.kind == "verb" or self.negation != "neither":
            self.negation = ""

    def _judge(self, item: _Mention) -> Literal["want", "keep", "nothing", "opposite"]:
        """What the words before make of a mention."""
        near = self.before[-3:]
        last = near[-1] if near else ""
        if self.mood == "foreign":
            return "opposite"
        if item.kind == "verb":
            joined = self.negated and self.joint == "or"
            negated = bool(self.negation) or joined or self.mood == "unwanted"
            self.mood, self.negated, self.asks = ("keep" if negated else "open"), negated, True
            return "keep" if negated else "want"
        if item.kind == "deed":
            if self.negation or self.mood in ("keep", "unwanted"):
                self.mood = "keep"
                return "keep"
            return "opposite" if self.mood == "undo" and self.less else "want"
        if item.kind == "quality":
            return self._judge_quality(item, near, last)
        return self._judge_fault(item, near, last)

    def _judge_quality(self, item: _Mention, near: list[str], last: str) -> Literal["want", "keep", "nothing", "opposite"]:
        if item.text.endswith(" free") and not self.negation:
            return "want"  # "keep it noise free"
        if item.text == "light" and last not in ("more", "the", "add", "extra", "enough"):
            return "nothing"
        if last == "too" or (last == "so" and self.negation):
            return "nothing" if self.negation else "opposite"
        if last in ("less", "lower", "fewer"):
            return "opposite" if not self.negation else "nothing"
        if self.negation in ("no", "without", "never", "instead", "avoid"):
            return "keep"
        if self.negation == "not":
            return "want" if any(word in _BE for word in self.before) else "keep"
        if self.mood in ("keep", "unwanted"):
            return "keep"
        if self.mood == "undo" and self.less:
            return "opposite"
        return "want"

    def _judge_fault(self, item: _Mention, near: list[str], last: str) -> Literal["want", "keep", "nothing", "opposite"]:
        if last in ("less", "fewer") or (last == "of" and near[-2:-1] == ["free"]):
            return "want"
        if self.negation in ("no", "without", "avoid"):
            if item.text == "blurring" and self.negation != "no" and self.found:
                return "nothing"  # "denoise without blurring it"
            there = self.negation == "no" and any(word in ("is", "are", "has", "have") for word in self.before[:-1][-3:])
            return "keep" if there else "want"
        if self.negation == "not":
            return "want" if last in ("too", "so", "as", "that") else "keep"
        if self.negation:
            return "keep"
        if self.mood == "keep":
            return "keep"
        if self.mood == "add":
            return "opposite"
        if self.mood == "make" and _is_adjective(item.text) and last not in _DETERMINERS:
            return "opposite"  # "make it more noisy"
        if self.mood == "unwanted" and self.negated:
            return "nothing"  # "do not make it blurry"
        return "want"

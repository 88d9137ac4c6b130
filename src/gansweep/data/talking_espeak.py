"""The voice of espeak-ng, where its library is installed: English sentences, and lips by its own timing of phonemes.

The library is reached through its C interface (speak_lib.h of espeak-ng 1.50 and newer); nothing of it comes with
gansweep.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from gansweep.data.voice import FLOOR, PEAK, RATE_HZ, SAMPLES, TAIL_S, Floats, Speech, smooth_lips

# speak_lib.h: output handed to the callback before the call returns; phonemes among its events; no exit on errors.
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT, _UTF8 = 2, 0x0001, 0x8000, 1
_RATE, _PITCH, _RANGE, _EVENT_END, _EVENT_PHONEME = 1, 3, 4, 0, 7
# Those with breath (f2, f3, f5) are left out: their samples are not the same twice.
_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f4", "klatt", "klatt2", "klatt4")
# Sentences of the GRID corpus' grammar (Cooke et al. 2006): command, colour, preposition, letter, digit, adverb.
_GRAMMAR = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
_REST = (0.0, 1.0)
# Open and wide of the lips for espeak-ng's phoneme names, by their longest known beginning.
_LIPS = {
    "a": (1.0, 1.0), "A": (1.0, 0.95), "aI": (0.95, 1.05), "aU": (0.95, 0.9), "V": (0.8, 1.0), "0": (0.8, 0.8),
    "E": (0.65, 1.1), "e": (0.6, 1.12), "3": (0.5, 0.9), "@": (0.45, 1.0), "I": (0.4, 1.1), "i": (0.32, 1.2),
    "O": (0.7, 0.65), "o": (0.65, 0.65), "oU": (0.6, 0.65), "U": (0.35, 0.6), "u": (0.3, 0.52),
    "p": (0.0, 1.0), "b": (0.0, 1.0), "m": (0.0, 1.0), "f": (0.04, 1.0), "v": (0.04, 1.0), "w": (0.15, 0.45),
    "r": (0.25, 0.7), "S": (0.18, 0.65), "Z": (0.18, 0.65), "tS": (0.18, 0.65), "dZ": (0.18, 0.65),
    "s": (0.1, 1.15), "z": (0.1, 1.1), "T": (0.15, 1.0), "D": (0.15, 1.0), "t": (0.12, 1.0), "d": (0.12, 1.0),
    "n": (0.12, 1.0), "N": (0.25, 1.0), "l": (0.3, 1.0), "k": (0.2, 1.0), "g": (0.2, 1.0), "h": (0.4, 1.0),
    "j": (0.25, 1.1),
}  # fmt: skip


class _Named(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Named),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library, loaded anew for each sentence: what it keeps of earlier ones would change the samples.

    Raises OSError where it cannot be used.
    """

    def __init__(self) -> None:
        self._path, self._data = _found()
        self._close = ctypes.CDLL(None).dlclose
        self._close.argtypes = [ctypes.c_void_p]
        self._callback = _Callback(self._take)
        self._lock = threading.Lock()
        self._sound: list[Floats] = []
        self._heard: list[tuple[float, str]] = []
        library, _ = self._open()
        library.espeak_Info.restype = ctypes.c_char_p
        self.version = str(library.espeak_Info(None).decode().split()[0])
        self._close(library._handle)

    def say(self, text: str, variant: str, pace: float, pitch: int) -> tuple[Floats, list[tuple[float, str]]]:
        """Return the sound at 16 000 Hz, and each phoneme's start in seconds with its name."""
        with self._lock:
            self._sound, self._heard = [], []
            library, rate_hz = self._open()
            library.espeak_SetSynthCallback(self._callback)
            library.espeak_SetVoiceByName(f"en+{variant}".encode())
            for what, value in ((_RATE, round(165 * pace)), (_PITCH, pitch), (_RANGE, 55)):
                library.espeak_SetParameter(what, value, 0)
            raw = text.encode() + b"\0"
            library.espeak_Synth(raw, ctypes.c_size_t(len(raw)), 0, 1, 0, _UTF8, None, None)
            library.espeak_Terminate()
            self._close(library._handle)
            sound = np.concatenate(self._sound) if self._sound else np.zeros(0)
            return _resampled(sound, rate_hz), self._heard

    def _open(self) -> tuple[ctypes.CDLL, int]:
        library = ctypes.CDLL(self._path)
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 200, self._data, _PHONEME_EVENTS | _DONT_EXIT)
        if rate_hz <= 0:
            raise OSError("espeak-ng has no data")
        return library, int(rate_hz)

    def _take(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._sound.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float64) / 32768)
        place = 0
        while events[place].type != _EVENT_END:
            event = events[place]
            if event.type == _EVENT_PHONEME:
                self._heard.append((event.audio_position / 1000, event.id.string.decode("utf-8", "ignore")))
            place += 1
        return 0


@functools.cache
def espeak() -> Espeak | None:
    """Return the library, or None where it is not installed or cannot be used."""
    try:
        return Espeak()
    except (OSError, AttributeError, TypeError):
        return None


@dataclass(frozen=True)
class EnglishVoice:
    """What makes one speaker's voice: a variant of espeak-ng's English, pace (as a factor), pitch in its own units."""

    variant: str
    pace: float
    pitch: int

    @staticmethod
    def of(random: np.random.Generator) -> EnglishVoice:
        """Draw a voice."""
        variant = _VARIANTS[int(random.integers(len(_VARIANTS)))]
        return EnglishVoice(variant, float(random.uniform(0.9, 1.2)), int(random.integers(20, 91)))


def speak_english(library: Espeak, voice: EnglishVoice, frames: int, random: np.random.Generator) -> Speech:
    """Say as many sentences as there is time for, and silence at the end; see `gansweep.data.voice.speak`."""
    count = frames * SAMPLES
    audio, at = np.zeros(count), int(random.uniform(0.08, 0.25) * RATE_HZ)
    words: list[str] = []
    starts, targets = [0.0], [_REST]
    while True:
        sentence = [str(random.choice(choices)) for choices in _GRAMMAR]
        pause = int(random.uniform(0.1, 0.3) * RATE_HZ)
        sound, heard = library.say(" ".join(sentence), voice.variant, voice.pace, voice.pitch)
        while sentence and at + len(sound) > count - TAIL_S * RATE_HZ and not words:
            sentence.pop()  # the first one is cut to what there is time for
            sound, heard = library.say(" ".join(sentence), voice.variant, voice.pace, voice.pitch)
        if not sentence or at + len(sound) > count - TAIL_S * RATE_HZ:
            break
        audio[at : at + len(sound)] += sound
        starts += [at / RATE_HZ + start for start, _ in heard]
        targets += [lips_of(name) for _, name in heard]
        at += len(sound)
        starts.append(at / RATE_HZ)
        targets.append(_REST)
        words += sentence
        at += pause
    audio *= PEAK / max(float(np.abs(audio).max()), 1e-9)
    audio += FLOOR * random.standard_normal(count)
    return Speech(
        audio.reshape(frames, SAMPLES).astype(np.float32), smooth_lips(starts, np.array(targets), frames), tuple(words)
    )


def lips_of(name: str) -> tuple[float, float]:
    """Return open and wide for a phoneme's name as espeak-ng writes it; at rest for pauses and what is not known."""
    name = name.lstrip("',%=_|")  # marks of stress and joints
    for length in range(len(name), 0, -1):
        if name[:length] in _LIPS:
            return _LIPS[name[:length]]
    return _REST


def _found() -> tuple[str, bytes | None]:
    """Return the library's path and its data's: the system's, or those of the package espeakng-loader."""
    path = ctypes.util.find_library("espeak-ng")
    if path:
        return path, None
    try:
        loader = importlib.import_module("espeakng_loader")
    except ImportError:
        raise OSError("espeak-ng is not installed") from None
    return str(loader.get_library_path()), str(loader.get_data_path()).encode()


def _resampled(sound: Floats, rate_hz: int) -> Floats:
    """Return a sound at 16 000 Hz, by its spectrum."""
    if not len(sound):
        return sound
    count = round(len(sound) * RATE_HZ / rate_hz)
    spectrum = np.fft.rfft(sound)
    kept = np.zeros(count // 2 + 1, dtype=np.complex128)
    kept[: min(len(kept), len(spectrum))] = spectrum[: len(kept)]
    return np.fft.irfft(kept, count) * count / len(sound)

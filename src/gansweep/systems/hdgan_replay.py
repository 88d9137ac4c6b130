"""A replay buffer of fakes in a system's memory: part of each batch of fakes that D sees comes from earlier turns.

The HDGAN journal's idea: keep the 500 fakes that D scored lowest, with their sentences, and show half a batch of them
in each of D's turns, so that the generator cannot come back to what D has already learnt to see through. Pictures are
kept as bytes, as real ones are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gansweep.nets.blocks import ConfigError
from gansweep.nets.given import Check, one_of, table
from gansweep.system import Look, Spec, Term, View

POLICIES = ("lowest", "random", "fifo")


def _share(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigError(f"{key}={value}: must be a number between 0 and 1, both excluded")


def _capacity(key: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(f"{key}={value}: must be a whole number, 0 (no buffer) or more")


REPLAY: Check = table(capacity=_capacity, fraction=_share, policy=one_of(POLICIES))
"""What `model.replay` may hold."""


class Shown(NamedTuple):
    """The fakes that D sees: pictures of each size and their sentences.

    With a buffer, `slots` (k,) are the places that the last k samples were taken from, and `replayed` (k,) says which
    of those were filled; the samples of the others are fresh after all.
    """

    pictures: tuple[Tensor, ...]
    sentence: Tensor
    slots: Tensor | None = None
    replayed: Tensor | None = None


class Change(NamedTuple):
    """What a turn puts into the buffer: sample `rows` into `slots` where `taken`; `key` is every place's new key."""

    rows: Tensor
    slots: Tensor
    taken: Tensor
    key: Tensor


class Replay:
    """The buffer's memory, noise, views and keeps for the phase of a discriminator whose verdicts are `fake_S`.

    The score is the mean over all sizes, also over one whose terms are all removed: D then looks at it for that alone.
    Each place has a key, and the largest go first; +inf is an empty place. `lowest`: the key is D's pair score,
    renewed whenever a sample is shown; a fresh fake comes in when it scored less than what it puts out.
    `fifo`: its age in turns. `random`: drawn anew each turn; every fresh fake comes in. Of several processes each has a
    buffer of its own; a checkpoint holds the first one's.
    """

    def __init__(self, given: Mapping[str, Any], sizes_px: Sequence[int], channels: int, embedding: int):
        self.capacity, self.fraction, self.policy = given["capacity"], given["fraction"], given["policy"]
        self.sizes_px = tuple(sizes_px)
        self.memory: dict[str, Tensor] = {"replay_key": torch.full((self.capacity,), torch.inf)}
        self.memory["replay_embedding"] = torch.zeros(self.capacity, embedding)
        for size in sizes_px:
            empty = torch.zeros(self.capacity, channels, size, size, dtype=torch.uint8)
            self.memory[f"replay_image_{size}"] = empty
        places = Spec((self.capacity,), "uniform", batched=False)
        self.noise = {"replay_pick": places} | ({"replay_drop": places} if self.policy == "random" else {})

    def mix(self, pictures: tuple[Tensor, ...], sentence: Tensor, x: Look) -> Shown:
        """Return the fresh fakes (B), the last of them, `fraction` of the batch, replaced by samples of the buffer.

        Those are drawn without replacement from the filled places; a fresh fake stays where there are too few.
        """
        fresh = len(sentence) - min(int(len(sentence) * self.fraction), self.capacity)
        empty = x.memory["replay_key"].isinf()
        order = torch.argsort(x.noise["replay_pick"] + 2.0 * empty, stable=True)  # filled places first, in random order
        slots = order[: len(sentence) - fresh]
        replayed = ~empty[slots]

        def mixed(new: Tensor, stored: Tensor) -> Tensor:
            old = stored[slots]
            old = old.to(new.dtype) / 127.5 - 1.0 if old.dtype == torch.uint8 else old.to(new.dtype)
            which = replayed.view(-1, *(1,) * (new.dim() - 1))
            return torch.cat([new[:fresh], torch.where(which, old, new[fresh:])])

        kept = [x.memory[f"replay_image_{size}"] for size in self.sizes_px]
        shown = tuple(mixed(new, stored) for new, stored in zip(pictures, kept, strict=True))
        return Shown(shown, mixed(sentence, x.memory["replay_embedding"]), slots, replayed)

    def _change(self, nets: Any, x: Look) -> Change:
        """Return what this turn changes, from the keys as they were before it."""
        shown: Shown = x["shown"]
        assert shown.slots is not None and shown.replayed is not None
        key, fresh = x.memory["replay_key"], len(shown.sentence) - len(shown.slots)
        score = torch.stack([x[f"fake_{size}"][0].detach().flatten() for size in self.sizes_px]).mean(0).to(key.dtype)
        if self.policy == "lowest":
            renewed = torch.where(shown.replayed, score[fresh:], key[shown.slots])
            key, new = key.index_copy(0, shown.slots, renewed), score
        elif self.policy == "fifo":
            key, new = key + 1.0, torch.zeros_like(score)
        else:
            key, new = (
                torch.where(key.isinf(), key, x.noise["replay_drop"].to(key.dtype)),
                torch.zeros_like(score) - 1.0,
            )
        # What came out of the buffer does not go in again.
        new = torch.cat([new[:fresh], torch.where(shown.replayed, torch.inf, new[fresh:])])
        rows = torch.argsort(new, stable=True)[: self.capacity]
        slots = torch.argsort(key, descending=True, stable=True)[: len(rows)]
        taken = new[rows] < key[slots]
        return Change(rows, slots, taken, key.index_copy(0, slots, torch.where(taken, new[rows], key[slots])))

    @property
    def views(self) -> dict[str, View]:
        """The view `replay_change`; taken once, by the first of the keeps, before any memory is written."""
        return {"replay_change": self._change}

    @property
    def keeps(self) -> dict[str, View]:
        """The new values of every memory."""

        def key(nets: Any, x: Look) -> Tensor:
            return x["replay_change"].key

        def samples(stored: Tensor, new: Tensor, change: Change) -> Tensor:
            new = new.detach()[change.rows]
            if stored.dtype == torch.uint8:
                new = ((new + 1.0) * 127.5).round().clamp(0.0, 255.0)
            which = change.taken.view(-1, *(1,) * (new.dim() - 1))
            return stored.index_copy(0, change.slots, torch.where(which, new.to(stored.dtype), stored[change.slots]))

        def pictures(n: int, size: int) -> View:
            name = f"replay_image_{size}"
            return lambda nets, x: samples(x.memory[name], x["shown"].pictures[n], x["replay_change"])

        def sentence(nets: Any, x: Look) -> Tensor:
            return samples(x.memory["replay_embedding"], x["shown"].sentence, x["replay_change"])

        images = {f"replay_image_{size}": pictures(n, size) for n, size in enumerate(self.sizes_px)}
        return {"replay_key": key, "replay_embedding": sentence, **images}

    def reports(self) -> dict[str, Term]:
        """Return `replay_filled`, the share of filled places, and the mean pair scores of what was fresh and what not.

        Of the largest size: `score_fresh`, and `score_replayed`, which is 0 while nothing is replayed.
        """

        def filled(key: Tensor) -> Tensor:
            return 1.0 - key.isinf().to(key.dtype).mean()

        def replayed(shown: Shown, made: tuple[Tensor, Any]) -> Tensor:
            assert shown.slots is not None and shown.replayed is not None
            scores = made[0].flatten()[len(made[0]) - len(shown.slots) :]
            which = shown.replayed.to(scores.dtype)
            return (scores * which).sum() / which.sum().clamp(min=1.0)

        def fresh(shown: Shown, made: tuple[Tensor, Any]) -> Tensor:
            assert shown.slots is not None
            return made[0][: len(made[0]) - len(shown.slots)].mean()

        reads = ("shown", f"fake_{self.sizes_px[-1]}")
        return {
            "replay_filled": Term(filled, ("memory.replay_key",)),
            "score_fresh": Term(fresh, reads),
            "score_replayed": Term(replayed, reads),
        }

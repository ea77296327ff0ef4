"""Choosing tokens from logits that need not be a session's."""
from __future__ import annotations

import ctypes
import json
from typing import Any, Sequence

from . import _abi
from ._lib import Handle, InvalidArgumentError, check, encode, lib
from ._qtensor import Floats
from ._runtime import Tokenizer, id_array, named_settings, setting_text


def sampler_settings() -> list[dict]:
    """Every setting of a Sampler, with type, bounds, default and help."""
    return json.loads(lib.nbl_sampler_settings_json().decode("utf-8"))


class Sampler(Handle):
    """Chooses tokens as Session.generate does, for loops of your own and for engines that have their own logits.

        sampler = nibble.Sampler(model.vocab_size, model.tokenizer, temperature=0.8, top_p=0.95)
        sampler.reset(prompt)
        token = sampler.sample(logits)      # None when a grammar's text is complete

    settings: see nibble.sampler_settings(). Logits are float32: numpy arrays, torch tensors, memoryviews, sequences."""

    _destroy = "nbl_sampler_destroy"

    def __init__(self, vocab_size: int, tokenizer: Tokenizer | None = None, **settings: Any):
        self.vocab_size = vocab_size
        out = ctypes.POINTER(_abi.nbl_sampler)()
        check(lib.nbl_sampler_create(vocab_size, None if tokenizer is None else tokenizer.handle, ctypes.byref(out)))
        super().__init__(out)
        for name, value in settings.items():
            self.set(name, value)

    def clone(self) -> Sampler:
        """Another one that stands where this one stands."""
        out = ctypes.POINTER(_abi.nbl_sampler)()
        check(lib.nbl_sampler_clone(self.handle, ctypes.byref(out)))
        copy = Sampler.__new__(Sampler)
        copy.vocab_size = self.vocab_size
        Handle.__init__(copy, out)
        return copy

    def set(self, name: str | None = None, value: Any = None, /, **settings: Any) -> None:
        """Settings, set("top_k", 5) or set(top_k=5); None takes one back to its default. Another grammar begins at the next token."""
        for key, given in named_settings(name, value, settings):
            check(lib.nbl_sampler_set(self.handle, encode(key), encode(setting_text(given))))

    def reset(self, prompt: Sequence[int] = ()) -> None:
        """Begins a text: `prompt` comes before the first choice, for the penalties."""
        pointer, count = id_array(prompt)
        check(lib.nbl_sampler_reset(self.handle, pointer, count))

    def _next(self, function: Any, logits: Any) -> int | None:
        row = Floats(logits, "logits")
        if row.count != self.vocab_size or (len(row.shape) > 1 and row.shape[-1] != self.vocab_size):
            raise InvalidArgumentError(f"logits of shape {list(row.shape)}; one row of {self.vocab_size} was expected")
        out = ctypes.c_int32()
        check(function(self.handle, row.pointer, ctypes.byref(out)))
        return None if out.value < 0 else out.value

    def choose(self, logits: Any) -> int | None:
        """The next token; the sampler does not move. None when a grammar's text is complete."""
        return self._next(lib.nbl_sampler_choose, logits)

    def accept(self, token: int) -> None:
        """`token` is now part of the text, whoever chose it."""
        check(lib.nbl_sampler_accept(self.handle, token))

    def sample(self, logits: Any) -> int | None:
        """choose() and accept() in one."""
        return self._next(lib.nbl_sampler_sample, logits)

    @property
    def ended(self) -> bool:
        """Whether the token accepted last ends a text."""
        return bool(lib.nbl_sampler_ended(self.handle))

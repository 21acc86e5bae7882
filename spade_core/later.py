"""A value that is made when somebody first asks for it: what only alerts need is not computed for every frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class Later(Generic[T]):
    """Call it for the value. One that fails to be made raises each time, and is tried again. For one thread.

    Args:
        make: called once at most where it succeeds; it and what it holds on to are let go of then.
    """

    __slots__ = ("_make", "_value")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._value: T | None = None

    @classmethod
    def known(cls, value: T) -> Later[T]:
        """A value that is there already."""
        later = cls(lambda: value)
        later()
        return later

    @property
    def made(self) -> bool:
        """Asking costs nothing any more."""
        return self._make is None

    def __call__(self) -> T:
        """The value."""
        if self._make is not None:
            self._value, self._make = self._make(), None
        return cast(T, self._value)

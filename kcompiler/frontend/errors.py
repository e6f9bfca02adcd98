"""What importers raise besides the errors that users see."""

from __future__ import annotations


class NotExpressible(Exception):
    """A node that cannot be said in graph operators; the text is the reason that the user reads."""


class NotKnown(NotExpressible):
    """A node that could be said in graph operators if `value` were known when compiling."""

    def __init__(self, reason: str, value: object) -> None:
        super().__init__(reason)
        self.value = value

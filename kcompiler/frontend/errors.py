"""What importers raise besides the errors that users see."""

from __future__ import annotations


class NotExpressible(Exception):
    """A node that cannot be said in graph operators; the text is the reason that the user reads."""

"""Results where the output cannot hold every character: Windows' code pages, latin-1 locales, plain ASCII."""

from __future__ import annotations

import codecs
import sys
import unicodedata

PLAIN = {
    "±": "+/-", "×": "x", "–": "-", "—": "-", "…": "...", "→": "->", "·": "*", "≤": "<=", "≥": ">=", "°": " degrees",
    "τ": "tau", "α": "alpha", "λ": "lambda", "ε": "epsilon", "σ": "sigma", "μ": "mu", "“": '"', "”": '"', "’": "'",
    "‘": "'", "─": "-", "━": "-", "│": "|", "╺": "-", "╸": "-", "²": "^2",
}  # fmt: skip
NAME = "unlabeled.plain"


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write what an encoding lacks with the characters it has; names that it cannot hold as Python escapes them.

    >>> codecs.register_error(NAME, plain)
    >>> "86.5 ± 1.5, 🎈".encode("ascii", NAME)
    b'86.5 +/- 1.5, \\\\U0001f388'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    out = ""
    for character in error.object[error.start : error.end]:
        simple = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        out += PLAIN.get(character) or simple or character.encode("ascii", "backslashreplace").decode()
    return out, error.end


def settle_encoding() -> None:
    """Let standard output and error write every text, whatever their encoding."""
    codecs.register_error(NAME, plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # none where a test or a notebook put its own stream in place
            reconfigure(errors=NAME)

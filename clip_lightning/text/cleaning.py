"""How a caption is made plain before it is split into tokens."""

import html

import ftfy


def clean(text: str) -> str:
    """Repairs encoding accidents, resolves HTML entities, collapses white space and lower-cases.

    Args:
        text: Any string; half a surrogate pair becomes U+FFFD.

    Source: the cleaning of OpenAI's CLIP tokeniser, which its released weights were trained with.
    """
    # ftfy costs more than all the rest and cannot change plain text: entities need "&", repairs need other characters.
    if not (text.isascii() and text.isprintable() and "&" not in text):
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()

"""Names of metrics, parameters and tags that MLflow accepts; different names stay different.

MLflow takes word characters, spaces and ``. - / :``, and refuses what is no plain relative path. The colon is refused
on Windows and has long been stripped by loggers, so it is replaced as well. A replaced character becomes ``--HEX-``,
its code point: ``R@1`` is ``R--40-1``, ``a:b`` is ``a--3a-b``. A name beyond 250 characters ends in a digest.
"""

import hashlib
import re

# Source: mlflow/utils/validation.py of MLflow 3.17, MAX_ENTITY_KEY_LENGTH.
MAX_LENGTH = 250
# A hyphen is replaced where it could be read as the begin of a replacement.
_REPLACED = re.compile(r"[^\w./ -]|-(?=[^\w./ ])")
# No text contains this character; its replacement stands for an empty path component.
_NOTHING = "\0"


def mlflow_name(name: str) -> str:
    """Makes a name that MLflow accepts.

    Args:
        name: Any text.

    Returns:
        The same text where MLflow accepts it, at most 250 characters.
    """
    components = [_escape_component(component) for component in name.split("/")]
    accepted = "/".join(components)
    if accepted.startswith(".."):
        accepted = _escape(".") + accepted[1:]
    if len(accepted) <= MAX_LENGTH:
        return accepted
    digest = "--" + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    return accepted[: MAX_LENGTH - len(digest)].rstrip("/") + digest


def _escape_component(component: str) -> str:
    if component == "":
        return _escape(_NOTHING)
    if component in (".", ".."):
        return _escape(component[0]) * len(component)
    return _REPLACED.sub(lambda match: _escape(match[0]), component)


def _escape(character: str) -> str:
    return f"--{ord(character):x}-"

"""The members of a plain tar file, found by walking from header to header, which is also the check that it is whole."""

import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

BLOCK = 512
CHUNK = 2**20

_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
# Headers that say more of the next member, or of all that follow.
_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_OTHERS = {
    tarfile.LNKTYPE: "a hard link; write the tar with --hard-dereference",
    tarfile.SYMTYPE: "a symbolic link; write the tar with --dereference",
    tarfile.GNUTYPE_SPARSE: "a sparse file; write the tar without --sparse",
}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_WRITE_AGAIN = "copy or write the shard again"


class Member(NamedTuple):
    """A regular file in a tar.

    Args:
        name: Its path.
        place: Path of the tar and the byte at which the member's headers begin, for messages.
        offset: Byte at which its content begins.
        size: Bytes of its content.
    """

    name: str
    place: str
    offset: int
    size: int


def members(file: int, path: Path) -> Iterator[Member]:
    """Walks through a tar of any of the usual formats: ustar, PAX, GNU and the oldest; folders are left out.

    Each header is parsed by Python's ``tarfile``, but the steps between them are taken here: ``tarfile`` takes a header
    that it cannot read, or the end of the file, for the end of the tar, and says nothing of the members behind it.

    Args:
        file: Descriptor of the open tar; its position is neither used nor moved.
        path: Path of the tar, for messages.

    Raises:
        ValueError: If the tar is cut off, compressed or damaged, does not end with two blocks of zeros and nothing
            behind, or has members that are no regular files, with the byte.
    """
    end = os.fstat(file).st_size
    if not end:
        raise ValueError(f"{path} is empty (0 bytes); {_WRITE_AGAIN}")
    common: dict[str, str] = {}
    own: dict[str, str] = {}
    at = start = 0
    while (header := _header(file, at, path)) is not None:
        place = f"{path}, byte {start}"
        is_extension = header.type in _EXTENSIONS
        size = _size(header, {} if is_extension else {**common, **own}, place)
        first = at + BLOCK
        if first + size > end:
            raise ValueError(
                f"{place}: {header.name!r} should hold {size:,} bytes, but the file ends at byte {end}: it is cut off; "
                + _WRITE_AGAIN
            )
        at = first + -(-size // BLOCK) * BLOCK
        if is_extension:
            said = _extension(header, os.pread(file, size, first), place)
            (common if header.type == tarfile.XGLTYPE else own).update(said)
            continue
        if header.type in _REGULAR:
            yield Member({**common, **own}.get("path", header.name), place, first, size)
        elif header.type != tarfile.DIRTYPE:
            kind = _OTHERS.get(header.type, f"of type {header.type!r}, no regular file; write the tar without it")
            raise ValueError(f"{place}: {header.name!r} is {kind}")
        own, start = {}, at
    if start != at:
        raise ValueError(f"{path}, byte {start}: an extended header has no member behind it; {_WRITE_AGAIN}")
    _check_end(file, at, end, path)


def _header(file: int, at: int, path: Path) -> tarfile.TarInfo | None:
    """The header at a byte, or None if there is a block of zeros."""
    block = os.pread(file, BLOCK, at)
    if block == bytes(BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        reason = error
    if kind := next((kind for magic, kind in _COMPRESSED.items() if at == 0 and block.startswith(magic)), None):
        raise ValueError(f"{path} is compressed by {kind}; shards are plain tars, so decompress it")
    if len(block) < BLOCK:
        raise ValueError(
            f"{path}, byte {at}: the file ends without the two blocks of zeros that end a tar: it is cut off, and how "
            f"many samples it lacks cannot be known; {_WRITE_AGAIN}"
        )
    raise ValueError(
        f"{path}, byte {at}: here should be a header of the tar, but it is damaged ({reason}); {_WRITE_AGAIN}"
    )


def _size(header: tarfile.TarInfo, extended: Mapping[str, str], place: str) -> int:
    """Bytes behind a header, which an extended header may state where its own field is too short."""
    if any(key.startswith("GNU.sparse.") for key in extended):
        raise ValueError(f"{place}: {header.name!r} is {_OTHERS[tarfile.GNUTYPE_SPARSE]}")
    if header.type == tarfile.DIRTYPE:
        return 0
    size = extended.get("size", str(header.size))
    if not size.isdecimal() or len(size) > 20:
        raise ValueError(f"{place}: {header.name!r} is of size {size}; {_WRITE_AGAIN}")
    return int(size)


def _extension(header: tarfile.TarInfo, content: bytes, place: str) -> dict[str, str]:
    """What an extending header says of the next member, in the words of PAX."""
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": _text(content.partition(b"\0")[0])}
    return {} if header.type == tarfile.GNUTYPE_LONGLINK else _records(content, place)


def _records(content: bytes, place: str) -> dict[str, str]:
    """What an extended (PAX) header says: records of ``<length> <key>=<value>`` and a line break."""
    found = {}
    at = 0
    while at < len(content):
        length, space, _ = content[at : at + 20].partition(b" ")
        stop = at + int(length) if length.isdigit() else at
        key, equals, value = content[at + len(length) + 1 : stop].partition(b"=")
        if not (space and equals and value.endswith(b"\n") and stop <= len(content)):
            raise ValueError(f"{place}: an extended header is damaged; {_WRITE_AGAIN}")
        found[_text(key)] = _text(value[:-1])
        at = stop
    return found


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _check_end(file: int, at: int, end: int, path: Path) -> None:
    """Makes sure that nothing but zeros follows, and two blocks of them at least."""
    for position in range(at, end, CHUNK):
        rest = os.pread(file, CHUNK, position)
        if there := rest.lstrip(b"\0"):
            raise ValueError(
                f"{path}, byte {position + len(rest) - len(there)}: there are data behind the end of the tar at byte "
                f"{at}, so it was damaged there, or several tars were joined; {_WRITE_AGAIN}"
            )
    if end - at < 2 * BLOCK:
        raise ValueError(f"{path}, byte {at}: the file ends within the end marker: it is cut off; {_WRITE_AGAIN}")

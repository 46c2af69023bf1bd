"""Tar files for tests, good and bad."""

import io
import itertools
import os
import tarfile

import numpy as np
import webdataset
from PIL import Image

BLOCK = 512


def png(number, side=6):
    """An image file of a grey that says which it is."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sample(number, key=None):
    """The members of a sample."""
    key = f"{number:04d}" if key is None else key
    return [(f"{key}.png", png(number)), (f"{key}.txt", f"caption {number}".encode())]


def samples(*numbers):
    """The members of samples in a row."""
    return [member for number in numbers for member in sample(number)]


def write_tar(path, members, tar_format=tarfile.PAX_FORMAT, **arguments):
    """A tar of members as (name, content) or as a TarInfo without content."""
    with tarfile.open(path, "w", format=tar_format, **arguments) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def entry(name, kind, **attributes):
    """A member that is no regular file."""
    info = tarfile.TarInfo(name)
    info.type = kind
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


def change(path, at, content):
    """Overwrites bytes of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def write_shards(folder, sizes):
    """Shards by webdataset's own writer, numbered through."""
    number = itertools.count()
    for shard, size in enumerate(sizes):
        with webdataset.TarWriter(str(folder / f"train-{shard:04d}.tar")) as writer:
            for index in itertools.islice(number, size):
                row = {"caption": [f"first {index}", f"second {index}"], "title": f"title {index}"}
                writer.write({"__key__": f"{index:06d}", "png": png(index), "txt": f"caption {index}", "json": row})
    return folder


def keep_time(path, alter):
    """Alters a file in a way that its status does not show."""
    status = path.stat()
    alter(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

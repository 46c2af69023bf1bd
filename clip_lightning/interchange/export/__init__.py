"""Models written for other libraries: a folder that the library reads offline, by its own documented call."""

from clip_lightning.interchange.export.folder import TARGETS, export

__all__ = ["TARGETS", "export"]

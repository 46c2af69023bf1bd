"""Models of the Hugging Face hub by their names."""

from pathlib import Path

from clip_lightning.interchange import hugging_face, open_clip
from clip_lightning.interchange.weight_files import INDEX, shards
from clip_lightning.offline import offline_if_unreachable
from clip_lightning.refusal import first_line

PREFIX = "hf-hub:"
_FILES = {open_clip.CONFIG: open_clip.WEIGHT_FILES, hugging_face.CONFIG: hugging_face.WEIGHT_FILES}


def download(name: str) -> Path:
    """Brings a model of the hub onto this machine, if it is not there yet: its configuration and its weights.

    Args:
        name: ``hf-hub:OWNER/NAME``, of a repository with ``open_clip_config.json`` or transformers' ``config.json``.

    Returns:
        The folder.

    Raises:
        ValueError: If there is no such model, or it is not here and the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository = name.removeprefix(PREFIX)
    try:
        with offline_if_unreachable() as reason:
            for config, weights in _FILES.items():
                found = _first_of(repository, (config,))
                if found is None:
                    continue
                if config == hugging_face.CONFIG:
                    for name_of_file in (hugging_face.PREPROCESSOR, hugging_face.PROCESSOR):
                        _first_of(repository, (name_of_file,))
                if (file := _first_of(repository, weights)) is not None:
                    for shard in shards(file) if file.name.endswith(INDEX) else ():
                        hf_hub_download(repository, shard)
                    return found.parent
    except LocalEntryNotFoundError:
        pass
    except (HfHubHTTPError, HFValidationError, EntryNotFoundError) as error:
        raise ValueError(f"{name!r} cannot be had from the hub: {first_line(error)}") from None
    raise ValueError(
        f"{name!r} is not among the models on this machine, and could not be fetched: "
        f"{reason or 'the hub has no such files'}; download it where there is a network, and give the folder's path"
    )


def _first_of(repository: str, names: tuple[str, ...]) -> Path | None:
    """The first file of a repository that there is."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        try:
            return Path(hf_hub_download(repository, name))
        except EntryNotFoundError:  # Offline, each file that is not here is one of these too.
            continue
    return None

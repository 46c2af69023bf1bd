"""Each tower as a graph that runs without this package: ONNX, and PyTorch's exported programs."""

import copy
import warnings
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip_lightning.interchange.export.hugging_face import write_image_processor
from clip_lightning.interchange.export.tokenizer_files import write_tokenizer
from clip_lightning.interchange.parts import Parts
from clip_lightning.models import CLIP
from clip_lightning.refusal import first_line
from clip_lightning.text import text_lengths

_OPSET = 20
"""Of the ONNX operators: the first one with GELU in one."""


class ImageTower(nn.Module):
    """The image tower with its projection: normalised pixels to features.

    Args:
        model: The model.
    """

    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Image features, not of unit length."""
        return self.model.encode_image(image)


class TextTower(nn.Module):
    """The text tower with its projection: token ids to features.

    Args:
        model: The model.
        eos_id: Id that ends a text.
    """

    def __init__(self, model: CLIP, eos_id: int) -> None:
        super().__init__()
        self.model = model
        self.eos_id = eos_id

    def forward(self, text: Int[Tensor, "batch context_length"]) -> Float[Tensor, "batch embed_dim"]:
        """Text features, not of unit length."""
        return self.model.encode_text(text, text_lengths(text, self.eos_id))


def write_onnx(parts: Parts, folder: Path) -> None:
    """Writes ``image_encoder.onnx`` and ``text_encoder.onnx``, each with its weights and for any batch.

    Args:
        parts: The model.
        folder: Where the files go; it exists.

    Raises:
        ValueError: If a package for ONNX is missing, or a tower does what ONNX has no operator for.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"ONNX needs the package {error.name}: pip install 'clip-lightning[onnx]'") from None
    for name, program in _programs(parts).items():
        source, result = ("image", "image_features") if name == "image_encoder" else ("text", "text_features")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                graph = torch.onnx.export(
                    program,
                    input_names=[source],
                    output_names=[result],
                    opset_version=_OPSET,
                    dynamo=True,
                    verbose=False,
                )
            except torch.onnx.errors.OnnxExporterError as error:
                raise ValueError(f"{name} cannot be written as ONNX: {first_line(error)}") from None
        assert graph is not None
        graph.save(folder / f"{name}.onnx")
    _write_inputs(parts, folder)


def write_torch_export(parts: Parts, folder: Path) -> None:
    """Writes ``image_encoder.pt2`` and ``text_encoder.pt2``, which ``torch.export.load`` takes, for any batch.

    Args:
        parts: The model.
        folder: Where the files go; it exists.
    """
    for name, program in _programs(parts).items():
        torch.export.save(program, folder / f"{name}.pt2")
    _write_inputs(parts, folder)


def _programs(parts: Parts) -> dict[str, torch.export.ExportedProgram]:
    """Each tower there is as a graph for any batch, by the name of its file.

    Raises:
        ValueError: If a tower decides by the values of its input, or has one batch size alone.
    """
    model, size = parts.model, parts.model.pixels.size
    # Examples are of two, since a batch of one would be taken for a special case.
    image = ImageTower(_without(model, "text"))
    towers: dict[str, tuple[nn.Module, Tensor]] = {"image_encoder": (image, torch.zeros(2, 3, size, size))}
    if model.text_encoder is not None:
        text = TextTower(_without(model, "image"), parts.tokenizer.eos_id)
        towers["text_encoder"] = (text, parts.tokenizer(["a", "b c"]))
    return {name: _program(name, tower.eval(), example) for name, (tower, example) in towers.items()}


def _without(model: CLIP, tower: str) -> CLIP:
    """The model without one tower: a graph is stored with all weights of what it was made of, used or not.

    Args:
        model: Left as it is.
        tower: "image" or "text".
    """
    rest = copy.copy(model)
    rest._modules = {name: part for name, part in model._modules.items() if not name.startswith(f"{tower}_")}
    return rest


def _program(name: str, tower: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """One tower as a graph.

    Raises:
        ValueError: If it is none.
    """
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        # Strict, because without it the length of a tensor is taken for a constant.
        with torch.no_grad():
            return torch.export.export(tower, (example,), dynamic_shapes=shapes, strict=True)
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
        raise ValueError(f"{name} cannot be exported as a graph: {first_line(error)}") from None


def _write_inputs(parts: Parts, folder: Path) -> None:
    write_image_processor(parts.model.pixels, folder)
    write_tokenizer(parts.tokenizer, folder)

"""The model card of an export: what a user of the weights must know, filled from the run that made them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clip_lightning.interchange.parts import Parts
from clip_lightning.models.recognition import describe
from clip_lightning.results import Result


class RunFacts(NamedTuple):
    """What is known of the run beside its checkpoint.

    Args:
        results: Measured figures.
        note: Of which weights they are, where that is not obvious; empty otherwise.
        origin: Lines that say where and how the run was started.
    """

    results: Sequence[Result] = ()
    note: str = ""
    origin: Sequence[str] = ()


_LIBRARIES = {"open_clip": "open_clip", "transformers": "transformers", "onnx": "onnx"}

_CALLS = {
    "open_clip": """import open_clip
model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")""",
    "transformers": """from transformers import CLIPModel, CLIPProcessor
model = CLIPModel.from_pretrained("FOLDER")
processor = CLIPProcessor.from_pretrained("FOLDER")""",
    "safetensors": """import clip_lightning
model, tokenizer, transform, scorer, card = clip_lightning.load("FOLDER")""",
    "onnx": """import onnxruntime, tokenizers
image_encoder = onnxruntime.InferenceSession("FOLDER/image_encoder.onnx")  # image: float32, normalised
text_encoder = onnxruntime.InferenceSession("FOLDER/text_encoder.onnx")  # text: int64
tokenizer = tokenizers.Tokenizer.from_file("FOLDER/tokenizer.json")""",
    "torch_export": """import tokenizers, torch
image_encoder = torch.export.load("FOLDER/image_encoder.pt2").module()  # float32, normalised
text_encoder = torch.export.load("FOLDER/text_encoder.pt2").module()  # int64
tokenizer = tokenizers.Tokenizer.from_file("FOLDER/tokenizer.json")""",
}

_USE = """## Intended use

Research on how images and texts can be compared: zero-shot classification, retrieval and features for other models.
Before any other use, the model must be tested on the images, the classes and the words of that use, because what it
gives depends strongly on how classes are chosen and worded.

Out of scope, whatever the figures:

- surveillance and the recognition or identification of persons;
- deployment without a test in its own field, and decisions about people.

## Limits

They are those that Radford et al. 2021 (arXiv 2103.00020, sections 6 and 7) found of their CLIP models, which were
trained on far more data. Except for the figures above, nothing of this was measured for this model.

- **Fairness.** Models of this kind learn the social biases of pairs from the internet. The authors found photographs of
  people misclassified into crime-related and non-human classes at rates that differ by race, gender and age, and that
  the choice of classes changes these rates (section 7.1).
- **Surveillance.** They make it possible to search and classify images of people without training data (section 7.2).
- **Counting** objects, fine-grained classes such as models of cars, and abstract tasks are weak; pictures unlike the
  training data are recognised poorly (section 6).
- **Languages.** Texts in another language than that of the captions, for the paper's models all but English, are not
  understood reliably.
"""

_TOKENIZER_NOTE = """
`tokenizer.json` leaves out one step of the training: the repair of encoding accidents and of HTML entities (`ftfy`).
"""


def model_card(parts: Parts, target: str, facts: RunFacts) -> str:
    """The card in Markdown, with the head that model hubs read.

    Args:
        parts: The model.
        target: For which library it is.
        facts: What is known of the run.
    """
    library = _LIBRARIES.get(target)
    head = ["---", *([f"library_name: {library}"] if library else []), "tags:", "- clip", "---"]
    sections = [*head, "", f"# {_name(parts)}", "", _model_lines(parts), _use(parts, target)]
    sections += [_data(parts.card, facts), _results(facts), _USE]
    return "\n".join(sections)


def _name(parts: Parts) -> str:
    config = parts.card.get("config") or {}
    return str(config.get("name") or "CLIP")


def _model_lines(parts: Parts) -> str:
    """What the model is."""
    model, pixels = parts.model, parts.model.pixels
    number = sum(parameter.numel() for parameter in model.parameters())
    has_text = model.text_encoder is not None
    texts = f"; texts of up to {parts.tokenizer.context_length} tokens" if has_text else ""
    towers = f"`{type(model.image_encoder).__name__}`"
    towers += f" and `{type(model.text_encoder).__name__}`" if has_text else " alone"
    known = describe(model.state_dict())
    return (
        f"A CLIP model{f', {known}' if known else ''}: {towers} with {number:,} parameters. Images of {pixels.size} x "
        f"{pixels.size} pixels, resized by {pixels.interpolation} interpolation, less the mean "
        f"{list(pixels.mean)}, over the standard deviation {list(pixels.std)}{texts}. It was read from "
        f"`{parts.card['path']}` ({parts.card['format']}).\n"
    )


def _use(parts: Parts, target: str) -> str:
    """How it is loaded."""
    lines = _CALLS[target].split("\n")
    if parts.model.text_encoder is None:
        lines = [line for line in lines if "text" not in line and "tokenizer =" not in line]
    note = _TOKENIZER_NOTE if "tokenizer.json" in _CALLS[target] else ""
    return "\n".join(["## Use", "", "```python", *lines, "```", note])


def _data(card: Mapping[str, Any], facts: RunFacts) -> str:
    """What it was trained on, and how much."""
    config = card.get("config")
    if config is None:
        return (
            "## Training\n\nThese weights come from elsewhere, or from a program that stored no configuration: what "
            "they were trained on is not known here.\n"
        )
    data = config.get("data") or {}
    sources = data.get("train") or []
    lines = [f"- data: `{_part(source)}`" for source in (sources if isinstance(sources, list) else [sources])]
    seen = card.get("samples_seen")
    lines.append(f"- samples seen: {'not recorded' if seen is None else f'{seen:,} image-text pairs'}")
    lines += [f"- batch size: {data['batch_size']:,}"] if data.get("batch_size") else []
    start = (config.get("model") or {}).get("weights")
    lines += [f"- started from the weights `{start}`"] if start else []
    lines += [f"- {line}" for line in facts.origin]
    return "\n".join(["## Training", "", *lines, ""])


def _part(spec: Any) -> str:
    """A part as its class would be called."""
    if not isinstance(spec, Mapping):
        return str(spec)
    arguments = {name: value for name, value in (spec.get("init_args") or {}).items() if value is not None}
    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{str(spec.get('class_path')).rpartition('.')[2]}({shown})"


def _results(facts: RunFacts) -> str:
    """What was measured."""
    lines = ["## Results", ""]
    if not facts.results:
        return "\n".join([*lines, "No figures lay beside these weights: nothing is known of how good they are.", ""])
    lines += [facts.note, ""] if facts.note else []
    lines += ["| result | value | 95 % interval | n | missing |", "|---|---:|---:|---:|---:|"]
    for row in facts.results:
        ends = "-" if row.interval is None else f"{row.interval[0]:.4f} to {row.interval[1]:.4f} ({row.method})"
        lines.append(f"| {row.name} | {row.value:.4f} | {ends} | {row.n:,} | {row.missing:,} |")
    return "\n".join([*lines, ""])

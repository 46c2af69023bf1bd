"""What is exported, the other library loads by its own documented call, and it gives the same features."""

import numpy as np
import onnxruntime
import open_clip
import pytest
import tokenizers
import torch
from PIL import Image
from released import EMBED_DIM, TEXTS
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPProcessor

import clip_lightning
from clip_lightning.data import ShapeScenes
from clip_lightning.interchange.export import TARGETS, export
from clip_lightning.interchange.export.model_card import RunFacts
from clip_lightning.interchange.export.tokenizer_files import write_tokenizer
from clip_lightning.interchange.parts import NoTokenizer, Parts, read_parts
from clip_lightning.models import CLIP, Pixels, TextTransformer, TimmImageEncoder, VisionTransformer
from clip_lightning.objectives import Contrastive
from clip_lightning.text import BPETokenizer, CLIPTokenizer, Tokenizer

SOURCES = [("vit", True), ("vit", False), ("resnet", True)]


@pytest.fixture(scope="module")
def exported(open_clip_folders, tmp_path_factory):
    """Exports once a case, and gives the model and the folder."""
    made = {}

    def of(case, target):
        parts = read_parts(open_clip_folders[case])
        if (case, target) not in made:
            made[case, target] = tmp_path_factory.mktemp(target) / "model"
            export(parts, target, made[case, target], RunFacts())
        return parts, made[case, target]

    return of


@torch.no_grad()
def assert_same(mine, reference, tolerance=1e-5):
    assert mine.shape == reference.shape
    assert (mine - reference).norm() <= tolerance * reference.norm()
    assert reference.std(dim=0).min() > 1e-3, "the samples are told apart"


@pytest.mark.parametrize("case", SOURCES)
@torch.no_grad()
def test_open_clip(exported, case, image):
    parts, folder = exported(case, "open_clip")
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    assert_same(model.eval().encode_image(image), parts.model.encode_image(image))
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    assert torch.equal(tokens, parts.tokenizer(TEXTS))
    assert_same(model.encode_text(tokens), parts.model.encode_text(tokens))
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    torch.testing.assert_close(preprocess(photo)[None], parts.model.normalize(pixels))


@pytest.mark.parametrize("case", SOURCES[:2])
@torch.no_grad()
def test_transformers(exported, case, image):
    parts, folder = exported(case, "transformers")
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    inputs = processor(text=TEXTS, images=photo, return_tensors="pt", padding="max_length")
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    torch.testing.assert_close(inputs["pixel_values"], parts.model.normalize(pixels))
    assert_same(model.get_image_features(image).pooler_output, parts.model.encode_image(image))
    tokens = parts.tokenizer(TEXTS)
    given = inputs["attention_mask"].bool()
    assert torch.equal(inputs["input_ids"][given], tokens[:, : given.shape[1]][given])
    expected = parts.model.encode_text(tokens)
    assert_same(
        model.get_text_features(**{name: inputs[name] for name in ("input_ids", "attention_mask")}).pooler_output,
        expected,
    )
    logits = model(**inputs).logits_per_image
    mine = torch.nn.functional.normalize(parts.model.encode_image(parts.model.normalize(pixels)))
    torch.testing.assert_close(logits, parts.model.logit_scale.exp() * mine @ torch.nn.functional.normalize(expected).T)


@pytest.mark.slow
@pytest.mark.parametrize("case", SOURCES)
@torch.no_grad()
def test_torch_export(exported, case):
    parts, folder = exported(case, "torch_export")
    image_encoder = torch.export.load(folder / "image_encoder.pt2").module()
    text_encoder = torch.export.load(folder / "text_encoder.pt2").module()
    for batch in (1, 2, 3):
        image = torch.randn(batch, 3, 64, 64)
        torch.testing.assert_close(image_encoder(image), parts.model.encode_image(image), rtol=1e-5, atol=1e-5)
        tokens = parts.tokenizer(TEXTS[:batch])
        torch.testing.assert_close(text_encoder(tokens), parts.model.encode_text(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", [SOURCES[0], SOURCES[2]])
@torch.no_grad()
def test_onnx(exported, case):
    parts, folder = exported(case, "onnx")
    image_encoder = onnxruntime.InferenceSession(folder / "image_encoder.onnx")
    text_encoder = onnxruntime.InferenceSession(folder / "text_encoder.onnx")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for batch in (1, 3):
        image = torch.randn(batch, 3, 64, 64)
        (features,) = image_encoder.run(["image_features"], {"image": image.numpy()})
        reference = parts.model.encode_image(image)
        assert (torch.from_numpy(features) - reference).norm() <= 1e-4 * reference.norm()
        tokens = np.array([encoded.ids for encoded in tokenizer.encode_batch(TEXTS[:batch])])
        (features,) = text_encoder.run(["text_features"], {"text": tokens})
        reference = parts.model.encode_text(parts.tokenizer(TEXTS[:batch]))
        assert (torch.from_numpy(features) - reference).norm() <= 1e-4 * reference.norm()


@pytest.mark.parametrize(
    ("case", "target"),
    [
        *((case, target) for case in SOURCES for target in ("open_clip", "safetensors")),
        *((case, "transformers") for case in SOURCES[:2]),
    ],
)
def test_there_and_back_is_exact(exported, case, target):
    parts, folder = exported(case, target)
    again = read_parts(folder)
    expected = parts.model.state_dict()
    assert again.model.state_dict().keys() == expected.keys()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert again.model.pixels == parts.model.pixels
    assert repr(again.model) == repr(parts.model), "activations and sizes too"
    assert again.said == []


def test_open_clips_own_weights_come_back_bit_by_bit(open_clip_folders, exported):
    for case in SOURCES:
        ours = load_file(exported(case, "open_clip")[1] / "open_clip_model.safetensors")
        theirs = load_file(open_clip_folders[case] / "open_clip_model.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
        assert all(ours[name].dtype == tensor.dtype for name, tensor in theirs.items())


def test_transformers_own_weights_come_back_bit_by_bit(transformers_folders, tmp_path):
    export(read_parts(transformers_folders["gelu"]), "transformers", tmp_path / "model", RunFacts())
    ours = load_file(tmp_path / "model" / "model.safetensors")
    theirs = load_file(transformers_folders["gelu"] / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def own_parts(**changes):
    """A model that only this package knows."""
    tokenizer = BPETokenizer(vocab_size=300, context_length=24, corpus=ShapeScenes(size=32))
    image = TimmImageEncoder("test_resnet", image_size=32)
    text = TextTransformer(24, 300, width=16, depth=1, num_heads=2)
    model = CLIP(image, text, embed_dim=8).eval()
    card = {"path": "run.ckpt", "format": "clip_lightning", "config": None}
    return Parts(model, tokenizer, Contrastive(), card, [])._replace(**changes)


@pytest.mark.slow
@torch.no_grad()
def test_any_model_goes_where_any_model_can(tmp_path):
    parts = own_parts()
    image, texts = torch.randn(3, 3, 32, 32), ["a red circle", "two small blue stars"]
    reference = parts.model.encode_image(image), parts.model.encode_text(parts.tokenizer(texts))
    for target in ("safetensors", "torch_export", "onnx"):
        export(parts, target, tmp_path / target, RunFacts())
    loaded = clip_lightning.load(tmp_path / "safetensors")
    assert torch.equal(loaded.model.encode_image(image), reference[0])
    assert torch.equal(loaded.model.encode_text(loaded.tokenizer(texts)), reference[1])
    programs = [torch.export.load(tmp_path / "torch_export" / f"{name}_encoder.pt2") for name in ("image", "text")]
    torch.testing.assert_close(programs[0].module()(image), reference[0])
    for program, other in zip(programs, ("text", "image"), strict=True):
        assert not [name for name in program.state_dict if f"{other}_" in name], "a file has the weights of its tower"
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "image_encoder.onnx")
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"image": image.numpy()})[0]), reference[0])
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "onnx" / "tokenizer.json"))
    tokens = np.array([encoded.ids for encoded in tokenizer.encode_batch(texts)])
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "text_encoder.onnx")
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"text": tokens})[0]), reference[1])


@pytest.mark.parametrize("target", ["open_clip", "transformers"])
def test_what_a_library_has_no_place_for_is_refused_at_once(target, tmp_path):
    vit = VisionTransformer(32, 16, width=16, depth=1, num_heads=2)
    words = TextTransformer(24, 300, width=16, depth=1, num_heads=2)
    known = TextTransformer(24, CLIPTokenizer.vocab_size, width=16, depth=1, num_heads=2)
    own = type("Own", (VisionTransformer,), {})(32, 16, width=16, depth=1, num_heads=2)
    cases = {
        "image encoder Own": {"model": CLIP(own, known, embed_dim=8), "tokenizer": CLIPTokenizer(24)},
        "tokeniser BPETokenizer": {"model": CLIP(vit, words, embed_dim=8)},
        "missing text encoder": {"model": CLIP(vit, None, embed_dim=8)},
    }
    for what, changes in cases.items():
        told = f"{target} has no place for this model's {what}; safetensors, onnx and torch_export have"
        with pytest.raises(ValueError, match=told):
            export(own_parts(**changes), target, tmp_path / "model", RunFacts())
        assert list(tmp_path.iterdir()) == [], "nothing is left half written"


@pytest.fixture
def images_only():
    model = CLIP(TimmImageEncoder("test_resnet", image_size=32), None, image_projection=False)
    return own_parts(model=model.eval(), tokenizer=NoTokenizer("timm:x"))


def test_an_image_tower_alone(images_only, tmp_path):
    export(images_only, "safetensors", tmp_path / "model", RunFacts())
    loaded = clip_lightning.load(tmp_path / "model")
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    rows = [model.encode_image(model.normalize(pixels)) for model in (loaded.model, images_only.model)]
    assert torch.equal(*rows)
    for use in (loaded.tokenizer, lambda texts: loaded.scorer.classes([texts])):
        with pytest.raises(ValueError, match="'timm:x' has an image tower alone and takes no texts"):
            use(["a cat"])
    with pytest.raises(ValueError, match="context_length 16 cannot be had of an image tower alone; leave it out"):
        clip_lightning.load(tmp_path / "model", context_length=16)


@pytest.mark.slow
def test_an_image_tower_alone_as_a_graph(images_only, tmp_path):
    export(images_only, "onnx", tmp_path / "onnx", RunFacts())
    files = {file.name for file in (tmp_path / "onnx").iterdir()}
    assert files == {"image_encoder.onnx", "preprocessor_config.json", "README.md"}
    assert "text_encoder" not in (tmp_path / "onnx" / "README.md").read_text()


def test_a_folder_with_content_is_left_alone(open_clip_folders, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists already, and is no empty folder"):
        export(read_parts(open_clip_folders["vit", True]), "open_clip", tmp_path, RunFacts())
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


CAPTIONS = [
    "A photo of a cat.", "it's  the DOGS' 3rd\tball, isn't it?", "naïve café — 日本 ñ", "x" * 300,
    "word " * 100, "", "<|endoftext|> hi", "e-mail: a@b.co & 100%",
]  # fmt: skip


@pytest.mark.parametrize(
    "tokenizer",
    [CLIPTokenizer(), CLIPTokenizer(16), BPETokenizer(400, 24, corpus=ShapeScenes(size=64))],
    ids=["clip", "short", "learned"],
)
def test_the_written_tokeniser_gives_the_same_ids(tokenizer, tmp_path):
    assert write_tokenizer(tokenizer, tmp_path)
    written = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = torch.tensor([encoded.ids for encoded in written.encode_batch(CAPTIONS)])
    assert torch.equal(ids, tokenizer(CAPTIONS))


def test_a_tokeniser_of_ones_own_is_not_written(tmp_path):
    class Letters(Tokenizer):
        def __call__(self, texts):
            raise NotImplementedError

    with pytest.warns(UserWarning, match=r"tokenizer\.json is not written: Letters is known to Python alone"):
        assert not write_tokenizer(Letters(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_squashing_models_pixels_come_back(tmp_path):
    pixels = Pixels(32, (0.5,) * 3, (0.5,) * 3, "bilinear", "squash")
    image = VisionTransformer(32, 16, width=64, depth=1, num_heads=1, pixels=pixels)
    text = TextTransformer(16, CLIPTokenizer.vocab_size, width=64, depth=1, num_heads=1)
    parts = own_parts(model=CLIP(image, text, embed_dim=EMBED_DIM).eval(), tokenizer=CLIPTokenizer(16))
    for target in ("open_clip", "transformers"):
        export(parts, target, tmp_path / target, RunFacts())
        assert read_parts(tmp_path / target).model.pixels == pixels
    assert set(TARGETS) == {"open_clip", "transformers", "safetensors", "onnx", "torch_export"}

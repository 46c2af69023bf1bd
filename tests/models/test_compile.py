"""Attention without its matrix, one graph for a compiler, and texts of any length."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from clip_lightning.models import HFTextEncoder, ModifiedResNet, TextTransformer, TimmImageEncoder, VisionTransformer

# Numbers of tokens that no other size equals: 25 patches and the class; 19 positions; 9 of the map and their mean.
TOWERS = {
    "vit": (lambda: VisionTransformer(40, 8, width=32, depth=2, num_heads=2, quick_gelu=True), 26),
    "text": (lambda: TextTransformer(19, 50, width=32, depth=2, num_heads=2, quick_gelu=True), 19),
    "resnet": (lambda: ModifiedResNet(24, (1, 1), output_dim=24, width=8), 10),
}


BERT = {
    "model_type": "bert", "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 8,
}  # fmt: skip
OTHERS = {
    "timm vit": lambda: TimmImageEncoder("test_vit", image_size=32),
    "timm resnet": lambda: TimmImageEncoder("test_resnet", image_size=32, pooling="attention"),
    "hf": lambda: HFTextEncoder(8, 20, config=BERT),
}


def inputs_for(tower, tokens=None, batch=3):
    if isinstance(tower, TextTransformer | HFTextEncoder):
        tokens = tokens or tower.context_length
        return torch.randint(0, tower.vocab_size, (batch, tokens)), torch.arange(tokens, tokens - batch, -1)
    return (torch.randn(batch, 3, tower.image_size, tower.image_size),)


def attention_matrices(tower, tokens):
    """Shapes of what autograd keeps that have a weight for every token: in an attention matrix they lie last."""
    kept = []

    def note(tensor):
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        tower(*inputs_for(tower))
    assert any(tokens in shape for shape in kept), "the tokens themselves are kept"
    rows = (tokens, 1)  # the attention pool has one query
    return [shape for shape in kept if len(shape) >= 2 and shape[-1] == tokens and shape[-2] in rows]


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("fused", [True, False])
def test_no_attention_matrix_is_kept(kind, fused):
    build, tokens = TOWERS[kind]
    with nullcontext() if fused else sdpa_kernel(SDPBackend.MATH):
        found = attention_matrices(build(), tokens)
    assert bool(found) is not fused, found


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [*TOWERS, *OTHERS])
def test_a_tower_is_one_graph(kind, backend):
    tower = OTHERS[kind]().eval() if kind in OTHERS else TOWERS[kind][0]()  # others have dropout
    torch.compiler.reset()
    compiled = torch.compile(tower, fullgraph=True, backend=backend)
    given, found = inputs_for(tower), []
    for model in (tower, compiled):
        tower.zero_grad()
        output = model(*given)
        output.square().sum().backward()
        found.append([output, *(parameter.grad for parameter in tower.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_texts_of_several_lengths_need_no_graph_each():
    tower = TOWERS["text"][0]().eval()
    torch.compiler.reset()
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(tower, fullgraph=True, backend=counting)
    for tokens in (5, 19, 9, 12, 17):
        given = inputs_for(tower, tokens)
        torch.testing.assert_close(compiled(*given), tower(*given))
    assert len(graphs) <= 2, "the first length, and all others"


@torch.no_grad()
def test_a_cut_text_has_the_features_of_the_full_context():
    tower = TextTransformer(77, 300, width=64, depth=3, num_heads=4, quick_gelu=True).double().eval()
    full, _ = inputs_for(tower, batch=8)
    length = torch.tensor([1, 2, 5, 8, 13, 21, 40, 76])
    for row, end in enumerate(length):
        full[row, end:] = 0
    reference = tower(full, length)
    for tokens in (*range(1, 77, 5), 77):
        fitting = length <= tokens
        cut = tower(full[fitting, :tokens], length[fitting])
        assert (cut - reference[fitting]).abs().max() <= 1e-12 * reference.abs().max(), tokens


def test_a_cut_text_gives_the_same_gradients():
    tower = TextTransformer(77, 300, width=64, depth=3, num_heads=4, quick_gelu=True).double()
    full, length = inputs_for(tower, batch=4)[0], torch.tensor([3, 11, 16, 7])
    gradients = []
    for tokens in (77, 16):
        tower.zero_grad()
        tower(full[:, :tokens], length).square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in tower.named_parameters()})
    largest = max(gradient.norm() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).norm() <= 1e-12 * largest, name

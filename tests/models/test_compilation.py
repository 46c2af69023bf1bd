"""Compiled towers: the same names, the same numbers."""

import pytest
import torch

from clip_lightning.models import CLIP, ModifiedResNet, TextTransformer, VisionTransformer
from clip_lightning.models.compilation import compile_towers
from clip_lightning.models.recomputation import recompute

IMAGES = {
    "vit": lambda: VisionTransformer(16, 8, width=16, depth=2, num_heads=2),
    "resnet": lambda: ModifiedResNet(32, [1, 1], output_dim=12, width=4),
}


def build(kind):
    torch.manual_seed(0)
    tower = IMAGES[kind]()
    return CLIP(tower, TextTransformer(12, 50, width=16, depth=2, num_heads=2), 12, kind == "vit").double()


def found_by(model, batch, tokens):
    generator = torch.Generator().manual_seed(tokens)
    image = torch.randn(batch, 3, model.pixels.size, model.pixels.size, generator=generator, dtype=torch.float64)
    text = torch.randint(1, 50, (batch, tokens), generator=generator)
    model.zero_grad()
    features = model(image, text)
    sum(part.square().sum() for part in features).backward()
    return [*features, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize(("kind", "recomputed"), [("vit", False), ("vit", True), ("resnet", False)])
def test_compiled_towers_have_the_same_names_and_numbers(kind, recomputed):
    torch.compiler.reset()
    plain, compiled = build(kind), build(kind)
    if recomputed:
        recompute(compiled.image_encoder.blocks())
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_towers(compiled, backend=counting)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for batch, tokens in ((4, 7), (4, 12), (3, 9), (4, 10)):
        for ours, theirs in zip(found_by(compiled, batch, tokens), found_by(plain, batch, tokens), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    seen = len(graphs)
    assert seen, "something was compiled"
    found_by(compiled, 5, 8)
    assert len(graphs) == seen, "further sizes need no further graphs"


def test_statistics_that_rest_are_no_part_of_a_graph():
    model = build("resnet")
    recompute(model.image_encoder.blocks())
    with pytest.raises(ValueError, match="gradient_checkpointing true do not go together in ModifiedResNet"):
        compile_towers(model)

"""Compiled towers, whose weights keep their names."""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from clip_lightning.models.clip import CLIP

_GRAPHS = 64
"""Graphs of one kind of block: by its probability of dropping a path, its mode, and fixed or varying sizes."""


def compile_towers(model: CLIP, backend: str = "inductor") -> None:
    """Has the blocks of both towers compiled when they are first called, each as one graph.

    What is the same in all blocks is compiled once, and hooks stay outside, among them those that gather a divided
    block. A tower that says nothing of its blocks is compiled as a whole.

    Args:
        model: Changed in place; classes of modules and names of weights are not.
        backend: What makes code of a graph.

    Raises:
        ValueError: If a tower with BatchNorm layers computes its blocks twice: what keeps their statistics from moving
            twice cannot be part of a graph.
    """
    torch._dynamo.config.recompile_limit = max(_GRAPHS, torch._dynamo.config.recompile_limit)
    for tower in (model.image_encoder, model.text_encoder):
        if tower is not None:
            for block in tower.blocks() or (tower,):
                if "forward" in vars(block) and any(isinstance(part, _BatchNorm) for part in block.modules()):
                    raise ValueError(
                        f"compile true and gradient_checkpointing true do not go together in {type(tower).__name__}, "
                        "which has BatchNorm layers; give one of them false"
                    )
                compiled = torch.compile(block.forward, fullgraph=True, backend=backend)
                object.__setattr__(block, "forward", compiled)

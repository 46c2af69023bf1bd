"""Training steps on a GPU: ours, and those of open_clip_train."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from captions import CAPTION_TOKENS, texts
from gpu_pieces import loss_step
from gpu_setting import Setting, say
from torch import Tensor

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP
from clip_lightning.models.cost import image_cost, text_cost
from clip_lightning.models.peak import peak_flops
from clip_lightning.objectives import Contrastive, encode_in_micro_batches
from clip_lightning.optim import PAPER_ADAMW, build_optimizer


def training_step(model: CLIP, batch: Batch, micro: int, setting: Setting) -> Callable[[], Tensor]:
    """Our step, which returns the loss."""
    objective = Contrastive()
    optimizer = build_optimizer(PAPER_ADAMW, model, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad()
        with setting.autocast():
            encoded = encode_in_micro_batches(objective, model, batch, micro)
            loss = objective.reduce(model, encoded)["loss"]
        loss.backward()
        optimizer.step()
        model.cap_logit_scale_()
        return loss.detach()

    return step


def measure_step(setting: Setting) -> None:
    """Our training step."""
    model = setting.model()
    batch = setting.batch(setting.pairs, model.pixels.size)
    forward = sum(part.flops for part in (*image_cost(model), *text_cost(model, batch.text.shape[1])))
    fastest = setting.fastest()
    name = torch.cuda.get_device_name() if setting.is_cuda else "CPU"
    peak = peak_flops(setting.device, "half")
    of_loss = setting.seconds(loss_step(setting.pairs, torch.float32, setting))
    say(
        f"{name}: fastest product {fastest / 1e12:.1f} TFLOP/s; {3 * forward / 1e9:.1f} GFLOP a pair without repetition"
    )
    say(f"the loss of {setting.pairs} pairs with its backward pass: {1e3 * of_loss:.1f} ms")

    def line(label: str, micro: int) -> float:
        setting.peak_memory()
        try:
            seconds = setting.seconds(training_step(model, batch, micro, setting))
        except torch.OutOfMemoryError:
            say(f"{label} {micro:6}: does not fit into memory")
            return math.inf
        useful = 3 * forward * setting.pairs / seconds
        done = useful * (1 + (setting.pairs - 1) // micro * micro / setting.pairs / 3)
        of_peak = "" if peak is None else f"MFU {useful / peak:.1%}, hardware {done / peak:.1%} of the data sheet's; "
        of_peak += f"{useful / fastest:.1%} and {done / fastest:.1%} of the fastest product"
        share = f"loss {of_loss / seconds:.2%}"
        say(f"{label} {micro:6}: {setting.pairs / seconds:8.1f} pairs/s, {of_peak}; {share}; {setting.peak_memory()}")
        return seconds

    best = min(setting.micro, key=lambda micro: line("micro-batch", micro))
    from clip_lightning.models.compilation import compile_towers

    compile_towers(model, setting.compiler)
    line("compiled   ", best)


def measure_open_clip(setting: Setting) -> None:
    """Steps of open_clip_train, one line for each of its ways."""
    side = 32 if setting.small else 224
    ways = [("checkpointing", 1), ("accumulation", 4), ("checkpointing, compiled", 1)]
    pairs = setting.pairs
    # Its loader hands out pixels in the precision of the weights.
    image = torch.rand(pairs, 3, side, side, device=setting.device)
    text = texts(tuple(CAPTION_TOKENS[row % len(CAPTION_TOKENS)] for row in range(pairs)))[0].to(setting.device)
    for way, parts in ways:
        model: Any = their_model(setting)
        model.set_grad_checkpointing("checkpointing" in way)
        run = torch.compile(model, backend=setting.compiler) if "compiled" in way else model
        setting.peak_memory()
        with contextlib.suppress(torch.OutOfMemoryError):
            seconds = setting.seconds(their_step(run, model, image, text, parts, setting))
            say(f"open_clip, {way}: {pairs / seconds:8.1f} pairs/s; {setting.peak_memory()}")
            continue
        say(f"open_clip, {way}: does not fit into memory")


def their_model(setting: Setting) -> Any:
    """open_clip's ViT-B/32, or a toy."""
    import open_clip

    if not setting.small:
        return open_clip.create_model("ViT-B-32-quickgelu", output_dict=True, device=setting.device).train()
    image = {"image_size": 32, "patch_size": 16, "width": 64, "head_width": 64, "layers": 2}
    return open_clip.CLIP(64, image, {"width": 64, "heads": 1, "layers": 2}, output_dict=True).train()


def their_step(run: Any, model: Any, image: Tensor, text: Tensor, parts: int, setting: Setting) -> Callable[[], None]:
    """The lines of open_clip_train/train.py for a batch in so many parts."""
    from open_clip import ClipLoss

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    loss = ClipLoss()
    images, tokens = image.chunk(parts), text.chunk(parts)

    def accumulate() -> None:
        with torch.no_grad(), setting.autocast():
            kept = [run(one, other) for one, other in zip(images, tokens, strict=True)]
        for place, (one, other) in enumerate(zip(images, tokens, strict=True)):
            with setting.autocast():
                out = run(one, other)
                features = {
                    name: torch.cat([out[name] if number == place else part[name] for number, part in enumerate(kept)])
                    for name in ("image_features", "text_features")
                }
                value = loss(**features, logit_scale=out["logit_scale"])
            value.backward()

    def at_once() -> None:
        with setting.autocast():
            value = loss(**run(image, text))
        value.backward()

    def step() -> None:
        optimizer.zero_grad()
        (at_once if parts == 1 else accumulate)()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))

    return step

"""Parts of a training step on a GPU, each by itself."""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from gpu_setting import Setting, say
from torch import Tensor, nn

from clip_lightning.models import ModifiedResNet
from clip_lightning.objectives import Contrastive, contrastive_loss, encode_in_micro_batches

WIDTH = 512


def embeddings(pairs: int, dtype: torch.dtype, setting: Setting) -> list[Tensor]:
    """Unit rows of images and texts that take gradients."""
    generator = torch.Generator(setting.device).manual_seed(0)
    rows = (torch.randn(pairs, WIDTH, generator=generator, device=setting.device) for _ in range(2))
    return [F.normalize(row, dim=1).to(dtype).requires_grad_() for row in rows]


def loss_step(pairs: int, dtype: torch.dtype, setting: Setting, **arguments: int) -> Callable[[], Tensor]:
    """The loss and its backward pass."""
    rows = embeddings(pairs, dtype, setting)
    scale = torch.tensor(14.3, device=setting.device, requires_grad=True)

    def step() -> Tensor:
        for row in rows:
            row.grad = None
        loss = contrastive_loss(*rows, scale, **arguments)
        loss.backward()
        return torch.cat([loss.detach()[None], *(row.grad.flatten() for row in rows if row.grad is not None)])

    return step


@contextlib.contextmanager
def products(precision: str) -> Iterator[None]:
    """Meanwhile, fp32 products of matrices are made in a precision: "highest" is fp32, "high" TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def measure_loss(setting: Setting) -> None:
    """The loss at several tile sizes and precisions, and how far TF32 is from fp32."""
    for tile in setting.tiles:
        for precision, dtype in (("highest", torch.float32), ("high", torch.float32), ("highest", torch.bfloat16)):
            with products(precision):
                setting.peak_memory()
                seconds = setting.seconds(loss_step(setting.pairs, dtype, setting, tile_size=tile))
            name = {"highest": "fp32 products", "high": "TF32 products"}[precision]
            say(f"loss, {dtype}, {name}, tile {tile:6}: {1e3 * seconds:8.1f} ms; {setting.peak_memory()}")
    few = min(setting.pairs, 4096)
    exact = loss_step(few, torch.float32, setting)()
    with products("high"):
        found = loss_step(few, torch.float32, setting)()
    value, gradient = (found - exact)[0].abs() / exact[0], (found - exact)[1:].norm() / exact[1:].norm()
    say(f"TF32 against fp32 at {few} pairs: value {value.item():.1e}, gradient {gradient.item():.1e}, relative")


def measure_tile(setting: Setting) -> None:
    """The first pass over one tile: logits, and the log-sum-exps of rows and columns."""

    def body(images: Tensor, captions: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        logits = (images @ captions.T).float() * scale
        return logits.logsumexp(dim=1), logits.logsumexp(dim=0)

    size = max(setting.tiles)
    scale = torch.tensor(14.3, device=setting.device)
    compiled = torch.compile(body, backend=setting.compiler)
    truth = body(*(row.detach().double() for row in embeddings(size, torch.float32, setting)), scale.double())[0]
    for precision, dtype in (("highest", torch.float32), ("high", torch.float32), ("highest", torch.bfloat16)):
        rows = [row.detach() for row in embeddings(size, dtype, setting)]
        for name, function in (("plain", body), ("compiled", compiled)):
            with products(precision):
                seconds = setting.seconds(lambda: function(*rows, scale))  # noqa: B023
                apart = (function(*rows, scale)[0].double() - truth).abs().max().item()
            said = f"operands {dtype}, {'TF32' if precision == 'high' else 'full'} precision, {name}"
            say(f"tile of {size}, {said}: {1e6 * seconds:.0f} us, log-sum-exp off by {apart:.1e} at most")


def measure_dropout(setting: Setting) -> None:
    """Gradients by recomputation against those of kept activations, with every kind of chance."""
    model = setting.model(dropout=0.2, drop_path=0.2, patch_dropout=0.5)
    batch, micro = setting.batch(22, model.pixels.size), 8
    objective = Contrastive()

    def gradients(recomputes: bool) -> Tensor:
        model.zero_grad()
        torch.manual_seed(1)
        with setting.autocast():
            if recomputes:
                encoded = encode_in_micro_batches(objective, model, batch, micro)
            else:
                parts = [objective.encode(model, part) for part in batch.split(micro)]
                encoded = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            loss = objective.reduce(model, encoded)["loss"]
        loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])

    kept, again, recomputed = gradients(False), gradients(False), gradients(True)
    apart, noise = ((one - kept).abs().max().item() for one in (recomputed, again))
    say(f"dropout, drop path, patch dropout: recomputed gradients differ by {apart:.1e}, repeated ones by {noise:.1e}")


def measure_resnet(setting: Setting) -> None:
    """RN50's image tower in both memory formats."""
    blocks, width, side = ((1, 1, 1, 1), 8, 32) if setting.small else ((3, 4, 6, 3), 64, 224)
    image = torch.rand(setting.images, 3, side, side, device=setting.device)

    class Rows(ModifiedResNet):
        """The tower without the order of channels that it asks for."""

        def forward(self, image: Tensor) -> Tensor:
            x = self.stem(image)
            for stage in self.stages:
                x = stage(x)
            pooled: Tensor = self.attention_pool(x)
            return pooled

    for name, kind, order in (
        ("rows", Rows, torch.contiguous_format),
        ("features in channels-last", ModifiedResNet, torch.contiguous_format),
        ("features and weights in channels-last", ModifiedResNet, torch.channels_last),
    ):
        tower: nn.Module = kind(side, blocks, output_dim=64, width=width, num_heads=4).to(setting.device).train()
        tower.to(memory_format=order)  # type: ignore[call-overload]

        def step(tower: nn.Module = tower) -> None:
            tower.zero_grad()
            with setting.autocast():
                loss = tower(image).square().mean()
            loss.backward()

        say(f"RN50, {name}: {setting.images / setting.seconds(step):.0f} images/s forward and backward")


def measure_transfer(setting: Setting) -> None:
    """A batch of pixels to the device."""
    if not setting.is_cuda:
        say("transfer: not measured, since the processor's own memory is the device's")
        return
    pageable = torch.randint(0, 256, (4096, 3, 224, 224), dtype=torch.uint8)
    for name, pixels in (("pageable", pageable), ("page-locked", pageable.pin_memory())):

        def send(pixels: Tensor = pixels) -> float:
            started = time.perf_counter()
            pixels.to(setting.device, non_blocking=True)
            return time.perf_counter() - started

        whole = setting.seconds(send)
        setting.wait()
        held = send()
        say(f"transfer, {name}: {pixels.nbytes / whole / 1e9:.1f} GB/s; the processor waits {1e3 * held:.2f} ms")

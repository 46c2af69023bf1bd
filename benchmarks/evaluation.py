# .venv/bin/python benchmarks/evaluation.py classifier retrieval
"""What the evaluation costs, section by section; give the names of those that are wanted, or none for all.

CPU times are those of this process, on one thread.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
import open_clip
import psutil
import torch
from models import both

from clip_lightning.evaluation.retrieval import Captioned, retrieve
from clip_lightning.inference import zero_shot_classifier
from clip_lightning.text import CLIPTokenizer

MiB = 2**20
PARTS = 4
IMAGES, CAPTIONS_PER_IMAGE, EMBED_DIM = 100_000, 5, 64


def cpu_seconds(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """CPU time of something, and what it returns."""
    started = time.process_time()
    result = run()
    return time.process_time() - started, result


def classifier(options: argparse.Namespace) -> None:
    """Our zero-shot classifier against open_clip's ``build_zero_shot_classifier``: ViT-B/32's text tower, fp32.

    The weights are random and the same, the names are spread over ImageNet's, with all 80 templates. The two alternate
    over parts of the classes. The target is a sixth of the time, with rows equal to 1e-6.
    """
    ours, theirs = (model.eval() for model in both("vit_b_32"))
    # The image towers are not needed, and large.
    del ours.image_encoder, theirs.visual
    names = open_clip.IMAGENET_CLASSNAMES[:: 1000 // options.classes][: options.classes]
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    our_tokenizer, their_tokenizer = CLIPTokenizer(context_length=77), open_clip.get_tokenizer("ViT-B-32")
    seconds, ratios, difference = np.zeros(2), [], 0.0
    for part in np.array_split(np.array(names, dtype=object), PARTS):
        own = part.tolist()
        our_time, rows = cpu_seconds(lambda own=own: zero_shot_classifier(ours, our_tokenizer, own, templates))
        their_time, columns = cpu_seconds(
            lambda own=own: open_clip.build_zero_shot_classifier(theirs, their_tokenizer, own, templates)
        )
        seconds += our_time, their_time
        ratios.append(their_time / our_time)
        difference = max(difference, float((rows - columns.T).abs().max()))
    print(f"{len(names)} classes x {len(templates)} templates: {seconds[0]:.0f} and {seconds[1]:.0f} CPU seconds")
    print(f"ratio {seconds[1] / seconds[0]:.2f} ({min(ratios):.2f} to {max(ratios):.2f} over {PARTS} parts)")
    print(f"largest difference {difference:.1e}")


def retrieval(options: argparse.Namespace) -> None:
    """Peak memory of retrieval beyond what embeds and identities take, and its CPU time; the target is 1 GiB.

    What is beyond the inputs does not depend on the size of the embeds, so these are small here. It runs in a new
    process, since the peak of another section would hide its own.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(_retrieve)


def _retrieve() -> None:
    generator = np.random.default_rng(0)
    images, captions = IMAGES, IMAGES * CAPTIONS_PER_IMAGE
    image, text = (generator.standard_normal((count, EMBED_DIM), dtype=np.float32) for count in (images, captions))
    captioned = Captioned(np.arange(images), np.arange(captions), np.arange(captions) // CAPTIONS_PER_IMAGE)
    inputs = image.nbytes + text.nbytes + sum(part.nbytes for part in captioned)
    before, started = psutil.Process().memory_info().rss, time.process_time()
    of_images, of_captions = retrieve(image, text, captioned)
    seconds = time.process_time() - started
    above = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    print(f"{images:,} images x {captions:,} captions of {EMBED_DIM} numbers: inputs {inputs / MiB:.0f} MiB")
    print(f"{above / MiB:.0f} MiB above them, {seconds:.0f} CPU seconds", flush=True)
    print(
        f"recall at 10: {of_images.credit(10).mean():.6f}, {of_captions.credit(10).mean():.6f} (by chance)", flush=True
    )


SECTIONS = {section.__name__: section for section in (classifier, retrieval)}


def main() -> None:
    """Prints what each section measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--classes", type=int, default=100, help="of the classifier, at most 1,000")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    for name in options.sections or SECTIONS:
        print(name, flush=True)
        SECTIONS[name](options)


if __name__ == "__main__":
    main()

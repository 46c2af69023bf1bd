# mkdir -p data && for NAME in grocery-store emoji-noto coco-captions-mini; do tar -xf $NAME.tar -C data; done
# .venv/bin/python benchmarks/evaluation.py classifier clip_benchmark probe retrieval
"""What the evaluation costs, section by section; give the names of those that are wanted, or none for all.

CPU times are those of one thread. The pictures in data/ are for clip_benchmark alone.
"""

import argparse
import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import psutil
import torch
from evaluation_sets import clip_benchmark
from models import both
from sklearn.linear_model import LogisticRegression

from clip_lightning.evaluation.logistic_regression import ITERATIONS, logistic_regression
from clip_lightning.evaluation.metrics import value_of
from clip_lightning.evaluation.probe import best_fit, fit_penalties
from clip_lightning.evaluation.regularisation import LAST, strength
from clip_lightning.evaluation.retrieval import Captioned, retrieve
from clip_lightning.inference import zero_shot_classifier
from clip_lightning.text import CLIPTokenizer

MiB = 2**20
PARTS = 10
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
        apart = float((rows - columns.T).abs().max())
        print(f"{len(own)} classes: {our_time:.1f} and {their_time:.1f} CPU seconds, {apart:.1e} apart", flush=True)
        difference = max(difference, apart)
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


def probe(options: argparse.Namespace) -> None:
    """Our search for a probe's penalty against scikit-learn's fits of the whole grid: 10,000 x 512, 100 classes.

    scikit-learn fits each of the 97 strengths from nothing, on the same numbers in fp64, to the same tolerance as ours
    on small sets: 1e-4 of the sum's gradient. The target is an eighth of the time, and a choice of the same accuracy
    within 0.1 points. Beside it is what scikit-learn's own tolerance of today takes and chooses.
    """
    train, val, test = _clusters(10_000, 1), _clusters(2_000, 2), _clusters(10_000, 3)
    started = time.process_time()
    fits = fit_penalties(*train, *val, metric="accuracy", device="cpu")
    ours, best = time.process_time() - started, best_fit(fits)
    print(f"ours: {len(fits)} fits, {ours:.0f} CPU seconds; {_choice(best.strength, best.value)}", flush=True)
    for name, tolerance in {"today's": 1e-4, "the same": 1e-4 / len(train[0])}.items():
        values, seconds = _whole_grid(train, val, tolerance, options.every)
        chosen = max(values, key=lambda one: (values[one], one))
        extrapolated = "" if options.every == 1 else f", of {len(values)} measured fits, extrapolated"
        print(f"scikit-learn, {name} tolerance: {seconds:.0f} CPU seconds{extrapolated}; ", end="")
        print(f"{_choice(chosen, values[chosen])}; ratio {seconds / ours:.1f}", flush=True)
        both_chosen = {one: logistic_regression(*train).fit(1 / one).scores(test[0]) for one in (best.strength, chosen)}
        of_ours, of_theirs = (100 * value_of("accuracy", scores, test[1]) for scores in both_chosen.values())
        print(f"accuracy on 10,000 others: {of_ours:.2f} with ours, {of_theirs:.2f} with theirs")


def _clusters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of classes that overlap, of very different spread, with a mean far from 0, as those of an encoder."""
    centres = np.random.default_rng(0).normal(size=(100, 512)) * np.linspace(0.68, 0.05, 512)
    generator = np.random.default_rng(seed)
    labels = generator.integers(100, size=count)
    features = (
        generator.normal(size=(count, 512)) * np.linspace(4, 0.3, 512) + centres[labels] + 3 * np.sin(np.arange(512))
    )
    return (0.3 * features).astype(np.float32), labels


def _whole_grid(train: tuple, val: tuple, tolerance: float, every: int) -> tuple[dict[float, float], float]:
    """Accuracy in validation for each strength, and CPU seconds that all 97 take."""
    values, started = {}, time.process_time()
    features, others = train[0].astype(float), val[0].astype(float)
    places = range(0, LAST + 1, every)
    for place in places:
        model = LogisticRegression(C=1 / strength(place), max_iter=ITERATIONS, tol=tolerance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values[strength(place)] = model.fit(features, train[1]).score(others, val[1])
    return values, (time.process_time() - started) * (LAST + 1) / len(places)


def _choice(chosen: float, value: float) -> str:
    return f"lambda 1e{np.log10(chosen):+.3f}, {100 * value:.2f} in validation"


SECTIONS = {section.__name__: section for section in (classifier, clip_benchmark, probe, retrieval)}


def main() -> None:
    """Prints what each section measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--classes", type=int, default=100, help="of the classifier, at most 1,000")
    parser.add_argument("--layers", type=int, default=12, help="of each of clip_benchmark's towers")
    parser.add_argument("--images", type=int, default=100, help="of each of clip_benchmark's labelled sets")
    parser.add_argument(
        "--templates", type=int, default=7, help="of each of clip_benchmark's labelled sets, at most 80"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of clip_benchmark's pictures")
    parser.add_argument("--packages", type=Path, help="folder of older packages for clip-benchmark")
    parser.add_argument("--every", type=int, default=1, help="of the grid's strengths that scikit-learn fits")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    for name in options.sections or SECTIONS:
        print(name, flush=True)
        SECTIONS[name](options)


if __name__ == "__main__":
    main()

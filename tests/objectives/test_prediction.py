"""Objectives that predict the text: dense references, any number of processes and parts, and their scores."""

import copy
import math
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from small_pairs import CONTEXT, END, START, VOCABULARY, small_batch, small_model
from torch import nn

from clip_lightning.batch import Batch
from clip_lightning.objectives import BagOfWordsPrediction, Captioning, encode_in_micro_batches

PAIRS = 12
MAKE = {
    "softmax": lambda: BagOfWordsPrediction(),
    "sigmoid": lambda: BagOfWordsPrediction("sigmoid"),
    "captions": lambda: Captioning(width=16, depth=2, num_heads=2, prefix_length=2),
}


def learned(kind):
    """A model with its objective, in fp64."""
    model, objective = small_model(), MAKE[kind]()
    objective.setup(model)
    objective.to(torch.float64)
    with torch.no_grad():  # a head of zeros would hide what is wrong with it
        for parameter in objective.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
    return model, objective


def words_of(row, end):
    return row[1 : end - 1].tolist()


def dense_bag(objective, features, batch):
    """One caption at a time, with the bag written out."""
    losses = []
    for feature, row, end in zip(features, batch.text, batch.length.tolist(), strict=True):
        if words := words_of(row, end):
            bag = torch.zeros(VOCABULARY, dtype=torch.float64)
            bag[words] = 1
            logits = objective.head.weight @ feature + objective.head.bias
            if objective.loss == "softmax":
                losses.append(F.cross_entropy(logits[None], bag[None] / bag.sum()))
            else:
                losses.append(F.binary_cross_entropy_with_logits(logits, bag, reduction="sum"))
    return sum(losses) / len(losses)


def dense_captions(objective, features, batch):
    """One token at a time, behind those before it alone."""
    decoder, losses, tokens = objective.decoder, 0, 0
    for feature, row, end in zip(features, batch.text, batch.length.tolist(), strict=True):
        prefix = (decoder.prefix.weight @ feature + decoder.prefix.bias).view(decoder.prefix_length, -1)
        for place in range(end):
            x = torch.cat([prefix, decoder.token_embedding.weight[row[:place]]])
            x = (x + decoder.position_embedding[: len(x)])[None]
            for layer in decoder.layers:
                x = layer(x)
            logits = decoder.token_embedding.weight @ decoder.output_norm(x[0, -1])
            losses -= logits.log_softmax(0)[row[place]]
        tokens += end
    return losses / tokens


DENSE = {"softmax": dense_bag, "sigmoid": dense_bag, "captions": dense_captions}


def gradients(model, objective, loss):
    model.logit_scale.requires_grad_(False)
    parameters = [parameter for part in (model, objective) for parameter in part.parameters()]
    return torch.autograd.grad(loss, [parameter for parameter in parameters if parameter.requires_grad])


@pytest.mark.parametrize("kind", MAKE)
def test_loss_and_gradients_are_those_of_the_formula(kind):
    model, objective = learned(kind)
    batch = small_batch(PAIRS)
    loss = objective.reduce(model, objective.encode(model, batch))["loss"]
    expected = DENSE[kind](objective, model.encode_image(model.normalize(batch.image)), batch)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(gradients(model, objective, loss), gradients(model, objective, expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("size", [1, 5, 6])
def test_parts_of_a_batch_have_the_loss_and_gradients_of_the_whole(kind, size):
    model, objective = learned(kind)
    batch = small_batch(PAIRS)
    found = []
    for parts in (None, size):
        reduced = objective.reduce(model, encode_in_micro_batches(objective, model, batch, parts))
        found.append((reduced["loss"], *gradients(model, objective, reduced["loss"])))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14)


def one_of_two(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    for kind in MAKE:
        model, objective = learned(kind)
        step = nn.parallel.DistributedDataParallel(_Step(model, objective))
        loss = step(small_batch(PAIRS).split(PAIRS // 2)[rank])
        loss.backward()
        with torch.no_grad():
            # The first has 7 pairs, the other 5.
            place = (slice(7), slice(7, None))[rank]
            uneven = Batch(
                **{name: column[place] for name, column in vars(small_batch(PAIRS)).items() if name != "views"}
            )
            held_out = objective.reduce(model, objective.encode(model, uneven))["loss"]
        trained = [parameter.grad for parameter in step.parameters() if parameter.grad is not None]
        found[kind] = [loss.detach(), held_out, [*trained, *objective.buffers()]]
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


class _Step(nn.Module):
    """What Lightning hands to a strategy: the whole step, in parts."""

    def __init__(self, model, objective):
        super().__init__()
        self.model, self.objective = model, objective
        model.logit_scale.requires_grad_(False)

    def forward(self, batch):
        return self.objective.reduce(self.model, encode_in_micro_batches(self.objective, self.model, batch, 2))["loss"]


def test_processes_have_the_loss_and_gradients_of_one(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for kind in MAKE:
        assert found[0][kind][0] == found[1][kind][0], "the loss is the same to the last bit"
        model, objective = learned(kind)
        loss = objective.reduce(model, objective.encode(model, small_batch(PAIRS)))["loss"]
        expected = [*gradients(model, objective, loss), *objective.buffers()]
        for rank in range(2):
            mine, held_out, theirs = found[rank][kind]
            torch.testing.assert_close((mine, held_out), (loss.detach(), loss.detach()), rtol=1e-12, atol=0)
            for one, other in zip(theirs, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", MAKE)
def test_only_the_image_tower_and_the_head_are_trained(kind):
    model, objective = learned(kind)
    assert objective.needs == {"image"}
    assert model.text_encoder is model.text_projection is None
    with pytest.raises(ValueError, match="takes its vocabulary from the text encoder"):
        MAKE[kind]().setup(model)
    with pytest.raises(ValueError, match="no space that both are in"):
        objective.scorer(model, Words()).text_embeds(["a"])


@pytest.mark.parametrize("kind", MAKE)
def test_half_precision_does_not_reach_the_loss(kind):
    model, objective = learned(kind)
    model, objective = model.float(), objective.float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective.reduce(model, objective.encode(model, small_batch(PAIRS)))["loss"]
    assert loss.dtype == torch.float32
    exact = objective.reduce(model, objective.encode(model, small_batch(PAIRS)))["loss"]
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)


class Words:
    """A token for each of the letters a to r, between start and end."""

    context_length, vocab_size, pad_id, eos_id = CONTEXT, VOCABULARY, 0, END

    def __call__(self, texts):
        rows = torch.zeros(len(texts), CONTEXT, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [START, *(ord(word) - ord("a") for word in text.split()), END]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def decode(self, ids):
        return " ".join(chr(ord("a") + number) for number in ids)


PROMPTS = [["a b c", "a d c"], ["a c e"], ["a c f b"]]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_class_is_scored_by_what_its_words_say_beyond_their_frequency(kind):
    model, objective = learned(kind)
    batch = small_batch(40)
    objective.reduce(model, objective.encode(model, batch))
    captions = [set(words_of(*pair)) for pair in zip(batch.text, batch.length.tolist(), strict=True)]
    counts = torch.tensor([sum(word in caption for caption in captions) for word in range(VOCABULARY)])
    assert torch.equal(objective.captions_with, counts)
    features = torch.randn(5, 8, dtype=torch.float64)
    logits = features @ objective.head.weight.T + objective.head.bias
    log_p = logits.log_softmax(1) if kind == "softmax" else F.logsigmoid(logits)
    prior = (counts / (counts.sum() if kind == "softmax" else 40)).double().log()
    _, b, _, d, e, f = (log_p - prior)[:, :6].unbind(1)  # a and c are in all classes
    expected = torch.stack([(b + d) / 2, e, (f + b) / 2], dim=1)
    scores = objective.scorer(model, Words()).classes(PROMPTS)(features)
    torch.testing.assert_close(scores.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert not scores.requires_grad


def test_words_that_no_caption_had_are_said_and_left_out():
    model, objective = learned("softmax")
    objective.reduce(model, objective.encode(model, small_batch(40)))
    features, scorer = torch.randn(5, 8, dtype=torch.float64), objective.scorer(model, Words())
    with pytest.warns(UserWarning, match="no caption of the training had 'g', 'h', so classes are scored without them"):
        found = scorer.classes([["b g"], ["c"], ["h"]])(features)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = scorer.classes([["b"], ["c"]])(features)
    torch.testing.assert_close(found, torch.cat([expected, torch.zeros(5, 1)], dim=1).to(found))


def test_words_are_counted_in_training_alone():
    model, objective = learned("softmax")
    objective.eval()
    objective.reduce(model, objective.encode(model, small_batch(8)))
    with torch.no_grad():
        objective.train()
        objective.reduce(model, objective.encode(model, small_batch(8)))
    assert objective.captions_seen == 0


def test_a_class_is_scored_by_the_mean_log_probability_of_its_prompts():
    model, objective = learned("captions")
    objective.prompts_per_class = 2
    features = torch.randn(3, 8, dtype=torch.float64)
    expected = torch.zeros(3, len(PROMPTS))
    for label, own in enumerate(PROMPTS):
        for prompt in own:
            text = Words()([prompt])
            length = torch.tensor([len(prompt.split()) + 2])
            for row in range(3):
                log_p = objective.decoder(features[row : row + 1], text, length)
                expected[row, label] += (log_p / length / len(own)).item()
    scores = objective.scorer(model, Words()).classes(PROMPTS)(features)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)
    assert objective.decoder.training, "it is left in its mode"


def test_what_is_scored_at_once_is_bounded_and_changes_nothing(monkeypatch):
    model, objective = learned("captions")
    features = torch.randn(3, 8, dtype=torch.float64)
    prompts = [[prompt] for own in PROMPTS for prompt in own]
    whole = objective.scorer(model, Words()).classes(prompts)(features)
    monkeypatch.setattr("clip_lightning.objectives.caption_scoring._LOGITS", 3 * 6 * VOCABULARY)
    seen = []
    objective.decoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    torch.testing.assert_close(objective.scorer(model, Words()).classes(prompts)(features), whole)
    assert seen == [3] * len(prompts)


def test_prompts_beyond_the_limit_are_left_out_and_said():
    model, objective = learned("captions")
    features, scorer = torch.randn(3, 8, dtype=torch.float64), objective.scorer(model, Words())
    with pytest.warns(UserWarning, match="up to 2 prompts describe a class, of which the first 1 are used"):
        found = scorer.classes(PROMPTS)(features)
    assert torch.equal(found, scorer.classes([own[:1] for own in PROMPTS])(features))


def test_uniform_predictions_cost_the_log_of_the_vocabulary():
    for kind in ("softmax", "captions"):
        model, objective = learned(kind)
        for parameter in objective.parameters():
            nn.init.zeros_(parameter)
        loss = objective.reduce(model, objective.encode(model, small_batch(8)))["loss"]
        assert loss.item() == pytest.approx(math.log(VOCABULARY))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="loss 'bce' is none of 'softmax', 'sigmoid'"):
        BagOfWordsPrediction("bce")
    with pytest.raises(ValueError, match="prompts_per_class 0 must be 1"):
        Captioning(prompts_per_class=0)
    with pytest.raises(ValueError, match="num_heads 3 does not divide 16"):
        Captioning(width=16, num_heads=3).setup(small_model())


def test_a_copy_learns_alike():
    """Buffers and heads are all the state there is."""
    for kind in MAKE:
        model, objective = learned(kind)
        other = copy.deepcopy(objective)
        other.load_state_dict(objective.state_dict())
        batch = small_batch(6)
        one, two = (part.reduce(model, part.encode(model, batch))["loss"] for part in (objective, other))
        assert torch.equal(one, two)

"""The losses with all logits at once, differentiated by torch: what the tiles must equal."""

import torch
import torch.nn.functional as F


def targets(count, ids=None, image_ids=None):
    """What is positive of what: a pair's own, equal captions, and captions of equal images."""
    positive = torch.eye(count, dtype=torch.bool)
    for identity in (ids, image_ids):
        if identity is not None:
            positive |= identity[:, None] == identity[None, :]
    return positive


def dense_contrastive(image, text, scale, ids=None, image_ids=None):
    """Figure 3 of the paper; the positives of a row share the target evenly."""
    logits = scale * image @ text.T
    positive = targets(len(image), ids, image_ids).to(logits)
    target = positive / positive.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def dense_sigmoid(image, text, scale, bias, ids=None, image_ids=None):
    """Algorithm 1 of SigLIP; what has equal ids belongs together."""
    logits = scale * image @ text.T + bias
    sign = 2 * targets(len(image), ids, image_ids).to(logits) - 1
    return -F.logsigmoid(sign * logits).sum() / len(image)


def value_and_gradients(loss, *inputs):
    """The loss, and its gradients by all inputs, times a factor as it comes from above."""
    inputs = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = loss(*inputs)
    (3 * value).backward()
    return [value.detach(), *(tensor.grad / 3 for tensor in inputs)]


def embeds(n, d=8, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1).to(dtype)


def numbers(*values, dtype=torch.float64):
    return [torch.tensor(value, dtype=dtype) for value in values]

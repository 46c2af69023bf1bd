"""The example of an encoder with nothing to learn."""

import numpy as np
import pytest
import torch

from examples.oriented_gradients import OrientedGradients


def histograms(encoder, image):
    """Of one image, [orientations, rows, columns]."""
    cells = encoder.image_size // encoder.cell_size
    return encoder._histograms(image[None])[0].view(encoder.orientations, cells, cells)


def test_histograms_are_those_of_a_loop_over_pixels():
    generator = np.random.default_rng(0)
    image = generator.random((3, 16, 16))
    encoder = OrientedGradients(image_size=16, cell_size=8, orientations=6)
    expected = np.zeros((6, 2, 2))
    for row in range(16):
        for column in range(16):
            right = image[:, row, column + 1] - image[:, row, column - 1] if 0 < column < 15 else np.zeros(3)
            down = image[:, row + 1, column] - image[:, row - 1, column] if 0 < row < 15 else np.zeros(3)
            channel = int((right**2 + down**2).argmax())
            position = np.degrees(np.arctan2(down[channel], right[channel])) % 180 / 30
            for orientation in range(6):
                apart = abs(position - orientation)
                share = max(0.0, 1 - min(apart, 6 - apart))
                expected[orientation, row // 8, column // 8] += share * np.hypot(right[channel], down[channel])
    expected = np.sqrt(expected / 64)
    found = histograms(encoder, torch.from_numpy(image))
    np.testing.assert_allclose(found.numpy(), expected / np.linalg.norm(expected), atol=2e-3)


def test_an_edge_votes_for_its_direction_where_it_is():
    image = torch.zeros(3, 16, 16)
    image[:, :8, 4:] = 1.0
    found = histograms(OrientedGradients(image_size=16, cell_size=8, orientations=4), image)
    assert found[0, 0, 0] == found.max(), "a step from left to right is the first direction, in the upper left cell"
    assert found[2, 0, 1] > 0.1, "the lower edge is the one across"
    assert found[0, 1, 1] < 0.02


def test_nothing_is_trained_but_what_it_standardises_by():
    encoder = OrientedGradients(image_size=16)
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not list(encoder.parameters())
    before = encoder.eval()(images)
    encoder.train()(images)
    assert not torch.equal(encoder.eval()(images), before)
    assert before.shape == (8, encoder.output_dim)
    torch.testing.assert_close(before.norm(dim=1), torch.full((8,), (1 + 0.5**2) ** 0.5))


def test_a_cell_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="cell_size 7 does not divide image_size 48"):
        OrientedGradients(image_size=48, cell_size=7)

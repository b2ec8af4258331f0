from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlabeled.heads.mae import MAEDecoder, patchify, sincos_positions, unpatchify

small = st.integers(1, 4)


@settings(max_examples=40, deadline=None)
@given(batch=small, channels=small, rows=small, columns=small, height=small, width=small)
def test_unpatchify_undoes_patchify(batch, channels, rows, columns, height, width):
    images = torch.randn(batch, channels, rows * height, columns * width)
    patches = patchify(images, (height, width))
    assert patches.shape == (batch, rows * columns, height * width * channels)
    assert torch.equal(unpatchify(patches, (height, width), (rows, columns)), images)
    corner = images[:, :, height * (rows - 1) :, width * (columns - 1) :]  # the last patch is the lower right corner
    assert torch.equal(patches[:, -1], corner.permute(0, 2, 3, 1).flatten(1))


def test_positions_are_the_formula():
    positions = sincos_positions(3, 5, 16)
    assert positions.shape == (15, 16)
    expected = torch.tensor(
        [
            [
                wave(torch.tensor(place / 10000 ** (i / 4), dtype=torch.float64))
                for place in (row, column)
                for wave in (torch.sin, torch.cos)
                for i in range(4)
            ]
            for row in range(3)
            for column in range(5)
        ]
    )
    torch.testing.assert_close(positions, expected.float())
    assert len({tuple(p.tolist()) for p in positions}) == 15
    with pytest.raises(ValueError, match="divisible by 4"):
        sincos_positions(2, 2, 6)


def decoder(prefix=1):
    torch.manual_seed(0)
    return MAEDecoder(12, (3, 3), 4, prefix=prefix, dim=16, depth=2, heads=4).double()


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_decoder_does_not_mind_the_order_of_the_visible_patches(prefix):
    model = decoder(prefix)
    order = torch.stack([torch.randperm(9), torch.randperm(9)])
    tokens = torch.randn(2, prefix + 4, 12, dtype=torch.float64)
    predicted = model(tokens, order)
    assert predicted.shape == (2, 9, 4)
    swap = [1, 0, 3, 2]
    other = order.clone()
    other[:, :4] = order[:, swap]
    swapped = torch.cat([tokens[:, :prefix], tokens[:, prefix:][:, swap]], dim=1)
    torch.testing.assert_close(model(swapped, other), predicted)


def test_hidden_patches_differ_by_their_position_only():
    model = decoder()
    order = torch.arange(9)[None]
    first = model(torch.randn(1, 5, 12, dtype=torch.float64), order)
    assert not torch.allclose(first[0, 7], first[0, 8])
    model.positions.zero_()
    same = model(torch.randn(1, 5, 12, dtype=torch.float64), order)
    torch.testing.assert_close(same[0, 4:], same[0, 4:5].expand(5, -1))


def test_positions_are_fixed_and_not_saved():
    assert "positions" not in decoder().state_dict()
    assert "positions" not in dict(decoder().named_parameters())

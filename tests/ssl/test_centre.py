from __future__ import annotations

import torch

from unlabeled.ssl.centre import Centre


def test_targets_are_the_softmax_of_centred_logits():
    centre = Centre(5, 0.9).double()
    centre.value.copy_(torch.arange(5))
    logits = torch.randn(2, 3, 5, dtype=torch.float64)
    expected = ((logits - torch.arange(5)) / 0.07).exp()
    torch.testing.assert_close(centre.targets(logits, 0.07), expected / expected.sum(dim=2, keepdim=True))


def test_parts_of_a_step_count_as_one_mean():
    logits = torch.randn(2, 12, 5)
    whole, parts = Centre(5, 0.9), Centre(5, 0.9)
    for _ in range(2):
        whole.observe(logits)
        for share in (slice(0, 4), slice(4, 12)):
            parts.observe(logits[:, share])
        for centre in (whole, parts):
            centre.update()
    torch.testing.assert_close(whole.value, 0.19 * logits.mean(dim=(0, 1)))
    torch.testing.assert_close(parts.value, whole.value)


def test_only_the_centre_is_in_a_checkpoint_and_half_precision_does_not_reach_it():
    centre = Centre(5, 0.5)
    assert set(centre.state_dict()) == {"value"}
    with torch.autocast("cpu", torch.bfloat16):
        centre.observe(torch.full((3, 5), 1.0).bfloat16())
        assert centre.targets(torch.zeros(3, 5).bfloat16(), 0.1).dtype == torch.float32
    centre.update()
    assert torch.equal(centre.value, torch.full((5,), 0.5))

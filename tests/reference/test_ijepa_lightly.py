"""I-JEPA's predictor against lightly's, with the same weights: outputs and gradients."""

from __future__ import annotations

import torch
from lightly.models.modules import IJEPAPredictorTIMM

from unlabeled.heads.jepa import JEPAPredictor

NAMES = {"attn.qkv": "qkv", "attn.proj": "out", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}


def test_predictions_and_gradients() -> None:
    torch.manual_seed(0)
    theirs = IJEPAPredictorTIMM(num_patches=16, depth=2, mlp_dim=24, predictor_embed_dim=16, num_heads=2).double()
    ours = JEPAPredictor(24, (4, 4), prefix=0, dim=16, depth=2, heads=2).double()
    with torch.no_grad():
        theirs.decoder.pos_embed.copy_(ours.positions[None])  # theirs names the column first
        theirs.decoder.mask_token.normal_()
        for name, parameter in ours.named_parameters():
            parts = {"embed": "predictor_embed", "predict": "predictor_proj", "norm": "decoder.norm"}
            head = name.split(".")[0]
            if head in parts:
                other = name.replace(head, parts[head], 1)
            else:
                other = f"decoder.{name}"
                for old, new in NAMES.items():
                    other = other.replace(f".{new}.", f".{old}.")
            parameter.copy_(theirs.get_parameter(other).view_as(parameter))
    tokens = torch.randn(3, 5, 24, dtype=torch.float64, requires_grad=True)
    context = torch.rand(3, 16).argsort(dim=1)[:, :5]
    targets = torch.rand(3, 4, 16).argsort(dim=2)[:, :, :6]
    found = ours(tokens, context, targets)
    expected = theirs(tokens.clone(), context, list(targets.unbind(1))).view(4, 3, 6, 24).transpose(0, 1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    weights = torch.randn_like(found)
    ours_gradient, theirs_gradient = (
        torch.autograd.grad((values * weights).sum(), tokens)[0] for values in (found, expected)
    )
    torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-9, atol=1e-12)

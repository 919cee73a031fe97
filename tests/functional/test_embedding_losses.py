"""The losses of embeddings and masks: registration, gradients, compilation, guards."""

import pytest
import torch
from torch.library import opcheck

import partae_fast as pf
from partae_fast.kernels import OPS

from .common import WITHOUT_GRADIENTS

every_backend = pytest.mark.parametrize("backend", [name for name in OPS["contrastive"].backends if name != "triton"])


def draw(*shape, seed=3):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def contrastive(**changes):
    labels = (draw(2, 3, 5, seed=4) > 0).long()
    arguments = {"embeddings": draw(2, 3, 5, 4), "table": draw(6, 4), "sources": torch.tensor([[5, 0], [2, 5]])}
    return {**arguments, "labels": labels, **changes}


def affinity(**changes):
    return {"embeddings": draw(2, 9, 4), "labels": (draw(2, 9, seed=4) > 0).long(), **changes}


def ratio_mask(**changes):
    parts = draw(2, 3, 5, 2, seed=4).detach().abs()
    return {"logits": draw(2, 3, 5, 2), "mixture": parts.sum(-1), "sources": parts, **changes}


LOSSES = {pf.contrastive_loss: contrastive, pf.affinity_loss: affinity, pf.ratio_mask_loss: ratio_mask}


@every_backend
def test_opcheck(backend):
    weights = draw(2, 9, seed=5).detach().abs()
    for op, arguments in {
        "contrastive_loss": contrastive().values(),
        "affinity_loss": (*affinity().values(), weights, 2, "norm"),
        "ratio_mask_loss": ratio_mask().values(),
    }.items():
        opcheck(getattr(torch.ops.partae, op).default, (*arguments, backend), test_utils=WITHOUT_GRADIENTS)


@every_backend
def test_gradcheck_of_a_sum_of_losses(backend):
    c, a, r = contrastive(), affinity(), ratio_mask()

    def loss(embeddings, table, points, logits):
        total = 0.9 * pf.contrastive_loss(embeddings, table, c["sources"], c["labels"], backend)
        for variant in ("squared", "norm"):
            total = total + 0.3 * pf.affinity_loss(points, a["labels"], variant=variant, backend=backend)
        return total + 0.1 * pf.ratio_mask_loss(logits, r["mixture"], r["sources"], backend)

    assert torch.autograd.gradcheck(loss, (c["embeddings"], c["table"], a["embeddings"], r["logits"]))


@pytest.mark.parametrize("function", LOSSES)
def test_compiles_without_a_break(function):
    arguments = LOSSES[function]()
    compiled = torch.compile(lambda: function(**arguments), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(), function(**arguments))


@pytest.mark.parametrize("function", LOSSES)
def test_float16_is_refused(function):
    arguments = {k: v.half() if v.is_floating_point() else v for k, v in LOSSES[function]().items()}
    with pytest.raises(pf.BackendUnavailable, match=r"takes float32, .*not float16"):
        function(**arguments)


def test_norm_weighs_sources_alike():
    embeddings, labels = draw(1, 60, 3), torch.arange(60)[None] % 6 // 5  # ten of one source, fifty of the other
    weights = torch.where(labels == 1, 10.0, 50.0).double().rsqrt()
    alike = pf.affinity_loss(embeddings, labels, variant="norm")
    torch.testing.assert_close(alike, pf.affinity_loss(embeddings, labels, weights, "norm"))


def test_squared_is_zero_for_separated_sources():
    labels = torch.arange(12)[None] % 3
    embeddings = 20.0 * torch.eye(3)[labels]
    assert pf.affinity_loss(embeddings, labels, sources=3).item() == pytest.approx(0.0, abs=1e-6)
    assert pf.affinity_loss(embeddings, (labels + 1).fmod(2), sources=3).item() > 0.1


@pytest.mark.parametrize(
    ("function", "change", "says"),
    [
        (pf.contrastive_loss, {"embeddings": draw(2, 3, 5)}, r"it must be \(B, T, F, D\)"),
        (pf.contrastive_loss, {"table": draw(6, 3)}, "table has vectors of 3 numbers and embeddings 4"),
        (pf.contrastive_loss, {"labels": draw(2, 3, 5)}, "labels is of type torch.float64 and counts; give integers"),
        (pf.contrastive_loss, {"labels": torch.zeros(2, 5, 3).long()}, "give a label for each point"),
        (pf.contrastive_loss, {"sources": torch.zeros(3, 2).long()}, "the sources of each item"),
        (pf.contrastive_loss, {"table": draw(6, 4).float()}, "one floating-point type"),
        (pf.affinity_loss, {"labels": torch.zeros(2, 8).long()}, r"labels are \(2, 8\)"),
        (pf.affinity_loss, {"weights": draw(2, 9)}, r"pass weights.detach\(\)"),
        (pf.affinity_loss, {"variant": "cubed"}, "choose one of squared, norm"),
        (pf.affinity_loss, {"sources": 0}, "it must be at least 1"),
        (pf.ratio_mask_loss, {"mixture": torch.rand(2, 5, 3).double()}, r"give \(B, T, F, S\)"),
        (pf.ratio_mask_loss, {"mixture": draw(2, 3, 5)}, r"pass mixture.detach\(\)"),
    ],
)
def test_guards(function, change, says):
    with pytest.raises(ValueError, match=says) as caught:
        function(**LOSSES[function](**change))
    assert "\n" not in str(caught.value)


@every_backend
@pytest.mark.parametrize(
    ("function", "change", "says"),
    [
        (
            pf.contrastive_loss,
            {"sources": torch.tensor([[0, 6], [2, 1]])},
            "0 to 6 and the table has 6 rows",
        ),
        (pf.contrastive_loss, {"sources": torch.tensor([[0, -1], [2, 1]])}, "sources are -1 to 2"),
        (pf.contrastive_loss, {"labels": torch.full((2, 3, 5), 2)}, "labels are 2 to 2 and there are 2 sources"),
        (pf.contrastive_loss, {"labels": torch.full((2, 3, 5), -1)}, "labels are -1 to -1"),
        (pf.affinity_loss, {"labels": torch.full((2, 9), 2)}, "they must be 0 to 1"),
        (pf.affinity_loss, {"labels": torch.full((2, 9), 300), "variant": "norm"}, "labels are 300 to 300"),
    ],
)
def test_guards_of_numbers(backend, function, change, says):
    with pytest.raises(ValueError, match=says):
        function(**LOSSES[function](**change), backend=backend)

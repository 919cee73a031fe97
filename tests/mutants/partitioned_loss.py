"""Wrong partitioned losses."""

import torch

from partae_fast.kernels.partitioned_loss import cpu, eager

from . import right, wrong


def _loss(reconstruction, target, values, weights):
    """Return the loss and its gradients, with the weights of the squared latents (B, W, K)."""
    wide = torch.promote_types(values.dtype, torch.float32)
    r, t, v, weights = (tensor.to(wide) for tensor in (reconstruction, target, values, weights))
    batch = len(r)
    loss = ((r - t).square().sum() + (weights * v.square()).sum()) / batch
    gradients = (2 * (r - t) / batch).to(reconstruction.dtype), (2 * weights * v / batch).to(values.dtype)
    return loss, *(gradient.contiguous() for gradient in gradients)


def _weights(values, noise_only, foreground, penalty):
    wide = torch.promote_types(values.dtype, torch.float32)
    y, c = noise_only.to(wide)[:, None, None], foreground.to(wide)[None, None, :]
    share = c.mean()
    return (penalty * y / (share if share > 0 else 1.0) * c.square()).expand(values.shape)


@right("partitioned_loss")
def by_the_formula(reconstruction, target, values, noise_only, foreground, penalty):
    return _loss(reconstruction, target, values, _weights(values, noise_only, foreground, penalty))


@right("partitioned_loss")
def the_cpu_kernel_or_eager(reconstruction, *arguments):
    single = reconstruction.dtype in (torch.float32, torch.float64)
    return (cpu if single else eager).partitioned_loss(reconstruction, *arguments)


def _changed(name, change):
    """Register the formula with changed (values, noise_only, foreground, penalty) in the penalty as a wrong loss."""

    def mutant(reconstruction, target, values, noise_only, foreground, penalty):
        weights = _weights(values, *change(noise_only, foreground, penalty))
        return _loss(reconstruction, target, values, weights)

    mutant.__name__ = name
    wrong("partitioned_loss")(mutant)


_changed("has_a_penalty_of_its_own", lambda y, c, p: (y, c, 0.75))
_changed("caps_the_penalty_at_10", lambda y, c, p: (y, c, min(p, 10.0)))
_changed("floors_the_penalty", lambda y, c, p: (y, c, max(p, 0.1)))
_changed("rounds_labels", lambda y, c, p: (y.round(), c, p))
_changed("labels_above_0_count_whole", lambda y, c, p: ((y > 0).to(y.dtype), c, p))
_changed("squares_labels", lambda y, c, p: (y * y, c, p))
_changed("rounds_the_mask", lambda y, c, p: (y, c.round(), p))
_changed("does_not_square_the_mask", lambda y, c, p: (y, c.sqrt(), p))
_changed("labels_of_the_first_item", lambda y, c, p: (y[:1].expand(y.shape), c, p))
_changed("turns_the_labels", lambda y, c, p: (y.flip(0), c, p))
_changed("an_integer_penalty", lambda y, c, p: (y, c, int(p)))


@wrong("partitioned_loss")
def is_nan_at_penalty_0(reconstruction, target, values, noise_only, foreground, penalty):
    loss, *gradients = eager.partitioned_loss(reconstruction, target, values, noise_only, foreground, penalty)
    return loss * (penalty / penalty if penalty else torch.nan), *gradients


@wrong("partitioned_loss")
def takes_the_share_of_latents_that_are_not_0(reconstruction, target, values, noise_only, foreground, penalty):
    share, ones = foreground.double().mean(), (foreground > 0).double().mean()
    scaled = penalty * float(share / ones) if ones else penalty
    return eager.partitioned_loss(reconstruction, target, values, noise_only, foreground, scaled)


@wrong("partitioned_loss")
def does_not_punish_negative_latents(reconstruction, target, values, noise_only, foreground, penalty):
    return eager.partitioned_loss(reconstruction, target, values.clamp(min=0), noise_only, foreground, penalty)


@wrong("partitioned_loss")
def leaves_an_item_out_of_the_mean(reconstruction, target, values, noise_only, foreground, penalty):
    loss, *gradients = eager.partitioned_loss(reconstruction, target, values, noise_only, foreground, penalty)
    batch = len(values)
    return loss * (batch / max(batch - 1, 1)), *gradients


@wrong("partitioned_loss")
def leaves_out_items_from_64_on(reconstruction, target, values, noise_only, foreground, penalty):
    reconstruction = torch.cat([reconstruction[:64], target[64:]])
    return eager.partitioned_loss(reconstruction, target, values, noise_only, foreground, penalty)


@wrong("partitioned_loss")
def overwrites_the_target(reconstruction, target, values, noise_only, foreground, penalty):
    result = eager.partitioned_loss(reconstruction, target, values, noise_only, foreground, penalty)
    target.sub_(reconstruction)
    return result


@wrong("partitioned_loss")
def writes_its_gradient_into_the_reconstruction(reconstruction, target, values, noise_only, foreground, penalty):
    loss, grad_r, grad_v = eager.partitioned_loss(reconstruction, target, values, noise_only, foreground, penalty)
    return loss, reconstruction.copy_(grad_r), grad_v


@wrong("partitioned_loss")
def drops_nan_of_the_reconstruction(reconstruction, *arguments):
    return eager.partitioned_loss(reconstruction.nan_to_num(0.0), *arguments)


@wrong("partitioned_loss")
def drops_nan_of_the_latents(reconstruction, target, values, *arguments):
    return eager.partitioned_loss(reconstruction, target, values.nan_to_num(0.0), *arguments)


@wrong("partitioned_loss")
def has_a_finite_loss_always(*arguments):
    loss, *gradients = eager.partitioned_loss(*arguments)
    return loss.nan_to_num(), *gradients


@wrong("partitioned_loss")
def loss_of_123(*arguments):
    loss, *gradients = eager.partitioned_loss(*arguments)
    return torch.full_like(loss, 123.0), *gradients


@wrong("partitioned_loss")
def halves_the_gradient_of_values(*arguments):
    loss, grad_r, grad_v = eager.partitioned_loss(*arguments)
    return loss, grad_r, grad_v / 2


@wrong("partitioned_loss")
def sums_float64_in_float32(reconstruction, *arguments):
    loss, grad_r, grad_v = eager.partitioned_loss(
        reconstruction.float(), *(a.float() if isinstance(a, torch.Tensor) else a for a in arguments)
    )
    return loss.to(torch.promote_types(reconstruction.dtype, torch.float32)), *(
        g.to(reconstruction.dtype) for g in (grad_r, grad_v)
    )


@wrong("partitioned_loss")
def gives_a_loss_of_half_type(*arguments):
    loss, *gradients = eager.partitioned_loss(*arguments)
    return loss.to(gradients[0].dtype if gradients[0].dtype.itemsize < 8 else torch.float32), *gradients


@wrong("partitioned_loss")
def assumes_contiguous_labels(reconstruction, target, values, noise_only, foreground, penalty):
    if not noise_only.is_contiguous():
        noise_only = noise_only.as_strided(noise_only.shape, (1,)).nan_to_num(0.0)
    return eager.partitioned_loss(reconstruction, target, values, noise_only, foreground, penalty)


@wrong("partitioned_loss")
def is_wrong_above_a_million_numbers(reconstruction, *arguments):
    loss, *gradients = eager.partitioned_loss(reconstruction, *arguments)
    return loss * (1.01 if reconstruction.numel() > 1_000_000 else 1.0), *gradients

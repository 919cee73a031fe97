"""The kernels of dense and of curro_loss, for a batch of 128."""

from partae_fast.kernels.curro_loss import triton as curro_loss
from partae_fast.kernels.dense import triton as dense

SIZE = {"batch": 128, "inputs": 1024, "outputs": 2000, "steps": 1, "size": 128 * 1024, "bins": 1024}
OPTIONS = ("num_warps", "num_stages")


def kernels(kind: str):
    """Yield the purpose, name, kernel, arguments and options of each compilation."""
    if kind == "fp16":
        return
    flags = {"ACTIVATION": "mrelu", "DROPOUT": True, "PRECISION": "ieee" if kind == "fp32" else "tf32"}
    yield _compiled("dense", dense.dense_kernel, kind, dense.TILE, flags)
    if kind == "tf32":
        return
    for flags in ({"ACTIVATION": "mrelu", "DROPOUT": False}, {"ACTIVATION": "leaky_relu", "DROPOUT": True}):
        yield _compiled("dense_gradient", dense.dense_gradient_kernel, kind, dense.GRADIENT, flags)
    yield _compiled("curro_loss", curro_loss.curro_loss_kernel, kind, curro_loss.TILE, {})


def _compiled(name: str, kernel, kind: str, tile: dict, flags: dict):
    storage = "fp32" if kind == "tf32" else kind
    constants = {key: value for key, value in (tile | flags).items() if key not in OPTIONS}
    arguments = {}
    for parameter in kernel.arg_names:
        if parameter in constants:
            arguments[parameter] = ("constexpr", constants[parameter])
        elif parameter == "step_ptr":
            arguments[parameter] = "*i64"
        elif parameter.endswith("_ptr"):
            arguments[parameter] = "*fp32" if parameter == "partials_ptr" else f"*{storage}"
        elif parameter in ("scale", "per_item"):
            arguments[parameter] = "fp32"
        else:
            arguments[parameter] = "i32:16" if SIZE.get(parameter, 1) % 16 == 0 else "i32"
    label = " ".join(str(flag) for flag in flags.values() if isinstance(flag, str))
    return label, name, kernel, arguments, {key: tile[key] for key in OPTIONS if key in tile}

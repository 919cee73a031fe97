"""The kernels of conv2d_pool and upsample_conv2d, for the layers of Grais & Plumbley 2017 (table 1)."""

from partae_fast.kernels._triton import maps
from partae_fast.kernels.conv2d_pool import triton as pooled
from partae_fast.kernels.upsample_conv2d import triton as upsampled

# Layer, kernel, channels, filters, tile.
FORWARD = [
    ("first layer", pooled.convolve_and_pool_kernel, 1, 12, pooled.pool_tile(12, 15)),
    ("second layer", pooled.convolve_and_pool_kernel, 12, 20, pooled.pool_tile(20, 5)),
    ("fourth layer", maps.convolve_kernel, 30, 40, maps.convolve_tile(40)),
]
BACKWARD = [
    ("fourth layer", maps.gradient_of_weight_kernel, 30, 40, maps.weight_tile(40, 270)),
    ("seventh layer", maps.gradient_of_weight_kernel, 20, 108, maps.weight_tile(108, 20)),
    ("second layer", pooled.unpool_kernel, 12, 20, maps.ELEMENTS),
    ("seventh layer", upsampled.boxes_kernel, 20, 12, maps.ELEMENTS),
]


def kernels(kind: str):
    """Yield the purpose, name, kernel, arguments and options of each compilation."""
    if kind not in ("fp32", "tf32"):
        return
    precision = "ieee" if kind == "fp32" else "tf32"
    for layer, kernel, channels, filters, tile in FORWARD + (BACKWARD if kind == "fp32" else []):
        constants = {"RELU": True, "PRECISION": precision, **tile}
        pointers = {"positions_ptr": "*i32"}
        integers = {"channels": channels, "filters": filters}
        arguments = {}
        for name in kernel.arg_names:
            if name in constants:
                arguments[name] = ("constexpr", constants[name])
            elif name.endswith("_ptr"):
                arguments[name] = pointers.get(name, "*fp32")
            elif integers.get(name) == 1:
                arguments[name] = ("constexpr", 1)
            else:
                arguments[name] = "i32"
        yield layer, kernel.fn.__name__.removesuffix("_kernel"), kernel, arguments, {"num_warps": tile["num_warps"]}

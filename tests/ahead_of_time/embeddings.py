"""The kernels of contrastive, affinity and ratio_mask, for vectors of 10 and 40 numbers and two sources."""

from partae_fast.kernels._triton import embeddings
from partae_fast.kernels.affinity import triton as affinity
from partae_fast.kernels.contrastive import triton as contrastive
from partae_fast.kernels.ratio_mask import triton as ratio_mask

FLOAT32 = {"losses_ptr", "sums_ptr", "partials_ptr", "among_ptr", "across_ptr", "sizes_ptr"}
TABLE = {"BLOCK_N": 32, "BLOCK_D": 16, "num_warps": 1}


def kernels(kind: str):
    """Yield the purpose, name, kernel, arguments and options of each compilation."""
    if kind == "fp16":  # not supported
        return
    precision = {"PRECISION": {"fp32": "ieee", "tf32": "tf32x3", "bf16": "tf32"}[kind]}
    for size in (10, 40) if kind == "fp32" else (40,):
        if kind != "bf16":
            tile = embeddings.tile_of(size, affinity.LEAST) | precision
            products = tile | {"BLOCK_S": affinity.LEAST, "weights_ptr": None}
            yield _compiled(f"D{size}", "affinity_products", affinity.products_kernel, kind, products)
            yield _compiled(f"D{size}, weights", "affinity_gradient", affinity.gradient_kernel, kind, tile)
        if kind != "tf32":
            tile = embeddings.tile_of(size)
            yield _compiled(f"D{size}", "contrastive", contrastive.contrastive_kernel, kind, tile)
    if kind == "fp32":
        yield _compiled("D10", "contrastive_table", contrastive.table_kernel, kind, TABLE)
        yield _compiled("S2", "ratio_mask", ratio_mask.ratio_mask_kernel, kind, ratio_mask.tile_of(2))


def _compiled(label: str, name: str, kernel, kind: str, tile: dict):
    storage = "fp32" if kind == "tf32" else kind
    arguments = {}
    for parameter in kernel.arg_names:
        if parameter in tile:
            arguments[parameter] = ("constexpr", tile[parameter])
        elif parameter in ("labels_ptr", "sources_ptr"):
            arguments[parameter] = "*i64"
        elif parameter.endswith("_ptr"):
            arguments[parameter] = "*fp32" if parameter in FLOAT32 else f"*{storage}"
        else:
            arguments[parameter] = "fp32" if parameter == "share" else "i32"
    return label, name, kernel, arguments, {key: tile[key] for key in ("num_warps", "num_stages") if key in tile}

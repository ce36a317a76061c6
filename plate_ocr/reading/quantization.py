"""Convolutions in integers of 8 bits, where the processor multiplies those fastest.

The features that a convolution takes, from 0 up, are rounded to 256 levels, and every filter to
255 levels around 0 (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"). Levels reach to the largest feature of distorted plates, which
the export measures.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from plate_ocr.network.checkpoint import OUTDATED, WeightsError
from plate_ocr.utils import cpu_supports

if TYPE_CHECKING:
    import openvino


def integers_are_fast() -> bool:
    """Whether the processor multiplies integers of 8 bits and adds them up in one instruction.

    With AMX, which multiplies both, reading in bfloat16 alone was faster when integers were tried.
    """
    return cpu_supports("avx512_vnni", "avx_vnni") and not cpu_supports("amx_bf16")


def round_to_integers(network: "openvino.Model", largest: Sequence[float | None]) -> None:
    """Let convolutions of a network multiply integers; OpenVINO compiles it so.

    Those along one axis alone, which tell what the digits cover, are small and stay as they are.

    Args:
        network: changed in place.
        largest: the feature up to which the levels of each of the others reach, in their order, or
            `None` where it stays as it is.

    Raises:
        WeightsError: they are of another count.
    """
    from openvino import opset13 as operations

    def rounded(values, least: np.ndarray, most: np.ndarray, levels: int):
        bounds = [operations.constant(bound.astype(np.float32)) for bound in (least, most)]
        return operations.fake_quantize(values, *bounds, *bounds, levels).output(0)

    found = [
        step
        for step in network.get_ordered_ops()
        if step.get_type_name() == "Convolution" and step.input_value(1).shape[2] > 1
    ]
    if len(found) != len(largest):
        raise WeightsError(f"the network of the reader: {OUTDATED}")
    for convolution, most in zip(found, largest, strict=True):
        if most is None:
            continue
        features, filters = convolution.input_values()
        reach = np.abs(filters.get_node().get_data()).max(axis=(1, 2, 3), keepdims=True)
        features = rounded(features, np.zeros(1), np.array([most]), levels=256)
        convolution.input(0).replace_source_output(features)
        convolution.input(1).replace_source_output(rounded(filters, -reach, reach, levels=255))
    network.validate_nodes_and_infer_types()

"""The published dense peaks of cards, in TFLOPS, by the name that JAX gives them."""

H100 = {"float32": 67.0, "TF32": 494.7, "bfloat16": 989.4}
A100 = {"float32": 19.5, "TF32": 156.0, "bfloat16": 312.0}
PEAKS = {
    "NVIDIA H100 80GB HBM3": H100,  # SXM
    "NVIDIA H200": H100,
    "NVIDIA A100-SXM4-40GB": A100,
    "NVIDIA A100-SXM4-80GB": A100,
    "NVIDIA A100-PCIE-40GB": A100,
    "NVIDIA A100 80GB PCIe": A100,
    "NVIDIA L4": {"float32": 30.3, "TF32": 60.0, "bfloat16": 121.0},
    "NVIDIA GeForce RTX 4090": {"float32": 82.6, "TF32": 82.6, "bfloat16": 165.2},
}

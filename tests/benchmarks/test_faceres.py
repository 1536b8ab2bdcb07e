"""A stranger's network is read from its package's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.faceres import BLOCKS, FaceRes, read

WIDTH = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A narrow network of the same layers, in the package's form: half floats, one after the other."""
    shapes = {"conv1/convolution/merged_input": [3, 3, 3, WIDTH], "conv1_bn/batchnorm_1/sub": [WIDTH], "n": []}
    for i in range(1, BLOCKS + 1):
        shapes |= {
            f"conv_dw_{i}/depthwise_kernel": [3, 3, WIDTH, 1],
            f"conv_dw_{i}_bn/batchnorm_1/mul": [WIDTH],
            f"conv_dw_{i}_bn/batchnorm_1/sub": [WIDTH],
            f"conv_pw_{i}/convolution/merged_input": [1, 1, WIDTH, WIDTH],
            f"conv_pw_{i}_bn/batchnorm_1/sub": [WIDTH],
        }
    data, rows = b"", []
    for name, shape in shapes.items():
        kind = "int32" if name == "n" else "float16"
        # Means of neighbours and of channels, so that a picture is not lost on its way.
        values = np.full(shape, {"mul": 1.0, "sub": 0.0, "depthwise_kernel": 1 / 9}.get(name.split("/")[-1], 1 / WIDTH))
        data += (values if shape else np.array(7)).astype(kind).tobytes()
        row = {"name": name, "shape": shape, "dtype": kind if name == "n" else "float32"}
        rows.append(row if name == "n" else row | {"quantization": {"dtype": "float16"}})
    (tmp_path / "faceres.json").write_text(json.dumps({"weightsManifest": [{"paths": ["w.bin"], "weights": rows}]}))
    (tmp_path / "w.bin").write_bytes(data)
    return tmp_path


def test_weights_come_through_and_faces_become_embeddings(folder: Path) -> None:
    weights = read(folder)
    assert float(weights["n"]) == 7
    assert weights["conv_dw_3/depthwise_kernel"].shape == (3, 3, WIDTH, 1)
    found = FaceRes(weights)(torch.stack((torch.zeros(3, 224, 224), torch.ones(3, 224, 224))))
    assert found.shape == (2, WIDTH)
    assert ((found >= 0) & (found <= 6)).all()
    assert (found[1] > found[0]).all()

"""The engine: decoupling of identity and appearance, latent recomposition, vault and job table.

Conventions, once for all modules:

* image tensors are float32 RGB in [0, 1], shape (B, 3, H, W); a `Photo` holds uint8 (H, W, 3) RGB
* pixel coordinates are (x, y), x right, y down; (0, 0) is the centre of the top-left pixel
* "left" and "right" are as seen in the picture
* embeddings have unit norm
* randomness comes from a `torch.Generator` seeded on the CPU and passed in
* progress is reported by a callback `progress(step: str, fraction: float)`; `core` never prints
"""

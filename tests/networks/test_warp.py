from __future__ import annotations

import torch

from core.networks import warp


def transform(angle: float, scale: float, x: float, y: float) -> torch.Tensor:
    a = torch.tensor(angle)
    c, s = scale * a.cos(), scale * a.sin()
    return torch.stack((torch.stack((c, -s, torch.tensor(x))), torch.stack((s, c, torch.tensor(y)))))[None]


def test_similarity_is_found_and_undone() -> None:
    points = torch.rand(1, 5, 2) * 100
    matrix = transform(0.3, 1.7, 20.0, -5.0)
    found = warp.similarity(points, warp.move(points, matrix))
    assert torch.allclose(found, matrix, atol=1e-4)
    assert torch.allclose(warp.move(warp.move(points, matrix), warp.invert(matrix)), points, atol=1e-3)


def test_turning_keeps_the_point_it_is_about_but_for_the_shift() -> None:
    about, shift = torch.tensor([[30.0, 20.0]]), torch.tensor([[3.0, -1.0]])
    matrix = warp.turned(torch.tensor([torch.pi / 2]), torch.tensor([2.0]), about, shift)
    moved = warp.move(torch.stack((about, about + torch.tensor([[1.0, 0.0]])), 1), matrix)
    assert torch.allclose(moved, torch.tensor([[[33.0, 19.0], [33.0, 21.0]]]), atol=1e-5)


def test_sampling_puts_a_point_where_the_matrix_says() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 20, 30] = 1  # (x, y) = (30, 20)
    identity = transform(0.0, 1.0, 0.0, 0.0)
    assert torch.allclose(warp.sample(image, identity, (64, 64)), image, atol=1e-5)
    shifted = warp.sample(image, transform(0.0, 1.0, 5.0, -3.0), (64, 64))
    assert (shifted[0, 0] > 0.99).nonzero().tolist() == [[17, 35]]


def test_shrinking_skips_no_pixel() -> None:
    image = torch.rand(1, 3, 400, 400)
    small = warp.sample(image, transform(0.0, 0.1, -0.45, -0.45), (40, 40))
    assert torch.allclose(small.mean(), image.mean(), atol=0.01)
    assert torch.allclose(small[0, 0, 5, 7], image[0, 0, 50:60, 70:80].mean(), atol=0.05)


def test_a_crop_does_not_depend_on_others_in_the_batch() -> None:
    images = torch.rand(3, 3, 128, 128)
    matrices = torch.cat([transform(0.1, scale, 1.0, 2.0) for scale in (1.0, 0.6, 0.3)])
    together = warp.sample(images, matrices, (32, 32))
    alone = [warp.sample(images[i : i + 1], matrices[i : i + 1], (32, 32)) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_gradients_reach_the_pixels() -> None:
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    warp.sample(image, transform(0.1, 0.8, 2.0, 3.0), (32, 32)).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0

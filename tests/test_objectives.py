from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from core import objectives

MASK = torch.ones(1, 1, 64, 64)


def smooth(seed: int) -> torch.Tensor:
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=64, mode="bicubic").clamp(0.05, 0.95)


def test_structure_sees_the_drawing_not_the_light() -> None:
    x = smooth(0)
    assert float(objectives.structure(x, x, MASK)) == pytest.approx(1, abs=1e-4)
    assert float(objectives.structure(x, 0.5 * x + 0.2, MASK)) > 0.9
    assert abs(float(objectives.structure(x, smooth(1), MASK))) < 0.4
    assert float(objectives.structure(x, 1 - x, MASK)) < -0.5


def test_likeness_asks_lines_not_the_smooth_skin_between_them() -> None:
    def face(brow: slice) -> torch.Tensor:
        shading = torch.linspace(0.6, 0.61, 64).expand(1, 3, 64, 64).clone()
        shading[..., brow, 16:48] = 0.2
        return shading

    x, y = face(slice(20, 24)), face(slice(26, 30))
    noise = 0.005 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert float(objectives.likeness(x, x + noise, MASK)) > 0.9
    features = torch.zeros_like(MASK)
    features[..., 16:34, 16:48] = 1
    assert float(objectives.likeness(x, y, features)) < 0.5
    assert float(objectives.structure(x, y, MASK)) > 0.75
    faint = [0.5 + 0.06 * smooth(seed) for seed in (0, 1)]
    assert float(objectives.likeness(*faint, MASK)) < float(objectives.structure(*faint, MASK)) - 0.2


def test_visual_distance_is_zero_only_for_the_same() -> None:
    x = smooth(0)
    assert float(objectives.visual_distance(x, x, MASK)) == pytest.approx(0, abs=1e-4)
    near, far = (float(objectives.visual_distance(x, y, MASK)) for y in (x + 0.01, smooth(1)))
    assert 0 < near < far


def test_only_the_mask_counts() -> None:
    x = smooth(0)
    mask = MASK.clone()
    mask[..., 32:] = 0
    other = x.clone()
    other[..., 48:] = 0.5
    assert float(objectives.visual_distance(x, other, mask)) == pytest.approx(0, abs=1e-3)


def test_resurfacing_counts_what_comes_back_of_the_source() -> None:
    start, source = smooth(0), smooth(1)
    drawn = objectives.structure_map(start, source)
    assert float(objectives.resurfacing(start, source, drawn, MASK)) == 0
    half, whole = (float(objectives.resurfacing(a, source, drawn, MASK)) for a in ((start + source) / 2, source))
    assert 0 < half < whole


def test_hinge_and_weights() -> None:
    cosines = torch.tensor([[0.8, 0.2], [0.5, 0.6]])
    shortfall = objectives.margin_shortfall(cosines, torch.tensor([[0.7], [0.7]]))
    assert torch.allclose(shortfall, torch.tensor([[0.0, 0.5], [0.2, 0.1]]))
    weights = objectives.ensemble_weights(shortfall, 0.1)
    assert torch.allclose(weights.sum(0), torch.ones(2))
    assert weights[1, 0] > weights[0, 0]
    assert weights[0, 1] > weights[1, 1]


def test_texture_shows_on_smooth_skin_and_hides_in_detail() -> None:
    freckles = (torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2)) > 0.9) * 0.05
    skin, brow = torch.full((1, 3, 64, 64), 0.5), 0.5 + 0.2 * (torch.rand(1, 3, 64, 64) - 0.5)
    on_skin, same = (float(objectives.texture_change(x, skin, MASK)) for x in (skin + freckles, skin))
    assert same == 0
    half = torch.cat((skin, brow), -1)
    mask, spots = torch.ones(1, 1, 64, 128), torch.zeros(1, 1, 64, 128)
    left, right = spots.clone(), spots.clone()
    left[..., 8:56], right[..., 72:120] = freckles[..., 8:56], freckles[..., 8:56]
    shown, hidden = (float(objectives.texture_change(half + s, half, mask)) for s in (left, right))
    assert 0 < 3 * hidden < shown < on_skin


def test_broad_shade_is_no_texture() -> None:
    skin = torch.full((1, 3, 64, 64), 0.4)
    shade = torch.linspace(0, 0.2, 64).expand(1, 1, 64, 64)
    inner = MASK.clone()
    inner[..., :4] = inner[..., -4:] = 0
    assert float(objectives.texture_change(skin + shade, skin, inner)) < 0.05


def test_a_coarse_change_of_shape_is_perceived() -> None:
    """A slow wave that windows of a few pixels take for a change of light."""
    x = smooth(0)
    wave = 0.05 * torch.sin(torch.linspace(0, 12, 64)).view(1, 1, 1, 64).expand_as(x)
    half = MASK / 2
    alone = 2 * float(objectives.visual_distance(x + wave, x, MASK))
    assert float(objectives.perceived_distance(x, x, MASK, half)) == pytest.approx(0, abs=1e-3)
    assert float(objectives.perceived_distance(x + wave, x, MASK, half)) > 1.2 * alone


def test_attention_changes_in_shares_of_what_it_was() -> None:
    before = [torch.rand(4, 8, 8), torch.rand(4, 4, 4)]
    changes = objectives.attention_change([2 * before[0], before[1]], before, batch=2)
    assert torch.allclose(changes, torch.tensor([0.5, 0.5]))


def test_strokes_stand_out_more_than_the_same_change_spread() -> None:
    x = smooth(0)
    spread, stroke = x + 0.01, x.clone()
    stroke[..., 28:36, 28:36] += 0.01 * 64
    alike = (float((y - x).abs().sum()) for y in (spread, stroke))
    assert next(alike) == pytest.approx(next(alike), rel=1e-3)
    assert float(objectives.prominence(stroke, x)) > 10 * float(objectives.prominence(spread, x))


@pytest.mark.parametrize(("window", "stride", "padding"), [(11, 2, 0), (9, 1, 4)])
def test_means_over_windows_are_average_pooling(window: int, stride: int, padding: int) -> None:
    x = torch.rand(2, 1, 40, 33)
    pooled = F.avg_pool2d(x, window, stride, padding, count_include_pad=False)
    assert torch.allclose(objectives.box_means(x, window, stride, padding), pooled, atol=1e-6)


def test_what_is_worked_out_once_says_the_same() -> None:
    x, y = smooth(0), smooth(1)
    kept, other = objectives.Picture(x), objectives.Picture(y)
    for compare in (objectives.structure, objectives.likeness, objectives.visual_distance, objectives.texture_change):
        assert torch.equal(compare(kept, other, MASK), compare(x, y, MASK))
        assert torch.equal(compare(other, kept, MASK), compare(y, x, MASK))
    assert kept.moments(11) is kept.moments(11)

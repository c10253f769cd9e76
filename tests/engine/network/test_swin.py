from __future__ import annotations

from itertools import product

import pytest

torch = pytest.importorskip("torch")
from engine.network.swin import PatchMerging, WindowAttention, partition, relative_position_index  # noqa: E402

# map, window: divides; padded on every axis; clipped in time; clipped everywhere
SIZES = [((4, 6, 6), (2, 3, 3)), ((3, 7, 8), (2, 3, 5)), ((2, 7, 7), (4, 4, 4)), ((2, 3, 3), (4, 4, 4))]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("size", "window"), SIZES)
def test_every_token_has_one_place(size, window, shifted):
    cut = partition(size, window, shifted)
    tokens = size[0] * size[1] * size[2]
    assert sorted(cut.order[cut.order < tokens].tolist()) == list(range(tokens))
    assert torch.equal(cut.order[cut.inverse], torch.arange(tokens))
    assert cut.padded == bool((cut.order == tokens).any())


@pytest.mark.parametrize(("size", "window"), SIZES)
def test_mask_opens_only_neighbours(size, window):
    """Two tokens of a shifted window see each other exactly if they are near each other in the map."""
    cut = partition(size, window, shifted=True)
    if cut.mask is None:
        assert all(w >= s for w, s in zip(window, size, strict=True))
        return
    n = cut.window[0] * cut.window[1] * cut.window[2]
    positions = torch.tensor(list(product(*map(range, size))))
    for order, mask in zip(cut.order.reshape(-1, n), cut.mask[:, 0], strict=True):
        real = (order < len(positions)).nonzero().flatten()
        there = positions[order[real]]
        near = (there[:, None] - there[None]).abs() < torch.tensor(cut.window)
        assert torch.equal(mask[real][:, real] == 0, near.all(-1))


def test_relative_position_index():
    window = (2, 3, 4)
    index = relative_position_index(window)
    places = torch.tensor(list(product(*map(range, window))))
    offsets = {}
    for (i, a), (j, b) in product(enumerate(places.tolist()), repeat=2):
        offset = tuple(x - y for x, y in zip(a, b, strict=True))
        assert offsets.setdefault(index[i, j].item(), offset) == offset  # one row, one offset
    assert sorted(offsets) == list(range(3 * 5 * 7))


@pytest.mark.parametrize("shifted", [False, True])
@torch.no_grad()
def test_attention_stays_inside_its_window(shifted):
    """A changed token changes exactly the tokens that share its window and region."""
    size, window = (2, 6, 6), (2, 3, 3)
    torch.manual_seed(0)
    cut = partition(size, window, shifted)
    attention = WindowAttention(8, 2, window, cut).eval()
    x = torch.randn(1, *size, 8)
    changed = x.clone()
    changed[0, 1, 2, 2] += 1
    seen = (attention(changed) - attention(x)).abs().amax(-1)[0] > 0
    expected = torch.zeros(size, dtype=torch.bool)
    rows = slice(1, 4) if shifted else slice(0, 3)  # windows of 3, shifted by 1
    expected[:, rows, rows] = True
    assert torch.equal(seen, expected)


@torch.no_grad()
def test_merging_takes_the_published_order_of_neighbours():
    merging = PatchMerging(1)
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    x = torch.arange(6.0).reshape(1, 1, 2, 3, 1)  # odd columns: one of zeros is added
    assert merging(x)[0, 0, 0].tolist() == [[0, 3, 1, 4], [2, 5, 0, 0]]

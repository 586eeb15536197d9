"""The vector quantiser: values against slow versions, learning, revival, state."""

import os
import socket

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import multiprocessing

from omniflow.errors import ConfigError
from omniflow.models import quantiser as quantiser_module
from omniflow.models.quantiser import (
    VectorQuantiser,
    code_perplexity,
    first_least,
    rotate_to,
    tally_by_products,
    tally_in_order,
)


def clustered(batch, clusters=32, dim=8, seed=0):
    """Vectors [batch, dim] around fixed centres, a fresh draw each call."""
    centres = 3.0 * torch.randn(clusters, dim, generator=torch.Generator().manual_seed(seed))
    return centres[torch.randint(clusters, (batch,))] + 0.1 * torch.randn(batch, dim)


def test_perplexity_spans_collapse_to_uniform():
    assert code_perplexity(torch.zeros(24, dtype=torch.long), 8) == pytest.approx(1.0)
    assert code_perplexity(torch.arange(8).repeat(3), 8) == pytest.approx(8.0)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_perplexity_is_exp_of_the_entropy(codes):
    shares = [codes.count(code) / len(codes) for code in set(codes)]
    entropy = -sum(share * torch.tensor(share).log().item() for share in shares)
    expected = torch.tensor(entropy).exp().item()
    assert code_perplexity(torch.tensor(codes), 16) == pytest.approx(expected, rel=1e-4)


def test_the_nearest_code_is_chosen():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 40).eval()
    vectors = torch.randn(3, 5, 8)
    output = quantiser(vectors)
    differences = vectors[:, :, None] - quantiser.codebook
    expected = differences.square().sum(dim=-1).argmin(dim=-1)
    assert torch.equal(output.codes, expected)
    assert torch.equal(output.latents, quantiser.codebook[expected])
    assert output.loss.item() == pytest.approx(
        0.25 * F.mse_loss(vectors, output.latents).item(), rel=1e-6
    )


def test_how_many_vectors_are_looked_at_a_time_makes_no_difference(monkeypatch):
    torch.manual_seed(0)
    quantiser, vectors = VectorQuantiser(8, 40).eval(), torch.randn(23, 8)
    whole = quantiser(vectors).codes
    # Five rows of 40, so that the last part is a smaller one; then less than one row.
    for held in (200, 1):
        monkeypatch.setattr(quantiser_module, "_HELD", {"cpu": held})
        assert torch.equal(quantiser(vectors).codes, whole)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_counts_and_sums_are_the_same_by_products(rows):
    torch.manual_seed(0)
    vectors, codes = torch.randn(23, 8), torch.randint(7, (23,))
    counts, sums = tally_in_order(vectors, codes, 9)
    assert counts.tolist() == [codes.tolist().count(code) for code in range(9)]
    expected = torch.stack([vectors[codes == code].sum(dim=0) for code in range(9)])
    torch.testing.assert_close(sums, expected)
    by_products = tally_by_products(vectors, codes, 9, rows=rows)
    assert torch.equal(by_products[0], counts)
    # Float32 sums in another order.
    torch.testing.assert_close(by_products[1], sums, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gradient", ["rotation", "straight-through"])
def test_training_puts_out_the_code_that_evaluation_does(gradient):
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 16, gradient=gradient)
    vectors = torch.randn(2, 6, 8)
    codebook = quantiser.codebook.clone()
    output = quantiser(vectors)
    # Two roundings of float32 apart: vectors + (code - vectors), or a product of reflections.
    torch.testing.assert_close(output.latents, codebook[output.codes], rtol=1e-5, atol=1e-5)


def test_straight_through_hands_gradients_back_unchanged():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 16, gradient="straight-through")
    vectors = torch.randn(2, 6, 8, requires_grad=True)
    weights = torch.randn(2, 6, 8)
    (quantiser(vectors).latents * weights).sum().backward()
    torch.testing.assert_close(vectors.grad, weights)


def test_the_commitment_pulls_vectors_to_their_codes():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 16, commitment_weight=0.5)
    vectors = torch.randn(2, 6, 8, requires_grad=True)
    codebook = quantiser.codebook.clone()
    output = quantiser(vectors)
    output.loss.backward()
    difference = vectors.detach() - codebook[output.codes]
    torch.testing.assert_close(vectors.grad, 0.5 * 2.0 * difference / vectors.numel())


def test_rotation_hands_gradients_back_turned_and_scaled():
    torch.manual_seed(0)
    source = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 4, dtype=torch.float64)
    # The rotation in the plane of both by exp of its generator, an independent way to write it.
    unit = F.normalize(source.detach(), dim=-1)[0]
    goal = F.normalize(target, dim=-1)[0]
    across = F.normalize(goal - (goal @ unit) * unit, dim=0)
    generator = torch.outer(across, unit) - torch.outer(unit, across)
    rotation = torch.linalg.matrix_exp(torch.arccos(unit @ goal) * generator)
    scale = target.norm() / source.detach().norm()
    weights = torch.randn(1, 4, dtype=torch.float64)

    output = rotate_to(source, target)
    (output * weights).sum().backward()
    torch.testing.assert_close(output.detach(), target)
    torch.testing.assert_close(source.grad, scale * weights @ rotation)


@pytest.mark.parametrize("vector", [[0.0, 0.0, 0.0], [-1.0, -2.0, -3.0], [1.0, 2.0, 3.0]])
def test_rotation_stays_finite_where_it_is_not_defined(vector):
    vectors = torch.tensor([vector], requires_grad=True)
    output = rotate_to(vectors, torch.tensor([[1.0, 2.0, 3.0]]))
    output.sum().backward()
    assert output.isfinite().all()
    assert vectors.grad.isfinite().all()


@pytest.mark.parametrize("codes", [64, 100, 192])
def test_the_first_of_several_least_numbers_is_found(codes):
    torch.manual_seed(0)
    # Few values: every row has many least numbers, in several groups.
    rows = torch.randint(0, 4, (50, codes)).float()
    rows[7, 70 % codes] = torch.nan
    assert torch.equal(first_least(rows), rows.argmin(dim=1))
    assert first_least(rows[:0]).shape == (0,)


def test_no_vectors_have_no_codes():
    codes = VectorQuantiser(8, 128).nearest(torch.zeros(0, 8))
    assert codes.shape == (0,)


def test_a_code_moves_to_the_running_mean_of_its_vectors():
    quantiser = VectorQuantiser(1, 2, decay=0.5, revive_after=0)
    quantiser.codebook.copy_(torch.tensor([[0.0], [100.0]]))
    quantiser.usage.copy_(torch.tensor([2.0, 3.0]))
    quantiser(torch.tensor([[3.0], [5.0]]))
    # (0.5 * 2 * 0 + 0.5 * (3 + 5)) / (0.5 * 2 + 0.5 * 2)
    torch.testing.assert_close(quantiser.codebook, torch.tensor([[2.0], [100.0]]))
    torch.testing.assert_close(quantiser.usage, torch.tensor([2.0, 1.5]))


def test_unused_codes_stay_where_they_are_bit_for_bit():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 64, revive_after=0)
    before = quantiser.codebook.clone()
    codes = quantiser(torch.randn(20, 8)).codes
    used = torch.zeros(64, dtype=torch.bool).index_fill_(0, codes, True)
    assert torch.equal(quantiser.codebook[~used], before[~used])
    assert not (quantiser.codebook[used] == before[used]).any()


def test_evaluation_changes_nothing():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 16)
    quantiser(torch.randn(64, 8))
    quantiser.eval()
    before = {name: value.clone() for name, value in quantiser.state_dict().items()}
    random_state = torch.get_rng_state()
    first, second = (quantiser(torch.ones(3, 8)) for _ in range(2))
    assert torch.equal(first.latents, second.latents)
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in quantiser.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_revival_brings_a_collapsed_codebook_back():
    torch.manual_seed(0)
    quantisers = {after: VectorQuantiser(8, 32, revive_after=after) for after in (0, 8)}
    for quantiser in quantisers.values():
        # One code amid the data, the others where no vector ever comes.
        quantiser.codebook.fill_(1e3)
        quantiser.codebook[0] = 0.0
        quantiser.idle.zero_()
        quantiser(clustered(128))
        assert quantiser.statistics() == {"code_perplexity": pytest.approx(1.0), "dead_codes": 31.0}
        for _ in range(60):
            quantiser(clustered(128))
    assert quantisers[0].statistics()["dead_codes"] == 31
    assert quantisers[8].statistics()["dead_codes"] <= 6
    assert quantisers[8].statistics()["code_perplexity"] > 20


def test_the_codebook_is_filled_from_the_first_vectors():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 64)
    vectors = 5.0 + torch.randn(200, 8)
    quantiser(vectors)
    assert torch.cdist(quantiser.codebook, vectors).min(dim=1).values.max() < 4.0
    assert len(quantiser.codebook.unique(dim=0)) == 64


def test_more_dead_codes_than_vectors_wait_for_their_turn():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(4, 100)
    untouched = quantiser.codebook.clone()
    quantiser(torch.randn(30, 4))
    changed = (quantiser.codebook != untouched).any(dim=1)
    assert 30 <= changed.sum() <= 60
    assert quantiser.idle[~changed].isinf().all()


def test_a_replaced_code_that_nobody_takes_is_replaced_again_sooner():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(2, 2, revive_after=8.0)
    quantiser.codebook.copy_(torch.tensor([[0.0, 0.0], [50.0, 50.0]]))
    replaced = []
    for _ in range(30):
        # The second code is put out of reach each time; one vector a step is half a sweep.
        quantiser.codebook[1] = 50.0
        quantiser(torch.zeros(1, 2))
        replaced.append(bool(quantiser.codebook[1, 0] != 50.0))
    steps = [step for step, changed in enumerate(replaced) if changed]
    # At once, as the codebook starts out dead; then when 2 of the 8 sweeps are exceeded.
    assert steps == [0, 5, 10, 15, 20, 25]


def test_a_code_in_use_is_never_replaced():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(2, 4, revive_after=1.0)
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * 10
    quantiser.codebook.copy_(corners)
    for _ in range(50):
        quantiser(corners)
    assert torch.equal(quantiser.codebook, corners)


def test_statistics_count_fresh_codes_that_nobody_chose_as_dead():
    torch.manual_seed(0)
    quantiser = VectorQuantiser(4, 16)
    for _ in range(20):
        quantiser(torch.ones(8, 4))
    statistics = quantiser.statistics()
    assert statistics["code_perplexity"] == pytest.approx(1.0, abs=0.01)
    assert statistics["dead_codes"] >= 14


def test_statistics_before_any_step_say_that_nothing_is_in_use():
    statistics = VectorQuantiser(4, 16).statistics()
    assert statistics == {"code_perplexity": pytest.approx(1.0), "dead_codes": 16.0}


def test_a_step_never_waits_for_the_device():
    # The meta device has no values: reading one, or a shape that depends on one, raises.
    quantiser = VectorQuantiser(8, 16).to("meta")
    vectors = torch.randn(2, 5, 8, device="meta", requires_grad=True)
    output = quantiser(vectors)
    (output.latents.sum() + output.loss).backward()
    assert vectors.grad.shape == (2, 5, 8)
    assert output.codes.shape == (2, 5)


def test_autocast_leaves_the_inside_in_float32():
    torch.manual_seed(0)
    plain, cast = VectorQuantiser(8, 64), VectorQuantiser(8, 64)
    cast.load_state_dict(plain.state_dict())
    vectors = torch.randn(100, 8)
    state = torch.get_rng_state()
    expected = plain(vectors)
    torch.set_rng_state(state)
    with torch.autocast("cpu", torch.bfloat16):
        output = cast(vectors)
    assert output.latents.dtype == output.loss.dtype == torch.float32
    assert torch.equal(output.latents, expected.latents)
    assert torch.equal(cast.codebook, plain.codebook)


def test_a_cast_moves_the_state_but_does_not_round_it():
    quantiser = VectorQuantiser(8, 16)
    before = quantiser.codebook.clone()
    quantiser.to(torch.bfloat16)
    assert quantiser.codebook.dtype == torch.float32
    assert torch.equal(quantiser.codebook, before)
    assert quantiser.to("meta", torch.float16).codebook.device.type == "meta"
    assert quantiser(torch.randn(3, 8, device="meta").bfloat16()).latents.dtype == torch.float32


def test_a_saved_quantiser_continues_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    quantiser = VectorQuantiser(8, 64, revive_after=1.0)
    for _ in range(10):
        quantiser(torch.randn(48, 8))
    save_file(quantiser.state_dict(), tmp_path / "state.safetensors")
    random_state = torch.get_rng_state()
    resumed = VectorQuantiser(8, 64, revive_after=1.0)
    resumed.load_state_dict(load_file(tmp_path / "state.safetensors"))
    for one in (quantiser, resumed):
        torch.set_rng_state(random_state)
        for _ in range(10):
            one(torch.randn(48, 8))
    for name, value in quantiser.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("codebook_size", 1, "codebook_size is 1, expected a whole number >= 2"),
        ("commitment_weight", -0.1, "commitment_weight is -0.1, expected a number >= 0"),
        ("commitment_weight", float("nan"), "commitment_weight is nan, expected a number >= 0"),
        ("decay", 1.0, r"decay is 1.0, expected a number in \[0, 1\)"),
        ("decay", -0.5, r"decay is -0.5, expected a number in \[0, 1\)"),
        ("revive_after", -1, "revive_after is -1, expected a number >= 0"),
        ("gradient", "gumbel", "gradient is 'gumbel', expected straight-through or rotation"),
    ],
)
def test_options_out_of_range_are_refused(option, value, expected):
    with pytest.raises(ConfigError, match=expected):
        VectorQuantiser(**{"dim": 4, "codebook_size": 8, option: value})


def _learn_on_rank(rank, port, folder):
    # A forked process must not use the thread pool of its parent.
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    quantiser = VectorQuantiser(4, 32, revive_after=2.0)
    torch.manual_seed(1 + rank)
    for _ in range(5):
        quantiser(torch.randn(20 + 4 * rank, 4))
    save_file(quantiser.state_dict(), f"{folder}/{rank}.safetensors")
    torch.distributed.destroy_process_group()


def test_two_processes_share_one_codebook(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(
        _learn_on_rank, (port, str(tmp_path)), nprocs=2, start_method="fork"
    )
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    # 44 vectors a step from both: the running average of usage says so.
    kept = 1 - 0.99**5
    assert first["usage"].sum() <= 44 * kept + 1e-4
    assert first["usage"].sum() > 24 * kept

"""Decoding latents: the same text in any company, and what transformers' `generate` makes."""

import pytest
import torch

from omniflow.errors import ConfigError
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.models import decode_rows as module
from omniflow.models.decode_rows import decode_rows
from omniflow.models.decoder_steps import DecoderSteps
from omniflow.models.static_cache import StaticCache
from omniflow.models.text_vae import TextVAE, TextVAEConfig
from omniflow.models.token_choice import drawn, likeliest

LLAMA = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3, "initializer_range": 0.6,
}  # fmt: skip
GREEDY = TextDecoding(max_new_tokens=20)
DRAWN = TextDecoding(max_new_tokens=20, temperature=0.9, top_k=12, top_p=0.9)
BEAMS = TextDecoding(max_new_tokens=20, num_beams=3)


@pytest.fixture(scope="module")
def vae():
    """A random text VAE whose key heads are shared, and whose texts end at different lengths."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        vae = TextVAE(TextVAEConfig(llama=LLAMA, vae_dim=8, vae_hidden_size=24, n_tokens=4), None)
        vae.lm_head.weight.data[2] *= 2
        return vae.eval()


@pytest.fixture(scope="module")
def latents():
    return torch.randn(11, 4, 8, generator=torch.Generator().manual_seed(5))


def alone(vae, latents, decoding):
    return [
        decode_rows(vae, latents[row : row + 1], decoding, [row])[0] for row in range(len(latents))
    ]


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN, BEAMS], ids=["greedy", "drawn", "beams"])
@pytest.mark.parametrize("size", [2, 4, 11])
def test_a_text_does_not_depend_on_the_batch(vae, latents, decoding, size):
    texts = [
        text
        for start in range(0, len(latents), size)
        for text in decode_rows(
            vae, latents[start : start + size], decoding, range(start, len(latents))[:size]
        )
    ]
    assert texts == alone(vae, latents, decoding)
    assert len({len(text) for text in texts}) > 2


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN, BEAMS], ids=["greedy", "drawn", "beams"])
def test_not_even_where_a_batch_computes_otherwise(vae, latents, decoding, monkeypatch):
    exact = alone(vae, latents, decoding)
    read, doubted = DecoderSteps.read, []

    def noisy(self, embeddings):
        logits = read(self, embeddings)
        if len(logits) == decoding.num_beams:
            return logits
        return logits + (torch.rand_like(logits) - 0.5) * 0.02

    def made(*arguments):
        texts, doubtful = original(*arguments)
        doubted.extend(doubtful)
        return texts, doubtful

    original = module._made
    monkeypatch.setattr(module, "_made", made)
    monkeypatch.setattr(DecoderSteps, "read", noisy)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # Without the second look, noise changes texts.
        monkeypatch.setattr(module, "closeness", lambda dtype: 0.0)
        careless = [decode_rows(vae, latents, decoding, range(11)) for _ in range(4)]
        assert any(texts != exact for texts in careless)
        monkeypatch.setattr(module, "closeness", lambda dtype: 0.2)
        for _ in range(4):
            assert decode_rows(vae, latents, decoding, range(11)) == exact
    assert doubted


@pytest.mark.parametrize(
    ("decoding", "options"),
    [
        (GREEDY, {}),
        (BEAMS, {"num_beams": 3}),
        (
            TextDecoding(max_new_tokens=7, num_beams=4, length_penalty=0.5),
            {"num_beams": 4, "length_penalty": 0.5},
        ),
    ],
    ids=["greedy", "beams", "penalty"],
)
def test_texts_are_those_of_transformers(vae, latents, decoding, options):
    ours = decode_rows(vae, latents, decoding)
    theirs = vae.generate(latents, max_new_tokens=decoding.max_new_tokens, **options).tolist()
    for text, padded in zip(ours, theirs, strict=True):
        assert padded[: len(text)] == text
        assert set(padded[len(text) :]) <= {3}


def test_draws_follow_the_softmax_and_the_seed(vae, latents):
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).repeat(20_000, 1)
    uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1))

    def shares(**options):
        decoding = TextDecoding(temperature=0.7, **options)
        ids = drawn(logits, uniform, decoding, 1e-3).ids
        return torch.bincount(ids, minlength=4) / len(ids)

    softmax = (logits[0] / 0.7).softmax(0)
    torch.testing.assert_close(shares(), softmax, atol=0.01, rtol=0)
    two = torch.cat([logits[0, :2] / 0.7, torch.full((2,), -torch.inf)]).softmax(0)
    torch.testing.assert_close(shares(top_k=2), two, atol=0.01, rtol=0)
    # 0.757 and 0.181 are needed for 0.9, and the first alone for 0.7.
    torch.testing.assert_close(shares(top_p=0.9), two, atol=0.01, rtol=0)
    assert shares(top_p=0.7)[0] == 1
    again, other = (decode_rows(vae, latents, DRAWN, range(n, n + 11)) for n in (0, 50))
    assert decode_rows(vae, latents, DRAWN, range(11)) == again != other


def test_what_came_close_is_told():
    scores = torch.tensor([[1.0, 1.05, 0.0], [1.0, 2.0, 0.0]])
    assert likeliest(scores, 0.1).ids.tolist() == [1, 1]
    assert likeliest(scores, 0.1).is_close.tolist() == [True, False]
    # The second and third token are alike, and either may be the one of the two that is drawn from.
    logits = torch.tensor([[1.0, 0.5, 0.5001, -9.0]])
    decoding = TextDecoding(temperature=1.0, top_k=2)
    towards = torch.tensor([[0.1, 0.999, 0.01, 0.01]])
    assert drawn(logits, towards, decoding, 1e-3).is_close.tolist() == [True]
    assert drawn(logits, towards.flip(1).roll(1, 1) * 0 + 0.5, decoding, 1e-3).ids.tolist() == [0]


def test_finished_texts_leave_the_batch(vae, latents, monkeypatch):
    read, widths = DecoderSteps.read, []

    def counted(self, embeddings):
        widths.append(len(embeddings))
        return read(self, embeddings)

    monkeypatch.setattr(DecoderSteps, "read", counted)
    decode_rows(vae, latents, GREEDY)
    assert widths[0] == 11
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 5


def test_the_cache_keeps_its_memory_and_what_is_wanted():
    like = torch.zeros(1)
    cache = StaticCache(layers=1, rows=3, heads=1, capacity=4, head_dim=2, like=like)
    first = torch.arange(12.0).view(3, 1, 2, 2)
    place = cache.extend(0, first, -first)[0].data_ptr()
    cache.advance(2)
    cache.keep(torch.tensor([2, 0]))
    keys, values = cache.extend(0, torch.full((2, 1, 1, 2), 7.0), torch.full((2, 1, 1, 2), 8.0))
    assert keys.data_ptr() == place
    assert keys[:, 0].tolist() == [
        [[8, 9], [10, 11], [7, 7]],
        [[0, 1], [2, 3], [7, 7]],
    ]
    assert values[0, 0].tolist() == [[-8, -9], [-10, -11], [8, 8]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature is -1, expected a number >= 0"),
        ({"top_p": 0.0, "temperature": 1}, r"top_p is 0.0, expected a number in \(0, 1\]"),
        ({"top_k": 5}, "top_k is 5, expected a temperature above 0, or 0"),
        ({"num_beams": 2, "temperature": 0.5}, "num_beams is 2, expected 1 with a temperature"),
        ({"num_beams": 0}, "num_beams is 0, expected a whole number >= 1"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TextDecoding(**options)

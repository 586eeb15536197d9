"""The Q-Former: against a slow version of its formulas, and what its design promises."""

import math

import pytest
import torch

from omniflow.errors import ConfigError
from omniflow.models.qformer import QFormer, is_legacy_key


@pytest.fixture
def qformer():
    torch.manual_seed(0)
    module = QFormer(12, 7, num_layers=4, num_heads=3, intermediate_size=20)
    # Standard initialisation leaves norms at one and zero, where swapping two goes unseen.
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module.eval()


@pytest.fixture
def inputs():
    generator = torch.manual_seed(1)
    return torch.randn(2, 4, 12, generator=generator), torch.randn(2, 6, 7, generator=generator)


def slow_version(weights, queries, states, *, heads):
    """The same block by block, in plain matrix products and with explicit softmax."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (x.var(-1, keepdim=True, unbiased=False) + 1e-12).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attend(name, x, context):
        parts = [
            linear(f"{name}.attention.{part}", source).chunk(heads, dim=-1)
            for part, source in (("query", x), ("key", context), ("value", context))
        ]
        mixed = [
            (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1) @ v
            for q, k, v in zip(*parts, strict=True)
        ]
        out = linear(f"{name}.output.dense", torch.cat(mixed, dim=-1))
        return norm(f"{name}.output.LayerNorm", out + x)

    x = norm("layernorm", queries)
    for index in range(4):
        block = f"encoder.layer.{index}"
        x = attend(f"{block}.attention", x, x)
        if index % 2 == 0:
            x = attend(f"{block}.crossattention", x, states)
        wide = linear(f"{block}.intermediate_query.dense", x)
        wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        narrow = linear(f"{block}.output_query.dense", wide)
        x = norm(f"{block}.output_query.LayerNorm", narrow + x)
    return x


def test_result_equals_the_formulas(qformer, inputs):
    queries, states = (tensor.double() for tensor in inputs)
    expected = slow_version(qformer.double().state_dict(), queries, states, heads=3)
    torch.testing.assert_close(qformer(queries, states), expected, atol=1e-10, rtol=0)


def test_only_every_second_block_reads_the_states(qformer):
    reading = [block.crossattention is not None for block in qformer.encoder.layer]
    assert reading == [True, False, True, False]
    sparse = QFormer(12, 7, num_layers=5, num_heads=3, cross_attention_every=3)
    assert [block.crossattention is not None for block in sparse.encoder.layer] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_order_of_the_states_does_not_matter(qformer, inputs):
    queries, states = inputs
    shuffled = states[:, torch.tensor([3, 0, 5, 1, 4, 2])]
    torch.testing.assert_close(qformer(queries, shuffled), qformer(queries, states))
    assert not torch.allclose(qformer(queries, states + 1), qformer(queries, states), atol=1e-3)


def test_dropout_acts_while_training_only(qformer, inputs):
    assert torch.equal(qformer(*inputs), qformer(*inputs))
    qformer.train()
    assert not torch.allclose(qformer(*inputs), qformer(*inputs), atol=1e-3)
    without = QFormer(12, 7, num_layers=4, num_heads=3, intermediate_size=20, dropout=0.0).train()
    assert torch.equal(without(*inputs), without(*inputs))


def test_dropout_also_acts_on_attention_weights(qformer, inputs):
    for module in qformer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    qformer.train()
    assert not torch.allclose(qformer(*inputs), qformer(*inputs), atol=1e-3)


def test_standard_sizes_are_those_of_blip2():
    with torch.device("meta"):
        module = QFormer(24, 20)
    assert len(module.encoder.layer) == 6
    assert module.encoder.layer[0].attention.attention.num_heads == 12
    assert module.encoder.layer[0].intermediate_query.dense.weight.shape == (3072, 24)
    assert module.encoder.layer[0].crossattention.attention.key.weight.shape == (24, 20)


@pytest.mark.parametrize(
    ("key", "legacy"),
    [
        ("qformer.encoder.layer.0.intermediate.dense.weight", True),
        ("text_decoder.qformer.encoder.layer.5.output.LayerNorm.bias", True),
        ("qformer.encoder.layer.0.intermediate_query.dense.weight", False),
        ("qformer.encoder.layer.0.output_query.dense.weight", False),
        ("qformer.encoder.layer.0.attention.output.dense.weight", False),
        ("notqformer.encoder.layer.0.output.dense.weight", False),
    ],
)
def test_only_the_text_branch_counts_as_legacy(key, legacy):
    assert is_legacy_key(key) is legacy


def test_none_of_our_own_keys_counts_as_legacy(qformer):
    assert not any(is_legacy_key(f"qformer.{key}") for key in qformer.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 5}, "hidden_size is 12, expected a multiple of the 5 heads"),
        ({"num_heads": 3, "dropout": 1.0}, "dropout is 1.0, expected a number in [0, 1)"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        QFormer(12, 7, **options)
    assert str(error.value) == message

"""Words and n-grams: what is one, in several scripts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import ConfigError
from omniflow.metrics.ngrams import NgramKeys, orders_of
from omniflow.metrics.words import choose_tokenizer, has_unspaced_script, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red circle, left of it!", ["a", "red", "circle", "left", "of", "it"]),
        ("a medium-sized T-shirt -- 3.5 or 1,000", ["a", "medium-sized", "t-shirt", "3.5", "or",
                                                    "1,000"]),
        ("The dog's bone; don't", ["the", "dog", "'s", "bone", "do", "n't"]),
        ("they\u2019ve", ["they", "'ve"]),
        ("the end.Next", ["the", "end", "next"]),
        ("Über große Kreise", ["über", "große", "kreise"]),
        ("紅色圓圈。a red", ["紅", "色", "圓", "圈", "a", "red"]),
        ("赤いまる、カナ", ["赤", "い", "ま", "る", "カ", "ナ"]),
        ("빨간 원", ["빨간", "원"]),
        ("красный круг", ["красный", "круг"]),
        ("लाल वृत्त।", ["लाल", "वृत्त"]),
        ("dog🐶👍🏽 👨‍👩‍👧🇩🇪 ❤️", ["dog", "🐶", "👍🏽", "👨‍👩‍👧", "🇩🇪", "❤️"]),
        ("... ,;!", []),
        ("", []),
    ],
)  # fmt: skip
def test_words_of_several_scripts(text, words):
    assert split_words(text) == words


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_whatever_a_text_holds_it_has_words_without_spaces(text):
    for word in split_words(text):
        assert word
        assert not any(letter.isspace() for letter in word)


def test_scripts_without_spaces_are_told():
    assert has_unspaced_script("a 圓")
    assert not has_unspaced_script("große Kreise 🐶 빨간")


def test_an_unknown_tokenizer_is_refused():
    with pytest.raises(ConfigError, match=r"(?s)tokenizer is 'word'.*did you mean: words"):
        choose_tokenizer("word")


@settings(deadline=None, max_examples=50)  # the first example pays for importing numpy
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=7), min_size=2, max_size=5))
def test_two_keys_are_the_same_where_the_words_are(texts):
    ngrams = NgramKeys()
    known = {}
    for words in texts:
        keys = ngrams.of(words)
        plain = [
            tuple(words[start : start + order])
            for order in range(1, 5)
            for start in range(len(words) - order + 1)
        ]
        assert orders_of(keys).tolist() == [len(ngram) - 1 for ngram in plain]
        for ngram, key in zip(plain, keys.tolist(), strict=True):
            assert known.setdefault(ngram, key) == key
    assert len(set(known.values())) == len(known)

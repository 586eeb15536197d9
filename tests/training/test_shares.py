"""Steps that processes share: alike only if each calls the head as often as the others."""

import pytest

from omniflow.training.step import Shares


class Two:
    """This process and another one."""

    count = 2

    def __init__(self, other):
        self.other = other

    def gather(self, here):
        return [here, self.other]


@pytest.mark.parametrize(
    ("counts", "passes", "are_alike"),
    [
        ({"text": 4.0, "image": 1.0}, 1, True),
        ({"text": 4.0, "image": 1.0}, 2, False),
        ({"text": 4.0}, 1, False),
    ],
)
def test_processes_are_alike_in_terms_and_in_passes_of_the_head(counts, passes, are_alike):
    other = ([{"text": 2.0, "image": 3.0}], (1,))
    shares = Shares.of([counts], Two(other), [passes])
    assert shares.are_alike is are_alike
    assert shares.totals == {"text": counts["text"] + 2, "image": counts.get("image", 0) + 3}

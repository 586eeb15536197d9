"""ROUGE-1: words in common."""

from omniflow.metrics.rouge import Rouge


class Rouge1(Rouge):
    """Mean ROUGE-1 F1 in [0, 1]: words in common, in any order.

    Of several references, the one that fits best counts. Only a to z and digits are read.
    """

    measure = "rouge1"

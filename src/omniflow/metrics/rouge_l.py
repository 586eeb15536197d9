"""ROUGE-L: the longest common subsequence."""

from omniflow.metrics.rouge import Rouge


class RougeL(Rouge):
    """Mean ROUGE-L F1 in [0, 1]: the longest sequence of words that both have in this order.

    Of several references, the one that fits best counts. Only a to z and digits are read.
    """

    measure = "rougeL"

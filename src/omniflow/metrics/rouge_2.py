"""ROUGE-2: pairs of neighbouring words in common."""

from omniflow.metrics.rouge import Rouge


class Rouge2(Rouge):
    """Mean ROUGE-2 F1 in [0, 1]: pairs of neighbouring words in common.

    Of several references, the one that fits best counts. Only a to z and digits are read.
    """

    measure = "rouge2"

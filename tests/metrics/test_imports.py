"""Metrics are listed and built without paying for what they compute with."""

import subprocess
import sys


def test_importing_and_building_metrics_loads_no_heavy_package():
    script = """
import sys
from omniflow.evaluation import predictions, scoring
from omniflow.metrics.bleu import BLEU
from omniflow.metrics.meteor import METEOR
from omniflow.metrics.perplexity import Perplexity
from omniflow.metrics.rouge_l import RougeL
from omniflow.metrics.scenes import Scenes
from omniflow.metrics.token_accuracy import TokenAccuracy
BLEU(), METEOR(), Perplexity(), RougeL(), Scenes(), TokenAccuracy()
heavy = {"torch", "transformers", "datasets", "evaluate", "nltk", "sacrebleu", "rouge_score"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

"""Metrics are listed and built without paying for what they compute with."""

import subprocess
import sys


def test_importing_and_building_metrics_loads_no_heavy_package():
    script = """
import sys
from omniflow.evaluation import choices, paired, predictions, results, scoring
from omniflow.metrics.bleu import BLEU
from omniflow.metrics.cider import CIDErD
from omniflow.metrics.clip_score import CLIPScore
from omniflow.metrics.distinct import Distinct
from omniflow.metrics.evaluation_module import as_evaluation_module
from omniflow.metrics.exact_match import ExactMatch
from omniflow.metrics.hugging_face import HuggingFaceMetric
from omniflow.metrics.length_ratio import LengthRatio
from omniflow.metrics.meteor import METEOR
from omniflow.metrics.perplexity import Perplexity
from omniflow.metrics.rouge_l import RougeL
from omniflow.metrics.scenes import Scenes
from omniflow.metrics.token_accuracy import TokenAccuracy
BLEU(), CIDErD(), Distinct(), ExactMatch(), LengthRatio(), METEOR()
Perplexity(), RougeL(), Scenes(), TokenAccuracy()
heavy = {"torch", "transformers", "datasets", "evaluate", "nltk", "sacrebleu", "rouge_score"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

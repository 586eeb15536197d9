"""Makes sentence_pairs.json: 240 predictions with one to three references each.

Half are captions of the dataset `scenes`, half verses of the King James Bible (public domain), cut
to one line a verse in a text file. A prediction is a reference with words dropped, exchanged,
swapped and inflected, all drawn from a seed; some are left as they are, some are of another record.

    python make_sentence_pairs.py VERSES.txt
"""

import json
import random
import sys
from pathlib import Path

from omniflow.datasets.scenes import ScenesDataset

HERE = Path(__file__).parent
EACH = 120

# Real synonyms, other inflections, and words that are neither.
OTHER_WORDS = {
    "great": "large", "earth": "world", "called": "named", "saw": "seen", "children": "kids",
    "child": "kid", "begin": "start", "waters": "water", "evening": "eve", "begat": "fathered",
    "daughters": "girls", "little": "small", "small": "little", "large": "big", "big": "large",
    "circle": "circles", "square": "squares", "triangle": "triangles", "picture": "image",
    "star": "stars", "below": "beneath", "above": "over", "made": "make", "said": "say",
    "brought": "bring", "days": "day", "years": "year", "years,": "year,", "man": "men",
    "purple": "violet", "tiny": "diminutive", "background": "backdrop", "land": "ground",
    "house": "home", "give": "pay", "servant": "retainer", "answered": "replied", "wife": "spouse",
    "father": "begetter", "came": "arrive", "dwelt": "live", "grey": "gray", "shape": "form",
    "side": "face", "people": "citizenry", "go": "move", "see": "visualize", "god": "deity",
    "woman": "women", "sons": "son", "red": "scarlet", "left": "right", "blue": "green",
}  # fmt: skip


def changed(words, vocabulary, rng):
    kind = rng.random()
    if kind < 0.08:
        return words
    made = []
    for word in words:
        draw = rng.random()
        if draw < 0.06:
            continue
        if draw < 0.12:
            word = rng.choice(vocabulary)
        elif draw < 0.5:
            word = OTHER_WORDS.get(word.lower(), word)
        made.append(word)
    if len(made) > 3 and rng.random() < 0.5:
        place = rng.randrange(len(made) - 1)
        made[place : place + 2] = reversed(made[place : place + 2])
    return made


def pairs_of(groups, rng):
    vocabulary = sorted({word for group in groups for text in group for word in text.split()})
    for number, group in enumerate(groups):
        source = rng.choice(groups[(number + 1) % len(groups)] if rng.random() < 0.05 else group)
        yield {
            "prediction": " ".join(changed(source.split(), vocabulary, rng)),
            "references": group,
        }


def main():
    rng = random.Random(0)
    scenes = ScenesDataset(split="test", size=3 * EACH, seed=5)
    captions = [scenes[index].text for index in range(3 * EACH)]
    # The same scene in other words is not to be had: neighbours stand in, as people who disagree.
    described = [captions[3 * n : 3 * n + rng.randint(1, 3)] for n in range(EACH)]
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    verses = [line for line in lines if 5 <= len(line.split()) <= 18 and ")" not in line]
    told = [[verse] + ([verse.lower().strip(".")] if rng.random() < 0.3 else [])
            for verse in rng.sample(verses, EACH)]  # fmt: skip
    pairs = [*pairs_of(described, rng), *pairs_of(told, rng)]
    text = json.dumps(pairs, ensure_ascii=False, indent=0)
    (HERE / "sentence_pairs.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

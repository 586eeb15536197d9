"""Data configurations of the original training scripts, as the datasets of a recipe.

`data.yml` of the joint training names tables and how often each is drawn; `data_config.json` of the
text decoder's training names data sets of a split each. Paths are relative to the current folder,
as they are there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from omniflow.draft import Draft, Said, Tree, origin_of, plain, read_tree
from omniflow.errors import ConfigError, UnknownNameError, UsageError

#: Layout -> its tasks, in the order of `task_weight`.
_TASKS: Mapping[str, tuple[str, ...]] = {
    "text2img": ("t2i", "i2t"),
    "img2aud": ("i2a", "a2i"),
    "text2aud": ("t2a", "a2t"),
    "any2any": ("2iat",),
}

_TABLE_KEYS = ("instance_data_root", "dataset", "name", "task_weight")
_ENTRY_KEYS = ("type", "path", "text_field", "modality", "weight")
_SPLITS = ("train", "val")
_MODALITIES = ("text", "image+text", "audio+text")


def read_data_config(file: str, *, where: str | None = None) -> Draft:
    """The datasets of a data configuration, with the weights that it gives them.

    Args:
        file: `data.yml`, with `datasets` and `weights`, or `data_config.json`, with `train` and
            `val`.
        where: The flag that named it.

    Raises:
        UsageError: If there is no such file, or it is neither of the two; says where in it.
    """
    path = Path(file)
    if not path.is_file():
        raise UsageError(
            f"there is no file {file!r}", where=where, expected="a data.yml or data_config.json"
        )
    tree = read_tree(path)
    keys = set(tree) if isinstance(tree, dict) else set()
    if "train" in keys:
        return Draft({"dataset": _splits_entries(cast(Tree, tree), file)})
    if {"datasets", "weights"} <= keys:
        return Draft({"dataset": _table_entries(cast(Tree, tree))})
    raise UsageError(
        "no data configuration", where=file,
        expected="datasets and weights (data.yml), or train and val (data_config.json)",
    )  # fmt: skip


def _table_entries(tree: Tree) -> list[Tree]:
    """The tables that `weights` names."""
    _known(tree, ("datasets", "weights"), "section of a data configuration")
    tables, weights = (_mapping(tree[name], name) for name in ("datasets", "weights"))
    if not weights:
        raise UsageError("weights name no dataset", where=origin_of(tables), expected="one or more")
    for name, weight in weights.items():
        if name not in tables:
            raise UnknownNameError("dataset", name, list(tables), where=origin_of(weight))
    return [_table(name, _mapping(tables[name], name), weights[name]) for name in weights]


def _table(name: str, table: Tree, weight: Any) -> Tree:
    _known(table, _TABLE_KEYS, f"key of dataset {name}")
    place, layout = (_required(table, key, name) for key in ("instance_data_root", "dataset"))
    if layout.value not in _TASKS:
        raise UnknownNameError("layout", str(layout.value), list(_TASKS), where=layout.where)
    if "audioset" in (name, plain(table.get("name"))) and layout.value == "text2aud":
        raise UsageError(
            "a dataset called audioset is trained on with empty captions by the script, which is "
            "not done here",
            where=layout.where,
            expected="another name, to train on its captions",
        )
    entry: Tree = {
        "name": Said("csv", layout.where),
        "label": Said(_label(name), layout.where),
        "weight": weight,
        "path": place,
        "layout": layout,
    }
    tasks = _TASKS[layout.value]
    shares = _task_shares(table.get("task_weight"), len(tasks))
    said = dict(zip(tasks, shares, strict=True))
    return {**entry, "tasks": Said(said, origin_of(table.get("task_weight", layout)))}


def _task_shares(said: Any, count: int) -> list[float]:
    """`task_weight`, which any2any has no use for."""
    if said is None or count == 1:
        return [1 / count] * count
    shares = plain(said)
    are_numbers = isinstance(shares, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each <= 1
        for each in shares
    )
    if not are_numbers or len(shares) != count or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ConfigError(
            "task_weight", shares, expected="two numbers >= 0 whose sum is 1", where=origin_of(said)
        )
    return [float(each) for each in shares]


def _splits_entries(tree: Tree, file: str) -> list[Tree]:
    """The data sets of `train`, and what `val` says of the same ones."""
    _known(tree, (*_SPLITS, "test"), "split of a data configuration")
    trained, held_out = (
        _mapping(tree.get(split, {"datasets": []}), split) for split in _SPLITS
    )  # fmt: skip
    entries = [_entry(each, trained) for each in _listed(trained, "train", file)]
    if not entries:
        raise UsageError("train names no dataset", where=file, expected="one or more")
    _tell_labels_apart(entries)
    if "val" not in tree:
        return entries
    for entry in entries:
        entry["validation_weight"] = Said(0.0, file)
    for each in _listed(held_out, "val", file):
        _settle_validation(entries, _entry(each, held_out))
    return entries


def _tell_labels_apart(entries: list[Tree]) -> None:
    """Number the labels of paths that end alike."""
    seen: dict[str, int] = {}
    for entry in entries:
        said: Said = entry["label"]
        seen[said.value] = seen.get(said.value, 0) + 1
        if seen[said.value] > 1:
            entry["label"] = Said(f"{said.value}-{seen[said.value]}", said.where)


def _settle_validation(entries: list[Tree], other: Tree) -> None:
    """Take up the weight of a data set in validation; it has to be one that is trained on."""
    compared = ("name", "path", "text_column", "column")
    meant = [plain(other.get(key)) for key in compared]
    for entry in entries:
        if [plain(entry.get(key)) for key in compared] == meant:
            entry["validation_weight"] = other["weight"]
            return
    raise UsageError(
        f"{meant[1]!r} is evaluated on and not trained on",
        where=origin_of(other),
        expected="a dataset of train, of which a share is held out for validation",
    )


def _entry(said: Any, split: Tree) -> Tree:
    entry = _mapping(said, "an entry of datasets")
    _known(entry, _ENTRY_KEYS, "key of a dataset")
    kind = _required(entry, "type", "a dataset")
    path = _required(entry, "path", "a dataset")
    makers: Mapping[str, Callable[[], Tree]] = {
        "hf_dataset": lambda: _saved(entry, split.get("min_length")),
        "wikitext": lambda: {"name": Said("text", kind.where)},
        "coco": lambda: {"name": Said("text", kind.where)},
    }
    if str(kind.value).lower() not in makers:
        raise UnknownNameError("type of dataset", str(kind.value), list(makers), where=kind.where)
    modality = entry.get("modality", Said("text"))
    if plain(modality) not in _MODALITIES:
        raise UnknownNameError(
            "modality", str(plain(modality)), _MODALITIES, where=origin_of(modality)
        )
    made = makers[str(kind.value).lower()]()
    label = Said(_label(_stem(str(path.value))), path.where)
    return {**made, "label": label, "path": path, "weight": entry.get("weight", Said(1.0))}


def _saved(entry: Tree, min_length: Any) -> Tree:
    """A data set that `save_to_disk` wrote: one split, of which shares are held out."""
    kind = origin_of(entry["type"])
    made: Tree = {
        "name": Said("huggingface", kind),
        "text_column": entry.get("text_field", Said("text", kind)),
        "validation_split": Said(None, kind),
        "test_split": Said(None, kind),
    }
    words = plain(min_length)
    if words is not None and (not isinstance(words, int) or isinstance(words, bool) or words < 0):
        raise ConfigError(
            "min_length", words, expected="a whole number of words", where=origin_of(min_length)
        )
    if words and words > 1:
        # Texts of fewer words.
        pattern = rf"^\s*(?:\S+\s+){{0,{words - 2}}}\S*\s*$"
        made["leave_out"] = Said(pattern, origin_of(min_length))
    return made


def _stem(path: str) -> str:
    """A word for a path; the script's own folders are all called `subset`."""
    place = Path(path)
    return place.parent.name if place.name == "subset" and place.parent.name else place.stem


def _label(name: str) -> str:
    """A name without what `--set` takes for something else."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name) or "-"


def _listed(split: Tree, name: str, file: str) -> list[Any]:
    _known(split, ("datasets", "min_length"), f"key of {name}")
    listed = split.get("datasets")
    if isinstance(listed, Said) and listed.value == []:
        return []
    if not isinstance(listed, list):
        raise UsageError(
            f"{name} lists no datasets",
            where=origin_of(split) or file,
            expected="datasets: a list of type, path, text_field, modality, weight",
        )
    return listed


def _mapping(tree: Any, name: str) -> Tree:
    if isinstance(tree, dict):
        return tree
    raise ConfigError(name, plain(tree), expected="a mapping", where=origin_of(tree))


def _required(tree: Tree, key: str, owner: str) -> Said:
    said = tree.get(key)
    if isinstance(said, Said) and isinstance(said.value, str):
        return said
    raise UsageError(f"{owner} has no {key}", where=origin_of(tree), expected=f"{key}: TEXT")


def _known(tree: Tree, keys: tuple[str, ...], what: str) -> None:
    for key, value in tree.items():
        if key not in keys:
            raise UnknownNameError(what, key, keys, where=origin_of(value))

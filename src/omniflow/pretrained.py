"""Published models of others: a local folder, or a Hub id whose files are fetched when needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.checkpoints import read_json
from omniflow.errors import CheckpointError, ConfigError
from omniflow.hub_access import fetch_files, one_line

if TYPE_CHECKING:
    from torch import nn

#: Weights as safetensors, whole or in parts.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")

#: What is read where there are none: a pickle, as weights only, so that nothing in it is executed.
PICKLED_WEIGHTS = "pytorch_model.bin"

#: How the names of files end that are worth a progress bar.
_GIGABYTES = (".safetensors", ".bin", ".pt")


class PretrainedSource:
    """Where the files of a model come from; all of them from one commit.

    Args:
        path: A local folder, or a Hub id.
        revision: Branch, tag or commit on the Hub; None for its main branch.

    Raises:
        CheckpointError: If `path` can only be a folder, and there is none.
        ConfigError: If a local folder comes with a revision.
    """

    def __init__(self, path: str, *, revision: str | None = None) -> None:
        folder = Path(path).expanduser()
        self.path = path
        self.is_local = bool(path) and folder.is_dir()
        if self.is_local and revision is not None:
            raise ConfigError("revision", revision, expected="null, because path is a local folder")
        if not self.is_local and (_names_a_folder(path) or folder.is_file()):
            raise CheckpointError("there is no such folder", where=path)
        self._folder = folder
        self._revision = revision

    @property
    def revision(self) -> str:
        """The commit that files come from, once one was fetched; empty for a local folder."""
        return self._revision or ""

    def folder(self, *patterns: str) -> Path:
        """A local folder with the files that fit the patterns, as far as the source has them.

        Raises:
            UsageError: If the Hub cannot be reached or does not have the model.
        """
        if self.is_local:
            return self._folder
        # Gigabytes of weights show how far they are, kilobytes of settings do not.
        is_quiet = not any(pattern.endswith(_GIGABYTES) for pattern in patterns)
        fetched = fetch_files(self.path, self._revision, patterns, is_quiet=is_quiet)
        # The cache names a snapshot after its commit: weights are to fit the settings read before.
        self._revision = fetched.name
        return fetched

    def require(self, *names: str) -> Path:
        """As `folder`, with every one of these files in it.

        Raises:
            CheckpointError: If one is missing; names it.
        """
        folder = self.folder(*names)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{', '.join(missing)} is missing", where=self.path)
        return folder

    def check_weights(self) -> None:
        """Look whether a local folder has weights; those on the Hub are looked for when read.

        Raises:
            CheckpointError: If there are none.
        """
        if self.is_local:
            self._find_weights()

    def files(self, *patterns: str) -> dict[str, Path]:
        """The files that fit the patterns and the weights that are read, by name.

        Raises:
            CheckpointError: If weights are missing.
            UsageError: If the Hub cannot be reached or does not have the model.
        """
        folder = self.folder(*patterns)
        weights, is_safe = self._find_weights()
        found = [file for pattern in patterns for file in folder.glob(pattern)]
        for pattern in WEIGHTS if is_safe else (PICKLED_WEIGHTS,):
            found += weights.glob(pattern)
        return {file.name: file for file in found if file.is_file()}

    def stored_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor among the weights; None if there is none of this name.

        Raises:
            CheckpointError: If weights are missing or damaged.
            UsageError: If the Hub cannot be reached or does not have the model.
        """
        from omniflow.tensor_files import scan_tensors

        folder, is_safe = self._find_weights()
        found = scan_tensors(
            sorted(folder.glob("model*.safetensors")) if is_safe else [folder / PICKLED_WEIGHTS]
        )
        return found[name].shape if name in found else None

    def read_model(self, model_class: Any, config: Any) -> nn.Module:
        """A model of transformers with its weights, in float32, in evaluation mode, frozen.

        Raises:
            CheckpointError: If weights are missing, damaged or of another shape.
            UsageError: If the Hub cannot be reached or does not have the model.
        """
        import torch

        folder, is_safe = self._find_weights()
        try:
            with _quietly():
                model, report = model_class.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=is_safe,
                    weights_only=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
        except _damage() as error:
            raise CheckpointError(
                f"its weights cannot be read ({one_line(error)})",
                where=self.path,
                expected="whole tensors that fit its config.json",
            ) from error
        if report["missing_keys"]:
            raise CheckpointError(
                f"{len(report['missing_keys'])} tensors are missing",
                where=self.path,
                notes=[f"missing: {name}" for name in sorted(report["missing_keys"])[:5]],
            )
        frozen: nn.Module = model.eval().requires_grad_(False)
        return frozen

    def read_config(self, config_class: Any, *, former_types: Sequence[str] = ()) -> Any:
        """A configuration of transformers from `config.json`.

        Args:
            config_class: Its class.
            former_types: What older files call this kind of model.

        Raises:
            CheckpointError: If it is missing, not JSON, or of another kind of model.
        """
        file = self.require("config.json") / "config.json"
        content = read_json(file)
        found = content.get("model_type") if isinstance(content, dict) else None
        if found not in (config_class.model_type, *former_types):
            raise CheckpointError(
                f"its model_type is {found!r}", where=str(file), expected=config_class.model_type
            )
        content["model_type"] = config_class.model_type
        return self._read("configuration", lambda: config_class.from_dict(content))

    def read_tokenizer(self, tokenizer_class: Any, *names: str) -> Any:
        """A tokenizer of transformers from files of these names.

        Raises:
            CheckpointError: If a file is missing or damaged.
        """
        self.require(*names)
        folder = self.folder(*names, "special_tokens_map.json")
        return self._read(
            "tokenizer",
            lambda: tokenizer_class.from_pretrained(folder, local_files_only=True),
        )

    def _read(self, what: str, action: Any) -> Any:
        try:
            with _quietly():
                return action()
        # The readers check little themselves; tokenizer.json even raises plain Exception.
        except Exception as error:
            raise CheckpointError(
                f"its {what} cannot be read ({one_line(error)})", where=self.path
            ) from error

    def _find_weights(self) -> tuple[Path, bool]:
        """The folder with the weights, and whether they are safetensors; else the pickle is got."""
        folder = self.folder(*WEIGHTS)
        if any((folder / name).is_file() for name in WEIGHTS[:2]):
            return folder, True
        folder = self.folder(PICKLED_WEIGHTS)
        if not (folder / PICKLED_WEIGHTS).is_file():
            others = sorted(file.name for end in ("bin", "pt") for file in folder.glob(f"*.{end}"))
            raise CheckpointError(
                f"{WEIGHTS[0]} is missing",
                where=self.path,
                notes=[f"not read, because it is a pickle: {name}" for name in others],
            )
        return folder, False


def _damage() -> tuple[type[Exception], ...]:
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    return (OSError, EOFError, RuntimeError, ValueError, UnpicklingError, SafetensorError)


def _names_a_folder(path: str) -> bool:
    """Whether a path that does not exist cannot have been meant as `owner/name`."""
    return path.startswith((".", "/", "~")) or "\\" in path or path.count("/") > 1


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' progress bars and its table of the tensors that a tower leaves out."""
    from transformers.utils import logging as chatter

    level, has_bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(level)
        if has_bars:
            chatter.enable_progress_bar()

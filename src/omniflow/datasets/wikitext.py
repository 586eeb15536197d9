"""WikiText-103: paragraphs of good and featured articles of Wikipedia, without pictures."""

from __future__ import annotations

from omniflow.datasets.hub_dataset import HubDataset

#: Lines of the source that are empty, or headings such as ` = = Plot = = `.
_NO_PARAGRAPH = r"^\s*(=.*=)?\s*$"


class WikitextDataset(HubDataset):
    """Paragraphs, one a sample, as the source has them, but for the spaces around them.

    Its empty lines and headings are left out. Its marks such as ` @-@ ` stay. An id is the split
    and the number of the line there, from 0.

    Args:
        path: Its id on the Hub, or a folder with its files.
        split: One of `splits`; the source has all three.
        config: wikitext-103-raw-v1, wikitext-103-v1, wikitext-2-raw-v1 or wikitext-2-v1; raw ones
            have no `<unk>` for rare words.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        streaming: Read paragraphs as they come, in place of fetching the files of the split.
    """

    def __init__(
        self,
        *,
        path: str = "Salesforce/wikitext",
        split: str = "train",
        config: str = "wikitext-103-raw-v1",
        revision: str | None = None,
        streaming: bool = False,
    ) -> None:
        super().__init__(
            path=path,
            split=split,
            config=config,
            revision=revision,
            text_column="text",
            leave_out=_NO_PARAGRAPH,
            streaming=streaming,
        )

    def clean(self, text: str) -> str:
        """The paragraph without the spaces around it."""
        return text.strip()

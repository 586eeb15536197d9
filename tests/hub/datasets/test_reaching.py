"""A Hub that refuses, is not there or serves something else: what is said, and what is not."""

import shutil

import pytest
from PIL import Image

from omniflow.connection.patience import Patience
from omniflow.datasets.coco import CocoDataset
from omniflow.datasets.huggingface import HuggingFaceDataset
from omniflow.datasets.wikitext import WikitextDataset
from omniflow.errors import DataError, UnknownNameError, UsageError

TOKEN = "hf_thisIsNobodysTokenAtAll"
COCO = "datasets/lmms-lab/COCO-Caption"


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def told(make, kind=UsageError):
    with pytest.raises(kind) as caught:
        make()
    chain, error = [], caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__
    assert TOKEN not in "".join(chain[:1])
    return chain[0]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_data_set_that_is_not_there_may_be_private(reached, streaming):
    found = told(lambda: HuggingFaceDataset(path="nobody/nothing", streaming=streaming))
    assert "there is no dataset nobody/nothing, or it is private" in found
    assert "hf auth login, or set HF_TOKEN" in found


def test_a_private_one_is_read_with_its_token(served, layouts, token):
    served.private[COCO] = TOKEN
    assert len(CocoDataset()) > 40
    assert next(iter(CocoDataset(streaming=True))).image is not None
    served.private["datasets/Salesforce/wikitext"] = "another"
    assert "or it is private" in told(WikitextDataset)


@pytest.mark.parametrize("streaming", [False, True])
def test_terms_are_to_be_accepted(served, streaming, token):
    served.gated.add(COCO)
    found = told(lambda: CocoDataset(streaming=streaming))
    assert "lmms-lab/COCO-Caption wants its conditions accepted" in found
    assert "accept them on its page" in found


@pytest.mark.parametrize("streaming", [False, True])
def test_nobody_answers(served, streaming, monkeypatch, token):
    served.close()
    waits = []
    monkeypatch.setattr(Patience, "wait", lambda self, n, why, asked_s=None: waits.append(why))
    found = told(lambda: CocoDataset(streaming=streaming))
    assert "lmms-lab/COCO-Caption cannot be fetched" in found
    assert "HF_ENDPOINT=URL asks a mirror" in found
    assert len(waits) == Patience().attempts - 1


def test_a_connection_lost_while_streaming_is_told(served, token):
    records = CocoDataset(streaming=True).records()
    next(records)
    served.broken.add("/datasets/lmms-lab/COCO-Caption/resolve/"
                      f"{served.commit(COCO)}/data/val-00001-of-00013.parquet")  # fmt: skip
    assert "lmms-lab/COCO-Caption cannot be fetched" in told(lambda: list(records))


def test_an_unknown_revision(served):
    found = told(lambda: CocoDataset(revision="v9"))
    assert "lmms-lab/COCO-Caption has no revision 'v9'" in found
    assert len(CocoDataset(revision=served.commit(COCO))) > 40


def test_another_configuration_and_split_list_what_there_is(served):
    found = told(lambda: WikitextDataset(config="wikitext-103-raw"), UnknownNameError)
    assert "no configuration is called 'wikitext-103-raw'" in found
    assert "did you mean: wikitext-103-raw-v1" in found
    options = {"path": "lmms-lab/COCO-Caption", "text_column": "answer"}
    found = told(lambda: HuggingFaceDataset(**options), UnknownNameError)
    assert "no split is called 'train'" in found
    assert "known: test, val" in found
    options |= {"text_column": "captions", "train_split": "val"}
    found = told(lambda: HuggingFaceDataset(**options, streaming=True), UnknownNameError)
    assert "no column is called 'captions'" in found
    assert "known: answer, coco_url, date_captured, file_name, height, id, image, license" in found


def test_a_damaged_file_is_told(served, layouts, tmp_path):
    folder = shutil.copytree(layouts["lmms-lab/COCO-Caption"], tmp_path / "damaged")
    served.add(COCO, folder)
    part = folder / "data" / "val-00002-of-00013.parquet"
    part.write_bytes(part.read_bytes()[:300])
    assert "COCO-Caption: cannot be read (" in told(CocoDataset, DataError)


def test_a_card_does_not_lead_out_of_its_repository(served, tmp_path):
    folder = tmp_path / "evil"
    folder.mkdir()
    for place in ("/etc/*", "../../secret*", "https://example.org/a.csv"):
        lines = ["---", "configs:", "- config_name: default", f"  data_files: {place}", "---"]
        (folder / "README.md").write_text("\n".join(lines))
        served.add("datasets/acme/evil", folder)
        found = told(lambda: HuggingFaceDataset(path="acme/evil"), DataError)
        assert f"its card names {place!r}" in found


def test_pictures_and_sounds_beside_a_table_are_read(served, tmp_path):
    folder = tmp_path / "files" / "train"
    folder.mkdir(parents=True)
    rows = ["file_name,text"]
    for number in range(3):
        Image.new("RGB", (9, 9), (0, number * 90, 0)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,picture {number}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    served.add("datasets/acme/pictures", folder.parent)
    options = {"path": "acme/pictures", "validation_split": None, "test_split": None,
               "validation_share": 0.0, "test_share": 0.0}  # fmt: skip
    for streaming in (False, True):
        samples = list(HuggingFaceDataset(**options, streaming=streaming))
        assert [sample.text for sample in samples] == ["picture 0", "picture 1", "picture 2"]
        assert [sample.image.getpixel((1, 1))[1] for sample in samples] == [0, 90, 180]


def test_a_script_is_not_executed(served, tmp_path):
    folder = tmp_path / "script"
    folder.mkdir()
    flag = tmp_path / "executed"
    (folder / "script.py").write_text(f"open({str(flag)!r}, 'w')")
    served.add("datasets/acme/script", folder)
    for streaming in (False, True):
        found = told(lambda s=streaming: HuggingFaceDataset(path="acme/script", streaming=s))
        assert "a script is not executed" in found
    assert not flag.exists()

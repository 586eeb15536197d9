"""WordNet from an index like nltk's, served on loopback."""

import io
import stat
import zipfile

import pytest

from omniflow.connection.patience import Patience
from omniflow.downloads.wordnet import download_wordnet, nltk_folder, unpack
from omniflow.errors import DataError, UsageError
from omniflow_cli.app import main


def archive(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
    return content.getvalue()


def test_wordnet_is_put_where_nltk_finds_it(online, nltk_index, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_thisIsNobodysTokenAtAll")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "data"))
    assert nltk_folder() == tmp_path / "data"
    assert main(["download", "data", "wordnet"]) == 0
    assert "2 new" in capsys.readouterr().out
    assert not any("Authorization" in headers for headers in online.headers)
    for name in ("wordnet", "omw-1.4"):
        assert (
            tmp_path / "data" / "corpora" / name / "data.noun"
        ).read_text() == "a noun of " + name
    from nltk import data

    monkeypatch.setattr(data, "path", [str(tmp_path / "data")])
    assert str(data.find("corpora/wordnet")).endswith("corpora/wordnet")
    online.asked.clear()
    assert main(["download", "data", "wordnet", "--json"]) == 0
    assert online.asked == []


def test_what_is_damaged_or_missing_is_told(online, nltk_index, tmp_path):
    patience = Patience(attempts=2, first_wait_s=0.0)
    target = tmp_path / "data"
    (nltk_index / "omw-1.4.zip").write_bytes(b"another content")
    with pytest.raises(DataError, match="its checksum is not that of the index"):
        download_wordnet(target, patience=patience)
    assert not (target / "corpora" / "omw-1.4").exists()
    (nltk_index / "omw-1.4.zip").unlink()
    with pytest.raises(UsageError, match="OMNIFLOW_NLTK_INDEX=URL names another index"):
        download_wordnet(target, patience=patience)
    (nltk_index / "index.xml").write_text("<nltk_data/>")
    with pytest.raises(UsageError, match=r"it has no package wordnet or omw-1\.4"):
        download_wordnet(target, patience=patience, is_forced=True)
    (nltk_index / "index.xml").write_text("none")
    with pytest.raises(UsageError, match="is no index of nltk's packages"):
        download_wordnet(target, patience=patience)


@pytest.mark.parametrize(
    "name", ["../evil", "wordnet/../../evil", "/evil", "other/evil", "wordnet\\..\\evil", "wordnet"]
)
def test_an_archive_does_not_write_elsewhere(tmp_path, name):
    folder = tmp_path / "inside"
    with pytest.raises(DataError, match="files in wordnet/ alone"):
        unpack(archive({name: "evil"}), folder, below="wordnet", where="here")
    assert not list(tmp_path.rglob("*evil*"))


def test_an_archive_has_no_links_and_is_one(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as out:
        link = zipfile.ZipInfo("wordnet/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(link, "/etc")
    with pytest.raises(DataError, match="wordnet/link"):
        unpack(content.getvalue(), tmp_path, below="wordnet", where="here")
    with pytest.raises(DataError, match="is no archive"):
        unpack(b"nothing", tmp_path, below="wordnet", where="here")

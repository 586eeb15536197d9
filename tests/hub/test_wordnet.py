"""WordNet from an index like nltk's, served on loopback."""

import hashlib
import io
import stat
import zipfile

import pytest

from omniflow.connection.patience import Patience
from omniflow.downloads.wordnet import download_wordnet, nltk_folder, unpack
from omniflow.errors import DataError, UsageError
from omniflow_cli.app import main

#: WordNet's own format, with a single noun in it.
NOUN = "00000001 03 n 02 dog 0 hound 0 000 | a friend  \n"
FILES = {
    "lexnames": "03\tnoun.Tops\t1\n",
    "data.noun": NOUN,
    "index.noun": "dog n 1 0 1 0 00000000\nhound n 1 0 1 0 00000000\n",
}


def archive(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
    return content.getvalue()


@pytest.fixture
def index(online, tmp_path, monkeypatch):
    """The URL of an index; the folder with its packages is served beside it."""
    folder = tmp_path / "nltk"
    folder.mkdir()
    lines = []
    for name in ("wordnet", "omw-1.4"):
        content = archive({f"{name}/{file}": text for file, text in FILES.items()})
        (folder / f"{name}.zip").write_bytes(content)
        lines.append(
            f'<package id="{name}" subdir="corpora" size="{len(content)}" license="Own terms" '
            f'url="{online.url}/acme/nltk/resolve/main/{name}.zip" '
            f'checksum="{hashlib.md5(content).hexdigest()}"/>'
        )
    packages = "<nltk_data><packages>" + "".join(lines) + "</packages></nltk_data>"
    (folder / "index.xml").write_text(packages)
    online.add("acme/nltk", folder)
    url = f"{online.url}/acme/nltk/resolve/main/index.xml"
    monkeypatch.setenv("OMNIFLOW_NLTK_INDEX", url)
    return folder


def test_wordnet_is_put_where_nltk_finds_it(online, index, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_thisIsNobodysTokenAtAll")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "data"))
    assert nltk_folder() == tmp_path / "data"
    assert main(["download", "data", "wordnet"]) == 0
    assert "2 new" in capsys.readouterr().out
    assert not any("Authorization" in headers for headers in online.headers)
    for name in ("wordnet", "omw-1.4"):
        assert (tmp_path / "data" / "corpora" / name / "data.noun").read_text() == NOUN
    from nltk import data

    monkeypatch.setattr(data, "path", [str(tmp_path / "data")])
    assert str(data.find("corpora/wordnet")).endswith("corpora/wordnet")
    online.asked.clear()
    assert main(["download", "data", "wordnet", "--json"]) == 0
    assert online.asked == []


def test_what_is_damaged_or_missing_is_told(online, index, tmp_path):
    patience = Patience(attempts=2, first_wait_s=0.0)
    target = tmp_path / "data"
    (index / "omw-1.4.zip").write_bytes(b"another content")
    with pytest.raises(DataError, match="its checksum is not that of the index"):
        download_wordnet(target, patience=patience)
    assert not (target / "corpora" / "omw-1.4").exists()
    (index / "omw-1.4.zip").unlink()
    with pytest.raises(UsageError, match="OMNIFLOW_NLTK_INDEX=URL names another index"):
        download_wordnet(target, patience=patience)
    (index / "index.xml").write_text("<nltk_data/>")
    with pytest.raises(UsageError, match=r"it has no package wordnet or omw-1\.4"):
        download_wordnet(target, patience=patience, is_forced=True)
    (index / "index.xml").write_text("none")
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

"""Writers of tar shards and of LLaVA's files, whole ones and others."""

import io
import json
import tarfile
import zipfile


def tar_member(name, content=b"", **said):
    """A member as tarfile writes it; what is said of it may be wrong."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in said.items():
        setattr(info, key, value)
    return info, content


def write_tar(path, members, format=tarfile.GNU_FORMAT):
    """Members, each a name and contents or what `tar_member` makes, one after the other."""
    with tarfile.open(path, "w", format=format) as archive:
        for member in members:
            info, content = member if not isinstance(member[0], str) else tar_member(*member)
            archive.addfile(info, io.BytesIO(content))
    return path


def media_members(media, numbers, key="{}", ends=("png", "wav", "txt")):
    """The files of the fixture `media`, by their numbers."""
    for number in numbers:
        for end in ends:
            content = (media / f"{number % 6}.{end}").read_bytes()
            yield f"{key.format(number)}.{end}", content


def conversation(number, image, text):
    """An item of chat.json."""
    return {
        "id": f"{number:09}",
        "image": image,
        "conversations": [
            {"from": "human", "value": "Describe the image concisely.\n<image>"},
            {"from": "gpt", "value": text},
        ],
    }


def write_llava(folder, pictures, rows, method=zipfile.ZIP_DEFLATED):
    """`chat.json`, and `images.zip` with contents by name."""
    folder.mkdir(exist_ok=True)
    (folder / "chat.json").write_text(json.dumps(rows), encoding="utf-8")
    with zipfile.ZipFile(folder / "images.zip", "w", method) as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)
    return folder

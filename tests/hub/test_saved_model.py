"""A saved model on the Hub, named to a command by its id."""

import pytest

from omniflow.assembly import build, load
from omniflow.errors import UsageError
from omniflow.generation.find_models import find_models


def test_a_saved_model_is_found_by_its_hub_id(online, random_backbone, tmp_path):
    model = build(head="linear", backbone={"name": "folder", "path": str(random_backbone)})
    model.save_pretrained(tmp_path / "model")
    commit = online.add("acme/captions", tmp_path / "model")
    for said in ("acme/captions", f"acme/captions@{commit}"):
        [found] = find_models(said)
        assert found.name == f"acme/captions@{commit}"
        assert load(found.folder).parts.head.name == "omniflow-zoo:linear"


def test_a_model_of_others_on_the_hub_is_refused(online, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.bin").write_bytes(b"x")
    online.add("acme/other", tmp_path / "other")
    with pytest.raises(UsageError, match="acme/other on the Hub holds no model of ours"):
        find_models("acme/other", where="--checkpoint")

"""A backbone small enough to see through: every stream hears of every other, sample by sample."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from omniflow.heads.linear import LinearHead
from omniflow.interfaces import (
    Audio,
    Backbone,
    JointPrediction,
    Streams,
    TextCondition,
    TextFeatures,
    TokenBatch,
)
from omniflow.model import ModelParts, OmniFlowModel
from omniflow.recipe import Choice
from omniflow.refiners.none import NoRefiner

SHAPES = {"image": (2, 4, 4), "text": (2, 3), "audio": (1, 4, 2)}


@dataclass(frozen=True)
class Call:
    """One batch through the network."""

    streams: Streams
    timesteps: Streams
    pooled: torch.Tensor
    predict_text: bool


class SpyBackbone(Backbone):
    """Keeps every call; its velocities depend on all streams, timesteps and the pooled vector."""

    modalities = ("image", "text", "audio")
    latent_tokens, latent_dim, pooled_dim = 2, 3, 4

    def __init__(self) -> None:
        super().__init__()
        self.feature_dims = {"hidden": 5, "x0": 3}
        self.text_projection = nn.Linear(5, 3)
        self.transformer = nn.Identity()
        self.calls: list[Call] = []
        self.offloaded = 0

    def load_weights(self, *, device=None):
        pass

    def identity(self):
        return {"id": "spy", "revision": "", "hash": ""}

    def tokenise(self, texts, *, max_length):
        ids = torch.stack([_codes(text, 6) for text in texts])
        return TokenBatch(ids, torch.tensor([text == "" for text in texts]), ids, ids, 0)

    def encode_text(self, prompt_ids, is_empty):
        return torch.sin(prompt_ids.float()).reshape(-1, 2, 3)

    def text_features(self, text_latents, timesteps, pooled=None):
        raise NotImplementedError

    def predict(self, streams, timesteps, pooled, *, split_cond=False, predict_text=True):
        self.calls.append(Call(streams, timesteps, pooled, predict_text))
        heard = pooled.mean(1)
        for part, level in zip(streams, timesteps, strict=True):
            if part is not None:
                heard = heard + part.flatten(1).mean(1) * (1 + level / 1000)
        image, text, audio = (
            None if part is None else torch.tanh(part + heard.reshape(-1, *[1] * (part.dim() - 1)))
            for part in streams
        )
        features = None
        if text is not None and predict_text:
            hidden = F.pad(text, (0, 5 - text.shape[-1]))
            features = TextFeatures(hidden, self.text_projection(hidden))
        return JointPrediction(image, features, audio)

    def latent_shape(self, modality, *, height=None, width=None):
        if modality == "image" and (height or width):
            return 2, (height or 8) // 2, (width or 8) // 2
        return SHAPES[modality]

    def encode_image(self, images, *, noise=None):
        means = torch.tensor([np.asarray(image).mean() / 255 for image in images]).float()
        latents = means.reshape(-1, 1, 1, 1).expand(-1, *SHAPES["image"])
        return latents.clone() if noise is None else latents + noise

    def decode_image(self, latents):
        return [Image.new("RGB", (8, 8)) for _ in latents]

    def encode_audio(self, sounds, *, noise=None):
        means = torch.tensor([float(sound.waveform.mean()) for sound in sounds])
        return means.reshape(-1, 1, 1, 1).repeat(1, *SHAPES["audio"])

    def decode_audio(self, latents):
        return [Audio(np.zeros((1, 4), np.float32), 8000) for _ in latents]

    def condition_text(self, texts):
        states = torch.stack([torch.cos(_codes(text, 12).float()).reshape(3, 4) for text in texts])
        return TextCondition(states, states.mean(1))

    def t5_states(self, texts, *, max_tokens):
        return torch.stack([_codes(text, max_tokens).float() for text in texts])[..., None].expand(
            -1, -1, 2
        )

    def pool_image(self, images):
        return F.pad(self.encode_image(images)[:, :, 0, 0], (0, 2))

    def pool_audio(self, sounds):
        return F.pad(self.encode_audio(sounds)[:, :, 0, 0] + 0.25, (0, 3))

    def null_condition(self, modality, batch):
        return torch.zeros(batch, *SHAPES[modality]), torch.full((batch, 4), -0.5)

    def offload_encoders(self):
        self.offloaded += 1

    def decode_logits(self, text_latents, input_ids):
        raise NotImplementedError

    def generate_text(self, text_latents, *, max_new_tokens):
        return [f"{value:.3f}" for value in text_latents.mean((1, 2)).tolist()]


def _codes(text, length):
    return torch.tensor([*(ord(letter) for letter in text[:length]), *[7] * length])[:length]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return OmniFlowModel(
        backbone=SpyBackbone(),
        head=LinearHead(feature_dim=5, latent_dim=3),
        refiner=NoRefiner(latent_dim=3),
        encoders=[],
        features="hidden",
        head_dim=3,
        parts=ModelParts(Choice("spy"), Choice("linear"), Choice("none"), (), ()),
    ).eval()


@pytest.fixture
def calls(model):
    """Calls of the network so far; emptied by the tests that want to start anew."""
    return model.backbone.calls


@pytest.fixture
def pictures():
    return [Image.new("RGB", (6, 5), (shade, 40, 200 - shade)) for shade in range(0, 200, 25)]


@pytest.fixture
def sounds():
    return [Audio(np.full((1, 16), level / 10, np.float32), 8000) for level in range(8)]

"""Fixtures that several folders share: small real objects, nothing patched."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Read by Hugging Face libraries at import: tests never reach for the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tests never touch the cache of whoever runs them.
os.environ["OMNIFLOW_CACHE"] = tempfile.mkdtemp(prefix="omniflow-cache-")

import pytest
from hypothesis import settings

# The same cases every time: what fails here fails for everybody.
settings.register_profile("same", derandomize=True, database=None)
settings.load_profile("same")

# Nothing here looks at what survives a power cut, and a disk takes its time.
os.fsync = lambda fd: None

atexit.register(shutil.rmtree, os.environ["OMNIFLOW_CACHE"], ignore_errors=True)

TESTS = Path(__file__).parent
DATA = TESTS / "parity" / "data"

#: Folders whose tests run whole commands; begun first, so that no worker is left with a long one.
LONG = ("docs", "training", "cli", "hub", "plugins")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.relative_to(TESTS).parts[0] not in LONG)


@pytest.fixture(scope="session")
def parity_data():
    """The folder of the golden data."""
    return DATA


@pytest.fixture(scope="session")
def random_backbone(tmp_path_factory):
    """A folder in the published layout with tiny random weights, its T5 included."""
    folder = tmp_path_factory.mktemp("backbone") / "random"
    shutil.copytree(DATA / "pipeline_tiny" / "checkpoint", folder)
    for name in ("tokenizer_3", "text_encoder_3"):
        shutil.copytree(DATA / "pipeline_tiny" / "external" / "flan_t5", folder / name)
    return folder


@pytest.fixture
def own_tests():
    """Run the tests of a project's folder in this process, which is to pass; how many there are.

    Nothing is left of its modules, which go by the names of other projects' modules.
    """

    def run(project, *arguments):
        class Passed:
            count = 0

            def pytest_runtest_logreport(self, report):
                self.count += report.when == "call" and report.passed

        passed = Passed()
        settings = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:xdist"]
        places = ["--rootdir", str(project), str(project / "tests")]
        code = pytest.main([*settings, *places, *arguments], plugins=[passed])
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(f"{project}{os.sep}"):
                del sys.modules[name]
        assert code == 0
        return passed.count

    return run


#: A browser that draws no window and asks nobody on its own account.
BROWSER_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1280,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A real browser; without one, whoever asks for it is skipped."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with chromedriver (Debian: chromium, chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


@pytest.fixture
def registry():
    """The built-in components alone, in a registry of the test's own."""
    from omniflow.plugins import load_plugins

    return load_plugins().registry


@pytest.fixture(scope="session")
def small_backbone():
    """A backbone class with all three streams: a real transformer between stand-in autoencoders.

    Pictures are any size, sounds any length; `calls` holds what the transformer was asked.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from omniflow.interfaces import Backbone, JointPrediction, TextCondition, TextFeatures
    from omniflow.interfaces.backbone import TokenBatch
    from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig

    config = JointTransformerConfig(
        sample_size=4, in_channels=2, out_channels=2, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=12, caption_projection_dim=16,
        pooled_projection_dim=8, audio_input_dim=2, pos_embed_max_size=4, audio_height=4,
        audio_width=2, audio_pos_embed_max_size=4, audio_sample_size=4,
    )  # fmt: skip

    class SmallBackbone(Backbone):
        modalities = ("image", "text", "audio")
        latent_dim, latent_tokens, pooled_dim, vocabulary = 6, 3, 8, 32
        feature_dims = {"hidden": 12, "x0": 6}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.transformer = JointTransformer(config, text_output_dim=6)
                self.table = nn.Embedding(self.vocabulary, 6)
                self.lm_head = nn.Linear(6, self.vocabulary)
            self.text_projection = self.transformer.text_output
            self.calls = []

        def load_weights(self, *, device=None):
            self.to(device or "cpu")

        def identity(self):
            return {"id": "small", "revision": "", "hash": "0"}

        def tokenise(self, texts, *, max_length):
            rows = [[1, *(3 + ord(letter) % 29 for letter in text), 2] for text in texts]
            width = min(max_length, max(map(len, rows)))
            ids = torch.tensor([(row + [0] * width)[:width] for row in rows])
            return TokenBatch(
                prompt_ids=ids,
                is_empty=torch.tensor([text == "" for text in texts]),
                input_ids=ids,
                labels=ids.masked_fill(ids == 0, -100),
                cut=sum(len(row) > max_length for row in rows),
            )

        def encode_text(self, prompt_ids, is_empty):
            places = torch.arange(1, prompt_ids.shape[1] + 1)[:, None] * torch.arange(1, 4)
            # Padding, which depends on the batch, says nothing.
            rows = self.table(prompt_ids) * (prompt_ids != 0)[..., None]
            return torch.einsum("btd,tk->bkd", rows, places.sin()) / 4

        def text_features(self, text_latents, timesteps, pooled=None):
            raise NotImplementedError

        def predict(self, streams, timesteps, pooled, *, split_cond=False, predict_text=True):
            self.calls.append((streams, timesteps, pooled))
            text = streams.text
            text = None if text is None else F.pad(text, (0, 12 - text.shape[-1]))
            output = self.transformer(
                image=streams.image, text=text, audio=streams.audio, pooled=pooled,
                timestep_image=timesteps.image, timestep_text=timesteps.text,
                timestep_audio=timesteps.audio, split_cond=split_cond, predict_text=predict_text,
            )  # fmt: skip
            features = None
            if output.text_hidden is not None:
                features = TextFeatures(hidden=output.text_hidden, x0=output.text)
            return JointPrediction(output.image, features, output.audio)

        def latent_shape(self, modality, *, height=None, width=None):
            return {"image": (2, 4, 4), "text": (3, 6), "audio": (2, 4, 2)}[modality]

        def encode_image(self, images, *, noise=None):
            def colour(image):
                small = image.convert("RGB").resize((4, 4))
                return torch.tensor(list(small.tobytes())).view(4, 4, 3)[..., :2].permute(2, 0, 1)

            return torch.stack([colour(image) for image in images]) / 64 - 2

        def encode_audio(self, sounds, *, noise=None):
            waves = [torch.from_numpy(sound.waveform).mean(0)[None] for sound in sounds]
            return torch.cat([F.adaptive_avg_pool1d(wave, 16) for wave in waves]).view(-1, 2, 4, 2)

        def condition_text(self, texts):
            ids = [[ord(letter) for letter in text[:5].ljust(5)] for text in texts]
            states = torch.tensor(ids)[..., None] * torch.arange(1, 11) / 7
            return TextCondition(states=states.sin(), pooled=states.cos().mean(1)[:, :8])

        def pool_image(self, images):
            return self.encode_image(images).flatten(1)[:, :8] + 10

        def pool_audio(self, sounds):
            return self.encode_audio(sounds).flatten(1)[:, :8] - 10

        def decode_logits(self, text_latents, input_ids):
            return self.lm_head(text_latents.mean(1, keepdim=True) + self.table(input_ids))

        def generate_text(self, text_latents, *, max_new_tokens):
            return ["" for _ in text_latents]

    return SmallBackbone

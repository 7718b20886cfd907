"""What holds for every test: shapes are checked, nothing is fetched, chance is fixed."""

import os

import jaxtyping
import pytest
from hypothesis import settings

# diffusers and huggingface_hub read these when they are imported; no test may need a network.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DISABLE_TELEMETRY="YES")

# Every annotated shape and type in noisette is checked at every call, in the tests only. It must run before
# the first import of noisette. As in the type checkers, an int may stand where a float is asked for.
jaxtyping.install_import_hook("noisette", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

settings.register_profile("noisette", derandomize=True, deadline=None)
settings.load_profile("noisette")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The smallest of networks are fastest, and exactly repeatable, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_model():
    """Makes the file of a small model that was never trained but heeds its input, the level and the class."""

    def make(classes=tuple("0123456789"), size=(1, 8, 10), widths=(8,), **sampling):
        import torch

        from noisette.diffusion.objective import DiffusionConfig
        from noisette.models.unet import UNetConfig
        from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig

        network = UNetConfig(widths=widths, blocks=1, embedding=16, norm="channel")
        sampling = SamplingConfig(**{"sampler": "euler", "steps": 4} | sampling)
        spec = ModelSpec(network, DiffusionConfig(data_std=0.5), sampling, *size, tuple(classes))
        born = spec.new_network()
        born.initialise(torch.Generator().manual_seed(0))
        with torch.no_grad():
            for parameter in born.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.2)
        return ModelFile(
            spec, born.requires_grad_(False).eval(), {"data": "made up", "config": {"training": {"seed": 0}}}
        )

    return make

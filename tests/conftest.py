"""What holds for every test: shapes are checked, nothing is fetched, chance is fixed."""

import os

import jaxtyping
from hypothesis import settings

# diffusers and huggingface_hub read these when they are imported; no test may need a network.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DISABLE_TELEMETRY="YES")

# Every annotated shape and type in noisette is checked at every call, in the tests only. It must run before
# the first import of noisette. As in the type checkers, an int may stand where a float is asked for.
jaxtyping.install_import_hook("noisette", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

settings.register_profile("noisette", derandomize=True, deadline=None)
settings.load_profile("noisette")

"""`noisette sample`: draw images from a model into a grid, a folder, an array file or a film."""

from collections.abc import Callable

from noisette.base.config import require
from noisette.base.files import require_writable
from noisette.base.processes import rank_and_count
from noisette.report.pictures import columns_for, grid_picture, save_picture
from noisette.workflows.drawing import Film, Sampled, draw_pixels
from noisette.workflows.model import Model
from noisette.workflows.sample_files import Shard, write_arrays
from noisette.workflows.sample_folder import sample_to_folder
from noisette.workflows.sample_request import Asked, SampleRequest
from noisette.workflows.steering import steered

MOST_BYTES = 2**30
COPIES = 3
"""A single file may take so much memory while it is drawn, and it holds the pixels so often: as they come, joined, and
laid out in the file."""


def sample_to(
    model: Model,
    request: SampleRequest,
    progress: Callable[[float, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Sampled:
    """Draw what `request` asks for and write its files; progress is told (images done, images in all) after each step.

    A folder is streamed to and may be gone on with (`sample_to_folder`): `stop` is asked after each step, and of the
    processes that torchrun starts each draws its share. Raises Refusal before drawing for a label, an index or a number
    of steps that the model does not have, for a judge or a prompt that cannot lead it, for a place that cannot be
    written, and for more images than one file holds.
    """
    asked = request.asked(model)
    model, judge = steered(model, request.steering)
    model.file.spec.sampling_grid(request.sampling)  # refuses steps that the model does not have
    if request.film is not None:
        require_writable(request.film)
    if request.writes_folder():
        return sample_to_folder(model, request, asked, progress, stop, *rank_and_count(), judge)
    processes = rank_and_count()[1]
    require(processes == 1, f"{processes} processes for the one file {request.out}", "a folder, whose name has no dot")
    _check_fits_memory(model, request, asked)
    require_writable(request.out)

    film = Film(request.sampling.steps)
    labels, watch = asked.labels(asked.index), film.take if request.film else lambda snapshot, drawn: None
    images, sampled = draw_pixels(model, labels, request.seed, asked.index, request.sampling, progress, watch)
    if request.out.suffix.lower() == ".npz":
        write_arrays(request.out, Shard(images, labels, asked.index, request.seed, model.classes))
    else:
        save_picture(grid_picture(images, columns_for(len(images), len(model.classes))), request.out)
    if request.film is not None:
        film.save(request.film, len(images), len(model.classes))
    return sampled


def _check_fits_memory(model: Model, request: SampleRequest, asked: Asked) -> None:
    """Refuse what one file could only be made of in more memory than a small machine has to spare."""
    channels, height, width = model.shape
    needed = COPIES * len(asked) * channels * height * width
    require(
        needed <= MOST_BYTES,
        f"{len(asked):,} images in the one file {request.out} would take {needed / 2**30:,.1f} GiB of memory",
        f"at most {MOST_BYTES / 2**30:g} GiB, or a folder, whose name has no dot: it takes any number",
    )

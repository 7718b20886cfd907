"""The course of a training for TensorBoard."""

from pathlib import Path

from noisette.base.errors import NoisetteError
from noisette.base.files import writing
from noisette.training.loop import Event, Stepped, Validated


class Board:
    """Scalars against images seen, in the folder `tensorboard` of a run; nothing is written before `open`."""

    def __init__(self, run: Path) -> None:
        """Raises NoisetteError where TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise NoisetteError("--tensorboard needs the extra 'track': pip install 'noisette[track]'") from error
        self.folder, self._make, self._writer = run / "tensorboard", SummaryWriter, None  # type: tuple[Path, Any, Any]

    def open(self) -> None:
        """Begin, or go on with what is there. Raises NoisetteError, as all below do, when the disk refuses."""
        with writing(self.folder):
            self._writer = self._make(str(self.folder))

    def add(self, event: Event) -> None:
        """What an event says in numbers."""
        if not isinstance(event, Stepped | Validated):
            return
        kind = "training" if isinstance(event, Stepped) else "validation"
        with writing(self.folder):
            self._writer.add_scalar(f"loss/{kind}", event.loss, event.images_seen)
            if isinstance(event, Stepped):
                self._writer.add_scalar("learning_rate", event.learning_rate, event.images_seen)
                self._writer.add_scalar("gradient_norm", event.gradient_norm, event.images_seen)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            with writing(self.folder):
                self._writer.close()

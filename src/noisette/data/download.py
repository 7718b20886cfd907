"""Downloads from the first mirror that serves the right bytes; a file is whole or absent."""

from collections.abc import Sequence
from pathlib import Path

from noisette.base.errors import NoisetteError, one_line

TIMEOUT_SECONDS = 20


def fetch(file_name: str, checksum: str, mirrors: Sequence[str], folder: Path) -> Path:
    """The path of `file_name` in `folder`, downloaded unless a copy with the right checksum is there.

    `checksum` is "sha256:..." or "md5:...". `mirrors` are base addresses that end in "/", tried in order: one that is
    dead, cuts the connection or serves other bytes is passed over. Raises NoisetteError, with each mirror's fault, when
    none is left.
    """
    import pooch  # here, since most runs download nothing
    from requests import RequestException

    downloader = pooch.HTTPDownloader(
        chunk_size=2**16,
        timeout=TIMEOUT_SECONDS,
        headers={"Accept-Encoding": "identity"},  # else a .gz file may arrive inflated, with another checksum
    )
    faults = []
    for mirror in mirrors:
        try:
            found = pooch.retrieve(mirror + file_name, checksum, fname=file_name, path=folder, downloader=downloader)
            return Path(found)
        except (RequestException, ValueError) as error:
            faults.append(f"{mirror} ({_fault(error)})")
        except OSError as error:  # not the mirror's fault, so the next one would not help
            raise NoisetteError(f"cannot keep {file_name} in {folder}: {error.strerror or error}") from error
    advice = "to use a copy of your own, give its folder as --data-dir"
    raise NoisetteError(f"no mirror served {file_name}: {'; '.join(faults)}; {advice}")


def _fault(error: Exception) -> str:
    """What went wrong in a few words: the messages of requests are long and name its own classes."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError):
        return f"HTTP status {error.response.status_code if error.response is not None else 'unknown'}"
    if isinstance(error, exceptions.Timeout):
        return f"no answer in {TIMEOUT_SECONDS} seconds"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "connection cut"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    if not isinstance(error, exceptions.RequestException):  # pooch's ValueError
        return "wrong checksum"
    return one_line(error)

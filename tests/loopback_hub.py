"""A server of this machine that answers as the Hugging Face hub does; no test needs a network."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub(BaseHTTPRequestHandler):
    """The few routes that its libraries ask of it, for one repository, owner/name, of the files in `root`."""

    protocol_version = "HTTP/1.1"
    root: Path
    asked: list[str]
    api, files = "/api/datasets/owner/name", "/datasets/owner/name"
    revision = "a" * 40

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        files = sorted(file for file in self.root.rglob("*") if file.is_file())
        if path in (self.api, f"{self.api}/revision/{self.revision}", f"{self.api}/revision/main"):
            siblings = [{"rfilename": file.relative_to(self.root).as_posix()} for file in files]
            return self.answer({"id": "owner/name", "sha": self.revision, "tags": [], "siblings": siblings})
        if path.startswith(f"{self.api}/tree/{self.revision}"):
            folder = self.root / path.removeprefix(f"{self.api}/tree/{self.revision}").lstrip("/")
            return self.answer([self.entry(each) for each in sorted(folder.iterdir())])
        file = self.root / path.rpartition(f"/resolve/{self.revision}/")[2].lstrip("/")
        if path.startswith(f"{self.files}/") and file.is_file():
            return self.answer(file.read_bytes())
        absent = "EntryNotFound" if "owner/name" in path else "RepoNotFound"
        return self.answer({"error": "absent"}, 404, {"X-Error-Code": absent})

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def entry(self, path: Path) -> dict[str, object]:
        name, size = path.relative_to(self.root).as_posix(), path.stat().st_size
        return {"type": "file" if path.is_file() else "directory", "path": name, "oid": "0" * 40, "size": size}

    def answer(self, content: object, status: int = 200, more: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": self.revision} | (more or {})
        if (asked := self.headers.get("Range")) and status == 200:
            first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            headers["Content-Range"] = f"bytes {first}-{min(last, len(body) - 1)}/{len(body)}"
            body, status = body[first : last + 1], 206
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output stays readable."""


class ModelHub(Hub):
    """The same for a repository of a model."""

    api, files = "/api/models/owner/name", "/owner/name"


@contextmanager
def serving(hub: type[Hub], root: Path) -> Iterator[dict[str, str]]:
    """Within, the files in `root` are served; the variables that make the hub's libraries ask here, and with an empty
    cache."""
    hub.root, hub.asked = root, []
    with ThreadingHTTPServer(("127.0.0.1", 0), hub) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{found.server_port}"
        own = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        yield own | {"HF_HOME": str(root.parent / "home")}
        found.shutdown()
        thread.join()

"""A page in a real browser, by Chromium's DevTools protocol over pipes."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser")


class Browser:
    """A tab of a headless Chromium."""

    def __init__(self, commands: BinaryIO, answers: BufferedReader) -> None:
        self._commands, self._answers = commands, answers
        self._buffer, self._number, self._session = b"", 0, {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(
        self, page: Path | str, width: int = 1440, height: int = 900, dark: bool = False
    ) -> None:
        """Open a page in a window of this size, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        features = {"prefers-color-scheme": "dark" if dark else "light"}
        features["prefers-reduced-motion"] = "reduce"  # a link leads there at once
        media = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """Run a script's expression in the page, await it, and return its value."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until a script's expression in the page is true, 30 seconds at most."""
        end = monotonic() + 30
        while not self.run(script):
            assert monotonic() < end, script
            sleep(0.02)

    def find_frame(self) -> Callable[[str], Any]:
        """Return what runs a script's expression in the page's only frame."""
        [child] = self.call("Page.getFrameTree")["frameTree"]["childFrames"]
        world = self.call("Page.createIsolatedWorld", frameId=child["frame"]["id"])

        def run(script: str) -> Any:
            result = self.call(
                "Runtime.evaluate",
                expression=script, contextId=world["executionContextId"], returnByValue=True,
            )  # fmt: skip
            assert "exceptionDetails" not in result, result
            return result["result"].get("value")

        return run

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, text=text, windowsVirtualKeyCode=code,
            )  # fmt: skip

    def take_picture(self, whole: bool = False) -> bytes:
        """Return what is seen, or the whole page, as a PNG."""
        result = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(result["data"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = self._answers.read1(1 << 20)
            assert data, "the browser ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def start_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser whose profile is in a folder."""
    assert CHROMIUM is not None
    (read_commands, commands), (answers, write_answers) = os.pipe(), os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    flags += ["--disable-features=IsolateSandboxedIframes"]  # scripts of tests reach into frames
    # The browser reads from 3 and writes to 4.
    command = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", CHROMIUM, *flags, f"--user-data-dir={folder}"],
        pass_fds=(read_commands, write_answers), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(read_commands)
    os.close(write_answers)
    try:
        with os.fdopen(commands, "wb") as write, os.fdopen(answers, "rb") as read:
            yield Browser(write, read)
    finally:
        process.terminate()
        process.wait(timeout=60)

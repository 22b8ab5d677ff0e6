"""A real browser, driven over its debugging pipe."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Chromium reads commands from descriptor 3 and answers on 4.
_AT_3_AND_4 = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


_FRAME_POINT = """
(title, x, y) => {
  const headed = (plot) => plot.querySelector("h3").textContent.trim().startsWith(title);
  const canvas = [...document.querySelectorAll(".plot")].find(headed).querySelector(".canvas");
  canvas.scrollIntoView({ block: "center" });
  const view = [...Bokeh.index.roots].find((root) => canvas.contains(root.el));
  const box = view.frame.bbox, at = view.el.getBoundingClientRect();
  return [at.left + box.left + x * box.width, at.top + box.top + y * box.height];
}
"""

_TOOLTIPS = """
(() => {
  const texts = [];
  const told = (root) =>
    [...root.children].filter((e) => e.tagName !== "STYLE").map((e) => e.textContent).join("").trim();
  const walk = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.classList.contains("bk-Tooltip")) texts.push(told(element.shadowRoot ?? element));
      if (element.shadowRoot) walk(element.shadowRoot);
    }
  };
  walk(document);
  return texts.join(" | ");
})()
"""


class Browser:
    """Chromium over `--remote-debugging-pipe`: JSON messages, each ended by a NUL."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("no chromium on this machine: apt-get install chromium")
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
        ).split()
        command = [program, *flags, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AT_3_AND_4, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._reader = os.fdopen(self._from, "rb")
        self._count, self.events = 0, []
        [page] = [t for t in self._send("Target.getTargets")["targetInfos"] if t["type"] == "page"][:1]
        self._session = self._send("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def _message(self) -> dict:
        buffer = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            assert byte, "the browser went away"
            buffer += byte
        return json.loads(buffer)

    def _send(self, method: str, session: str | None = None, **params) -> dict:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def send(self, method: str, **params) -> dict:
        return self._send(method, self._session, **params)

    def open(self, file: Path | str, *, width: int, height: int = 900, dark: bool = False, still: bool = False) -> None:
        """Load a file or address at a width in CSS pixels and wait until its curves are drawn."""
        self.events.clear()
        phone = width < 600
        screen = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.send("Emulation.setDeviceMetricsOverride", **screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}
        self.send("Emulation.setEmulatedMedia", features=[scheme, motion])
        self.send("Page.navigate", url=file if isinstance(file, str) else file.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())
        self.settle()

    def settle(self) -> None:
        """Wait until nothing that the page draws is changing any more."""
        self.evaluate("new Promise((done) => setTimeout(done, 1500))")

    def evaluate(self, expression: str):
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, to: Path) -> None:
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        to.write_bytes(base64.b64decode(shot["data"]))

    def press(self, key: str) -> None:
        """Press a key, such as Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13, "Backspace": 8, " ": 32}
        text = {"text": "\r"} if key == "Enter" else {}
        about = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Type text into what has the focus, character by character."""
        for character in text:
            self.send("Input.dispatchKeyEvent", type="keyDown", key=character, text=character)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=character)

    def tab_to(self, selector: str, *, most: int = 600) -> bool:
        """Press Tab until what a selector names has the focus; whether it ever had."""
        for _ in range(most):
            self.press("Tab")
            if self.evaluate(f"document.activeElement.matches(`{selector}`)"):
                return True
        return False

    def walk(self, most: int) -> tuple[int, list[str]]:
        """Press Tab through the page; how many elements had the focus, and those that did not show it."""
        seen, unmarked = 0, []
        for _ in range(most):
            self.press("Tab")
            name, outline, first = self.evaluate(
                "(() => { const e = document.activeElement, first = !e.dataset.walked; e.dataset.walked = 1;"
                " const { outlineStyle } = getComputedStyle(e.closest('.canvas') ?? e);"
                " return [`${e.tagName}.${e.className}`, outlineStyle, first]; })()"
            )
            seen += first
            if outline != "solid" and not name.startswith("BODY"):
                unmarked.append(name)
        return seen, unmarked

    def hover(self, title: str, x: float, y: float) -> str:
        """Point at a place of the plot under a heading, in shares of its frame from left and top."""
        left, top = self.evaluate(f"({_FRAME_POINT})({json.dumps(title)}, {x}, {y})")
        for shift in (1, 0):
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=left + shift, y=top)
        self.evaluate("new Promise((done) => setTimeout(done, 300))")
        return self.evaluate(_TOOLTIPS)

    @property
    def requests(self) -> list[str]:
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions included."""
        said = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                said.append(event["params"]["exceptionDetails"]["text"])
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] != "info":
                said.append(event["params"]["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning"):
                said.append(str(event["params"]["args"]))
        return said

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        self._reader.close()

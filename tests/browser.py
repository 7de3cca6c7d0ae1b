"""A headless Chromium, spoken to by the DevTools protocol through pipes: no driver, no port."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from waiting import LONG, until

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def chromium() -> str:
    """Path of the browser; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    return found


class Browser:
    """One page of a browser; a context manager that ends it."""

    def __init__(self, profile: Path):
        ours_out, theirs_in = os.pipe()[::-1]
        theirs_out, ours_in = os.pipe()[::-1]
        self._in, self._out, self._left, self._number, self.events = ours_in, ours_out, b"", 0, []
        # The protocol is read from descriptor 3 and written to 4.
        command = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", chromium(), *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._session = None
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.terminate()
        self._process.wait(300)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, timeout: float = LONG, **params):
        """Result of a method of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _receive(self, deadline: float) -> dict:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self._in, 1 << 20)
            assert more, "the browser has ended"
            self._left += more
        text, _, self._left = self._left.partition(b"\0")
        return json.loads(text)

    def screen(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """Make the window this large, in CSS pixels; a phone's has two pixels to each and touch."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def open(self, address: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=address)

    def js(self, expression: str):
        """Value of an expression in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def in_frame(self, expression: str):
        """Wait until an expression is true of the frame of another origin that the page holds; returns its value."""
        frame = until(self._frame, every=0.1)
        own = self._session
        self._session = self.call("Target.attachToTarget", targetId=frame, flatten=True)["sessionId"]
        try:
            return self.until(expression)
        finally:
            self._session = own

    def _frame(self) -> str | None:
        """Target of the page's frame; the browser has frames of its own, too."""
        address = self.js("document.querySelector('iframe')?.src")
        targets = self.call("Target.getTargets")["targetInfos"]
        return next((t["targetId"] for t in targets if t["url"] == address), None)

    def until(self, expression: str):
        """Wait until an expression is true of the page, and return its value."""
        try:
            return until(lambda: self.js(expression), every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {expression}; the page says: {self.text()[:3000]}") from None

    def text(self) -> str:
        """What a person reads on the page, those frames included that come from the same place."""
        return self.js("document.body.innerText")

    def sees(self, *words: str) -> None:
        """Wait until the page shows all these words."""
        for word in words:
            text = "document.body.innerText.replaceAll('\\u00a0', ' ')"
            self.until(f"document.body && {text}.includes({json.dumps(word)})")

    def click(self, text: str, selector: str = "a, button, [role=tab], [role=menuitem], label, span, td") -> None:
        """Click the first visible element of this text."""
        place = self.until(
            f"""(() => {{
              const found = [...document.querySelectorAll({json.dumps(selector)})].find((e) =>
                e.innerText && e.innerText.trim() === {json.dumps(text)} && e.getClientRects().length);
              if (!found) return null;
              found.scrollIntoView({{ block: "center" }});
              const box = found.getBoundingClientRect();
              return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def shot(self, path: Path, *, whole: bool = False) -> None:
        """Keep what the window shows, or the whole page, as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page to A4."""
        answer = self.call(
            "Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True
        )
        path.write_bytes(base64.b64decode(answer["data"]))

    def requests(self) -> list[str]:
        """Addresses that pages have asked for since the browser was started."""
        self.js("0")
        sent = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

"""The live page: who may see it, what it serves, and that its clicks do what they say in a real browser."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pytest
from PIL import Image

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.core.extras import MissingPackage
from unlabeled.report.live import Live
from unlabeled.verbs.compare import compare

DIRECT = build_opener(ProxyHandler({}))
"""The module's own opener keeps the proxies of whoever asked first in this process."""


@pytest.fixture(scope="module")
def runs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two runs, and a copy of the forgotten one that was purged, in a folder of their own."""
    folder = tmp_path_factory.mktemp("live")
    for name, new in (("original", "a-original"), ("forgotten", "b-forgotten"), ("forgotten", "c-purged")):
        shutil.copytree(home / name, folder / new)
    (folder / "c-purged" / run_files.REQUEST).unlink()
    return folder


@pytest.fixture(scope="module")
def live(runs: Path) -> Iterator[Live]:
    page = compare([runs])
    thread = threading.Thread(target=page.serve)
    thread.start()
    yield page
    page.stop()
    thread.join(20)
    assert not thread.is_alive()


def get(address: str, host: str | None = None) -> tuple[int, bytes, Any]:
    request = Request(address, headers={} if host is None else {"Host": host})
    try:
        with DIRECT.open(request, timeout=120) as answer:
            return answer.status, answer.read(), answer.headers
    except HTTPError as error:
        return error.code, error.read(), error.headers


def asked(runs: Path) -> np.ndarray:
    return np.array(json.loads((runs / "b-forgotten" / run_files.REQUEST).read_text())["rows"])


def test_without_the_token_or_under_another_name_nothing_is_served(live: Live) -> None:
    root = live.address.removesuffix(f"{live.token}/")
    port = root.rstrip("/").rpartition(":")[2]
    wrong = ("", "favicon.ico", "x" * len(live.token) + "/", f"{live.token[:-1]}/", f"x/{live.token}/", "%C3%A9/")
    for path in (*wrong, "pictures/0-1/0.png", f"?token={live.token}"):
        code, body, headers = get(f"{root}{path}")
        assert (code, b"403" in body) == (403, True), path
        assert headers["cache-control"] == "no-store"
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"localhost.evil.example:{port}"):
        assert get(live.address, host)[0] == 403, host
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        code, _, headers = get(live.address, host)
        assert code == 200
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_it_listens_on_this_machine_alone(live: Live) -> None:
    assert live.address.startswith("http://127.0.0.1:")
    port = int(live.address.split(":")[2].partition("/")[0])
    assert live._socket.getsockname() == ("127.0.0.1", port)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # no packet is sent: it only says which address this machine has elsewhere
        if (own := probe.getsockname()[0]) != "127.0.0.1":
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((own, port), timeout=5)
    with pytest.raises(UserError, match=f"port {port} cannot be had"):
        Live(live.runs, live.names, port=port)


def test_pictures_are_those_of_the_data_and_only_those_that_may_be_seen(live: Live, runs: Path, home: Path) -> None:
    shown, _ = live._read(0, 1)
    row = int(shown.rows("forget")[3])
    code, body, headers = get(f"{live.address}pictures/0-1/{row}.png")
    assert (code, headers["content-type"]) == (200, "image/png")
    pixels = np.load(home / "d.npz")["x_train"][asked(runs)[3]]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(body))), pixels)
    for path in ("pictures/0-1/9999.png", "pictures/0-7/0.png", "pictures/0-0/0.png", "pictures/0-1/0.png/..", "x"):
        assert get(f"{live.address}{path}")[0] == 404, path
    # what was purged in one of the two is not read for the other
    shown, _ = live._read(0, 2)
    assert not len(shown.rows("forget"))
    assert not np.isin([f"train image {i}" for i in asked(runs)], shown.names).any()
    for query in ("?first=0&second=9", "?first=-1", "?first=x", "?first=%C2%B2"):
        assert get(f"{live.address}{query}")[0] == 404, query
    assert b"these are the same run" in get(f"{live.address}?first=1&second=1")[1]


def test_a_purge_while_the_page_is_open_ends_what_it_shows(runs: Path, tmp_path: Path) -> None:
    for name in ("a-original", "b-forgotten"):
        shutil.copytree(runs / name, tmp_path / name)
    page = compare([tmp_path])
    row = int(page._read(0, 1)[0].rows("forget")[0])
    assert page.picture(0, 1, row) is not None
    before = set(page._read(0, 1)[0].names)
    (tmp_path / "b-forgotten" / run_files.REQUEST).unlink()
    shown, _ = page._read(0, 1)
    assert not len(shown.rows("forget"))
    assert len(page._pairs) == 1
    gone = {f"train image {i}" for i in asked(runs)}
    assert gone <= before
    assert gone.isdisjoint(shown.names)
    page._socket.close()


def test_it_writes_nothing(runs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    page = compare([runs / "a-original", runs / "b-forgotten"])
    assert "b-forgotten" in page.page(0, 1)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before
    page._socket.close()


def test_what_is_wrong_is_said_in_a_line(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"at least two finished runs, and .* holds 1"):
        compare([runs / "a-original", runs / "a-original"])
    (tmp_path / "begun").mkdir()
    shutil.copy(runs / "a-original" / "recipe.yaml", tmp_path / "begun")
    with pytest.raises(UserError, match=r"begun has not finished; go on with: unlabeled pretrain"):
        compare([runs / "a-original", tmp_path / "begun"])
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(
        MissingPackage, match=r"compare needs the package 'uvicorn'.* pip install 'unlabeled\[compare\]'"
    ):
        compare([runs])


def value(browser: Any, script: str, *arguments: object) -> Any:
    return browser.execute_script(f"return {script}", *arguments)


def click(browser: Any, selector: str, number: int = 0) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    element = browser.find_elements(By.CSS_SELECTOR, selector)[number]
    before, top = None, 0.0
    while before != top:  # a page that was just opened may still be on its way to its anchor
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        time.sleep(0.1)
        before, top = top, value(browser, "arguments[0].getBoundingClientRect().top", element)
    ActionChains(browser).move_to_element(element).click().perform()


def test_a_click_on_a_picture_says_what_both_runs_think_of_it(live: Live, browser: Any) -> None:
    browser.get(live.address)
    click(browser, ".picks button", 1)
    number = int(value(browser, "document.querySelector('.picks .chosen').dataset.i"))
    assert value(browser, "document.querySelectorAll('circle.chosen').length") == 2
    card = value(browser, "document.querySelector('.card').innerText")
    shown, (first, second) = live._read(0, 1)
    assert shown.names[number] in card
    for reading in (first, second):
        assert f"{reading.scores['outputs'][number]:.2f}" in card
    source = value(browser, "document.querySelector('.card img').src")
    assert source == f"{live.address}pictures/0-1/{number}.png"
    assert value(browser, "document.querySelector('.card img').decode().then(() => true)")
    assert value(browser, "document.querySelector('.card img').naturalWidth") == 8
    click(browser, ".scatter circle:last-of-type", 1)
    assert value(browser, "document.querySelectorAll('circle.chosen').length") == 2
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_threshold_moves_the_rates_of_both_runs(live: Live, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.get(live.address)
    slider = browser.find_element(By.CSS_SELECTOR, ".attack[data-name=outputs] input")
    for _ in range(7):
        slider.send_keys(Keys.ARROW_LEFT)
    threshold = float(slider.get_attribute("value"))
    assert threshold == pytest.approx(0.43)
    shown, readings = live._read(0, 1)
    for place, reading in enumerate(readings):
        for rate, group in (("tpr", "forget"), ("fpr", "unseen")):
            scores = np.round(reading.scores["outputs"][shown.rows(group)], 4)
            text = value(
                browser, f"document.querySelectorAll('.attack[data-name=outputs] .{rate}')[{place}].textContent"
            )
            assert text == f"{100 * float((scores > threshold).mean()):.1f}"
    assert value(browser, "document.querySelector('.attack[data-name=outputs] .at').textContent") == "0.43"


def test_another_pair_is_picked_in_the_form_and_in_the_table(live: Live, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait

    browser.get(live.address)
    Select(browser.find_element(By.CSS_SELECTOR, "form.pick select[name=second]")).select_by_index(2)
    WebDriverWait(browser, 60).until(lambda b: "second=2" in b.current_url)
    assert value(browser, "document.querySelector('#compared h2').innerText") == "a-original beside c-purged"
    assert "it was purged" in value(browser, "document.querySelector('#compared').innerText")
    click(browser, "table[data-name=screening] a")
    WebDriverWait(browser, 60).until(lambda b: "second=1" in b.current_url)
    assert value(browser, "document.querySelector('#compared h2').innerText") == "a-original beside b-forgotten"
    narrow = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    assert value(browser, "document.documentElement.scrollWidth") <= 390
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_of_many_runs_the_first_pair_is_a_run_and_what_it_came_from(home: Path, runs: Path) -> None:
    page = compare([home / "forgotten", runs / "c-purged", home / "original"])
    assert page._pair() == (2, 0)
    page._socket.close()
    page = compare([home / "forgotten", home / "original"])
    assert page._pair() == (0, 1)
    page._socket.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_the_verb_prints_the_address_and_ctrl_c_ends_it(runs: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "unlabeled", "compare", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip() if process.stdout else ""
        assert get(f"{address}x")[0] == 404
        assert get(address.rstrip("/")[:-3])[0] == 403
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (0, "closed\n")

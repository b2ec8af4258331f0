"""The page in a real browser: it renders, says nothing on the console, and hover and sort work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unlabeled.report import RunContent, page


@pytest.fixture
def opened(browser: Any, make_content: Callable[..., RunContent], hostile: str, tmp_path: Path) -> Any:
    path = tmp_path / "page.html"
    runs = [make_content(), make_content(hostile, 0.05, text=hostile)]
    path.write_text(page(runs), encoding="utf-8")
    browser.get(path.as_uri())
    return browser


def hover(browser: Any, selector: str) -> Any:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    element = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    ActionChains(browser).move_to_element(element).perform()
    return browser.find_element(By.ID, "tip")


def test_it_renders_and_the_console_is_silent(opened: Any) -> None:
    assert opened.get_log("browser") == []
    assert opened.title == "2 runs compared"
    assert opened.execute_script("return window.hacked") is None
    assert opened.execute_script("return document.querySelectorAll('section').length") == 8
    width = opened.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0
    broken = "return [...document.images].filter(i => i.loading !== 'lazy' && !i.naturalWidth).length"
    assert opened.execute_script(broken) == 0


def test_nothing_is_wider_than_a_telephone(opened: Any) -> None:
    narrow = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    beyond = (
        "return [...document.querySelectorAll('main *, header *')].filter(e => !e.closest('.wide, pre, svg, table') &&"
        " e.getBoundingClientRect().right > 391).map(e => e.tagName + '.' + e.className)"
    )
    try:
        assert opened.execute_script(beyond) == []
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_point_shows_its_image_and_name_everywhere(opened: Any) -> None:
    tip = hover(opened, ".maps circle[data-i='5']")
    assert tip.is_displayed()
    assert "5.png" in tip.text
    style = opened.execute_script("return getComputedStyle(document.querySelector('#tip i')).backgroundImage")
    assert style.startswith('url("data:image/png')
    assert opened.execute_script("return document.querySelectorAll('.scatter circle.on').length") == 4
    assert opened.execute_script("return window.hacked") is None


def test_a_cell_of_the_confusion_matrix_explains_itself(opened: Any) -> None:
    assert "8 of 10 (80.0 %)" in hover(opened, ".confusion td.hit").text


def test_columns_sort_both_ways(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    read = (
        "return [...document.querySelectorAll('table[data-name=probes] tbody tr')]"
        ".map(r => Number([...r.cells].find(c => c.classList.contains('num')).dataset.value))"
    )
    before = opened.execute_script(read)
    head = next(
        e for e in opened.find_elements(By.CSS_SELECTOR, "table[data-name=probes] th button") if "accuracy" in e.text
    )
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", head)
    head.click()
    assert opened.execute_script(read) == sorted(before, reverse=True)
    head.click()
    assert opened.execute_script(read) == sorted(before)
    assert opened.execute_script("return document.querySelectorAll('th[aria-sort=ascending]').length") == 1


def test_a_class_in_the_legend_stands_alone(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    button = opened.find_element(By.CSS_SELECTOR, ".classes button")
    opened.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'}); arguments[0].click()", button
    )
    assert opened.execute_script("return document.querySelectorAll('.scatter circle:not(.off)').length") == 32
    opened.execute_script("arguments[0].click()", button)
    assert opened.execute_script("return document.querySelectorAll('.scatter circle.off').length") == 0


def test_the_button_changes_light_to_dark(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    colour = "return getComputedStyle(document.body).backgroundColor"
    before = opened.execute_script(colour)
    opened.find_element(By.ID, "theme").click()
    assert opened.execute_script(colour) != before


def test_it_prints(opened: Any) -> None:
    import base64

    opened.execute_script("document.documentElement.dataset.theme = 'dark'")
    assert base64.b64decode(opened.print_page()).startswith(b"%PDF")
    # nothing is folded away on paper, and dark pages are printed on white
    assert opened.execute_script("return [...document.querySelectorAll('details')].every((d) => d.open)")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    look = "const s = getComputedStyle(document.querySelector(arguments[0])); return s[arguments[1]]"
    assert opened.execute_script(look, "nav", "display") == "none"
    assert opened.execute_script(look, "body", "backgroundColor") == "rgb(255, 255, 255)"
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

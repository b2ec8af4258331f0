from __future__ import annotations

import html.parser
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from unlabeled.report import RunContent, markdown, page, probe_rows
from unlabeled.report.charts import Line, line_chart, number, thinned, ticks
from unlabeled.report.content import Confusion
from unlabeled.report.markup import Markup, tag
from unlabeled.report.sections import confusion

Make = Callable[..., RunContent]


class Elements(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))
        if name not in ("meta", "img", "link", "br"):
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        if name != "link":
            assert self.open.pop() == name


def test_a_page_is_whole_and_asks_for_nothing_from_outside(make_content: Make) -> None:
    text = page([make_content(), make_content("second", 0.05)])
    elements = Elements(text)
    assert elements.open == []
    for name, attributes in elements.found:
        for key in ("src", "href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (name, value)
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org\S*", "", text)


def test_hostile_text_stays_text(make_content: Make, hostile: str) -> None:
    elements = Elements(page([make_content(hostile, text=hostile), make_content("second", 0.1, text=hostile)], hostile))
    assert sum(name == "script" for name, _ in elements.found) == 1
    for _, attributes in elements.found:
        assert not any(key.startswith("on") for key in attributes)
        assert attributes.get("src") != "x"


def test_every_section_is_there_and_empty_ones_are_not(make_content: Make) -> None:
    text = page([make_content()])
    for name in ("probes", "training", "embeddings", "neighbours", "confusions", "views", "forgetting", "recipe"):
        assert f'<section id="{name}">' in text
    assert "<section" not in page([RunContent("bare")])


def test_baselines_and_gains_are_named(make_content: Make) -> None:
    text = page([make_content()])
    assert "raw pixels" in text
    assert "+20.0 over the best baseline" in text
    assert "80.0" in text


def test_every_probe_has_its_bars(make_content: Make) -> None:
    names = ("linear", "logistic", "knn", "nmc", "lda", "ridge", "mahalanobis")
    probes = {name: {"top1": 0.5, "interval": [0.4, 0.6], "n": 40} for name in names}
    text = page([replace(make_content(), probes=[{"model": "first", "data": "clothes", "probes": probes}])])
    assert text.count('class="bar r0"') == len(names)


def test_a_matrix_of_many_classes_scrolls_by_itself() -> None:
    text = confusion(Confusion("linear", [f"class {i}" for i in range(20)], np.eye(20, dtype=np.int64)))
    assert '<div class="wide"><table class="confusion">' in text


def test_measures_of_forgetting_are_said_in_words(make_content: Make) -> None:
    text = page([make_content()])
    assert "accuracy, test images of the class forgotten<small>" in text
    assert ">60.0 %</td>" in text
    assert "after forgetting" in text
    assert "test_f" not in text


def test_runs_that_differ_say_in_what(make_content: Make) -> None:
    assert "settings that differ: 1" in page([make_content(), make_content("second", 0.05)])
    assert "the same" in page([make_content(), make_content("second")])


def test_tags_escape_what_is_not_markup() -> None:
    assert tag("p", "<b>", Markup("<i>"), None, ["&", 1]) == "<p>&lt;b&gt;<i>&amp;1</p>"
    assert tag("a", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"></a>'
    assert tag("p", Markup("<i>") + "<b>") == "<p>&lt;i&gt;&lt;b&gt;</p>"


def test_curves_are_thinned_by_means_and_skip_what_is_no_number() -> None:
    line = thinned(Line("loss", 0, list(range(1000)), [1.0] * 500 + [3.0] * 500))
    assert len(line.x) <= 160
    assert np.mean(line.y) == pytest.approx(2.0, abs=0.05)
    assert line_chart([Line("loss", 0, [1, 2], [float("nan"), float("inf")])]) == ""
    assert "nan" not in line_chart([Line("loss", 0, [1, 2, 3], [1.0, float("nan"), 2.0])])


def test_ticks_are_round() -> None:
    assert ticks(0, 1) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(3, 3) == [3]
    assert [number(v) for v in (0, 1234567, 0.06, 12.0, 0.00001, float("nan"))] == [
        "0",
        "1.2e6",
        "0.06",
        "12",
        "1e-5",
        "–",
    ]


def test_many_classes_show_the_commonest_mistakes() -> None:
    counts = np.eye(40, dtype=np.int64) * 9
    counts[3, 7] = 5
    text = confusion(Confusion("linear", [f"class {i}" for i in range(40)], counts))
    assert text.count("<tr>") == 2
    assert "class 7" in text


def test_broken_probe_entries_are_left_out_and_markdown_cannot_be_escaped() -> None:
    good = {
        "model": "a|b <i>",
        "data": "d",
        "probes": {"knn": {"top1": 0.5, "interval": [0.4, 0.6]}, "bad": {"top1": "x"}},
    }
    rows = probe_rows([good, {"probes": 3}, {}])
    assert [row.probe for row in rows] == ["knn"]
    line = markdown(rows).splitlines()[-1]
    assert line == r"| a\|b &lt;i&gt; | d | 50.0 [40.0, 60.0] |"

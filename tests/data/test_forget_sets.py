from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.core.errors import UserError
from unlabeled.data.forget_sets import ForgetSplit, forget_split

LABELS = np.arange(200) % 10  # classes in turn, as real data has them: labels of sorted rows differ from row to row


def test_classes_by_number_range_and_name() -> None:
    assert set(LABELS[forget_split("class:0", 200, LABELS).forget_rows]) == {0}
    assert set(LABELS[forget_split("class:3,5", 200, LABELS).forget_rows]) == {3, 5}
    assert set(LABELS[forget_split("class:2-4,9", 200, LABELS).forget_rows]) == {2, 3, 4, 9}
    names = [f"thing {i}" for i in range(10)]
    assert set(LABELS[forget_split("class:thing 7", 200, LABELS, classes=names).forget_rows]) == {7}


@given(st.integers(1, 99), st.integers(0, 5))
def test_every_row_is_kept_or_forgotten_once(percent: int, seed: int) -> None:
    split = forget_split(f"random:{percent}%", 200, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([split.forget_rows, split.retain_rows])), np.arange(200))
    assert len(split.forget_rows) == round(2 * percent)
    again = forget_split(f"random:{percent}%", 200, seed=seed)
    assert np.array_equal(split.forget_rows, again.forget_rows)


def test_random_takes_the_share_of_each_class() -> None:
    split = forget_split("random:40%@5-9", 200, LABELS, seed=1)
    assert np.array_equal(np.bincount(LABELS[split.forget_rows], minlength=10), [0] * 5 + [8] * 5)
    assert not split.removes_classes
    assert not np.array_equal(split.forget_rows, forget_split("random:40%@5-9", 200, LABELS, seed=2).forget_rows)


def test_noisy_labels_are_all_wrong_and_only_on_the_forget_set() -> None:
    split = forget_split("noisy:60%@0-4", 200, LABELS)
    used = split.training_labels(LABELS)
    assert split.noisy_labels is not None
    assert np.array_equal(np.flatnonzero(used != LABELS), split.forget_rows)
    assert np.array_equal(np.bincount(LABELS[split.forget_rows], minlength=10), [12] * 5 + [0] * 5)
    assert used.min() >= 0
    assert used.max() < 10


def test_rows_from_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "rows.txt"
    listed.write_text("# a request\n5, 3\n17 5\n")
    assert forget_split(f"indices:{listed}", 200).forget_rows.tolist() == [3, 5, 17]


def test_the_most_memorised_are_those_with_the_highest_scores() -> None:
    scores = np.random.default_rng(0).permutation(200) / 200
    split = forget_split("memorised:10%", 200, scores=scores)
    assert set(split.forget_rows) == set(np.argsort(scores)[-20:])
    assert forget_split("memorised:2%", 200, scores=np.zeros(200)).forget_rows.tolist() == [0, 1, 2, 3]


def test_a_column_names_paths_each_with_all_of_its_rows() -> None:
    paths = ["x/a.png", "x/b.png", "x/a.png", "x/c.png"]
    split = forget_split("column:person=17", 4, paths=paths, named=["x/a.png", "x/held.png"])
    assert split.forget_rows.tolist() == [0, 2]
    assert split.passed == ("1 not in the data",)


def test_a_deletion_request_by_path(tmp_path: Path) -> None:
    paths = [f"data/cats/{i}.png" for i in range(5)] + ["data/dogs/0.png"]
    listed = tmp_path / "request.txt"
    listed.write_text("data/cats/3.png\ncats/1.png\n")
    assert forget_split(f"files:{listed}", 6, paths=paths).forget_rows.tolist() == [1, 3]
    listed.write_text("0.png\n")
    with pytest.raises(UserError, match="fits 2 images"):
        forget_split(f"files:{listed}", 6, paths=paths)
    listed.write_text("data/cats/33.png\n")
    with pytest.raises(UserError, match=r"holds none of these images \(data/cats/33.png: not in the data\)") as caught:
        forget_split(f"files:{listed}", 6, paths=paths)
    assert not any(path in str(caught.value) for path in paths), "no other image is proposed for deletion"


def test_a_request_is_answered_though_some_of_its_images_were_never_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, listed = [f"data/{i}.png" for i in range(6)], tmp_path / "request.txt"
    listed.write_text("data/1.png\n3.png\n8.png\ndata/9.png\nnobody.png\ndata/1.png\n")
    other = {"data/8.png": "held out and never trained on", "data/9.png": "held out and never trained on"}
    split = forget_split(f"files:{listed}", 6, paths=paths, elsewhere=other)
    assert split.forget_rows.tolist() == [1, 3]
    assert split.passed == ("2 held out and never trained on", "1 not in the data")
    assert "2 of 6 images; 2 held out and never trained on, 1 not in the data (seed 0)" in split.description
    said = capsys.readouterr().err
    assert "5 images are named: 2 were trained on" in said
    assert "8.png: held out and never trained on; data/9.png: held out" in said
    assert "nobody.png: not in the data" in said
    split.save(tmp_path / "split.npz")
    assert ForgetSplit.load(tmp_path / "split.npz").passed == split.passed
    listed.write_text("8.png\n")
    with pytest.raises(UserError, match=r"holds none of these images \(8.png: held out and never trained on\)"):
        forget_split(f"files:{listed}", 6, paths=paths, elsewhere=other)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("class:10", "no class 10; the data has classes 0 to 9"),
        ("class:cat", "no class 'cat'"),
        ("clas:1", "Did you mean 'class'"),
        ("class:", "want one of class:"),
        ("class:0-9", "names all 200 images"),
        ("random:0%", "names no image"),
        ("random:100%", "names all 200"),
        ("random:140%", "not a percentage"),
        ("random:many", "not a percentage"),
        ("random:10%@12", "no class 12"),
        ("random:10%@", "no class ''"),
        ("class:0-99999999999", "no class 99999999999; the data has classes 0 to 9"),
        ("class:5-3", "range is empty"),
        ("indices:/no/such/file", "no file /no/such/file"),
        ("files:whatever", "no file names"),
        ("memorised:10%", "shadow models"),
        ("column:person=17", "only a table"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        forget_split(spec, 200, LABELS)
    assert "\n" not in str(caught.value)


def test_indices_out_of_range_and_not_numbers(tmp_path: Path) -> None:
    listed = tmp_path / "rows.txt"
    for text, message in (
        ("3\n200\n", "row 200 .* out of range; the data has rows 0 to 199"),
        ("x\n", "'x' .* not a row number"),
        ("", "no image"),
        ("\xff", "no UTF-8 text"),
    ):
        listed.write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match=message):
            forget_split(f"indices:{listed}", 200)


def test_rows_are_named_as_the_data_has_them_where_a_part_of_it_was_trained_on(tmp_path: Path) -> None:
    listed = tmp_path / "rows.txt"
    listed.write_text("30, 10\n", encoding="utf-8-sig")  # with the mark that some editors put first
    trained = np.array([0, 10, 20, 30])
    assert forget_split(f"indices:{listed}", 4, rows=trained).forget_rows.tolist() == [1, 3]
    listed.write_text("3")
    with pytest.raises(UserError, match=r"row 3 in .* is none the model trained on"):
        forget_split(f"indices:{listed}", 4, rows=trained)


def test_classes_need_labels() -> None:
    with pytest.raises(UserError, match="the data has no labels"):
        forget_split("class:0", 200)


def test_saved_and_read_again(tmp_path: Path) -> None:
    for spec in ("noisy:60%@0-4", "class:1"):
        split = forget_split(spec, 200, LABELS, seed=3)
        split.save(tmp_path / "split.npz")
        again = ForgetSplit.load(tmp_path / "split.npz")
        assert (again.spec, again.seed, again.classes) == (split.spec, split.seed, split.classes)
        assert np.array_equal(again.forget_rows, split.forget_rows)
        assert np.array_equal(again.training_labels(LABELS), split.training_labels(LABELS))
    (tmp_path / "split.npz").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a forget split"):
        ForgetSplit.load(tmp_path / "split.npz")

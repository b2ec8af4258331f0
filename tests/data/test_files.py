from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import unlabeled
from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet, open_data
from unlabeled.data.listing import NoTestSplit, held_by_name, number_classes


def names_of(images: ImageSet, root: Path) -> list[str]:
    assert images.paths is not None
    return [str(Path(path).relative_to(root)) for path in images.paths]


def test_a_flat_folder_is_split_in_the_same_way_every_time(tmp_path, make_images):
    make_images(tmp_path, [f"{i:03}.png" for i in range(50)])
    train, test = open_data(f"folder:{tmp_path}"), open_data(str(tmp_path), "test")
    assert len(train) + len(test) == 50
    assert 4 <= len(test) <= 16
    assert not set(names_of(train, tmp_path)) & set(names_of(test, tmp_path))
    assert train.labels is None
    assert train.note == test.note
    assert train.note == (
        f"{len(test)} of 50 images are held out for testing, chosen by their names, because '{tmp_path}' has no test "
        "split of its own (data.holdout=0 trains on all)"
    )
    assert names_of(open_data(str(tmp_path)), tmp_path) == names_of(train, tmp_path)


def test_first_level_folders_are_classes_at_any_depth(tmp_path, make_images):
    make_images(tmp_path, [f"{c}/deep/{d}/{i}.png" for c in ("cat", "dog") for d in "xy" for i in range(10)])
    train, test = open_data(str(tmp_path)), open_data(str(tmp_path), "test")
    assert train.classes == ("cat", "dog")
    assert train.labels is not None
    assert [train.classes[label] for label in train.labels] == [n.split("/")[0] for n in names_of(train, tmp_path)]
    assert set(test.labels.tolist()) == set(train.labels.tolist()) == {0, 1}  # type: ignore[union-attr]
    assert "chosen by their names" in test.note


NAMES = st.lists(st.text(st.characters(exclude_categories=["Cc"]), min_size=1, max_size=6), min_size=2, unique=True)


@given(NAMES, st.integers(1, 4), st.data())
def test_a_fifth_is_held_by_its_names_and_every_class_is_on_both_sides(names, classes, data):
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=len(names), max_size=len(names))))
    kept, held = held_by_name(names, labels if classes > 1 else None)
    assert sorted([*kept, *held]) == list(range(len(names)))
    assert len(kept)
    assert len(held)
    groups = labels if classes > 1 else np.zeros_like(labels)
    for group in set(groups.tolist()):
        if (groups == group).sum() > 1:
            assert group in groups[kept]
            assert group in groups[held]


def test_images_that_come_or_go_move_no_other_image_across():
    names, labels = [f"{i % 3}/{i}.png" for i in range(600)], np.arange(600) % 3
    _, held = held_by_name(names, labels)
    assert 80 <= len(held) <= 160
    left = np.sort(np.random.default_rng(0).permutation(600)[:400])
    _, then = held_by_name([names[i] for i in left], labels[left])
    assert {names[left[i]] for i in then} == {names[i] for i in held} & {names[i] for i in left}


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path, make_images):
    make_images(tmp_path, [f"{c}/{i}.png" for c in range(12) for i in range(5)])
    assert open_data(str(tmp_path)).classes == tuple(map(str, range(12)))
    assert number_classes(["7", "-10", "3"])[1] == ("-10", "3", "7")
    assert number_classes(["7", "--10"])[1] == ("--10", "7")


@pytest.mark.parametrize("extra", ["loose.png", ""])
def test_folders_are_no_classes_where_images_lie_beside_them_or_there_is_one(tmp_path, make_images, extra):
    make_images(tmp_path, ["a/1.png", "a/2.png", *([extra, "b/3.png"] if extra else [])])
    assert open_data(str(tmp_path)).labels is None


@pytest.mark.parametrize("held", ["test", "val", "Validation"])
def test_split_folders_are_honoured(tmp_path, make_images, held):
    make_images(tmp_path, [f"train/{c}/{i}.png" for c in "abc" for i in range(4)])
    make_images(tmp_path, [f"{held}/{c}/{i}.png" for c in "bcd" for i in range(2)], seed=1)
    make_images(tmp_path, ["annotations/x.png"])
    train, test = open_data(str(tmp_path)), open_data(str(tmp_path), "test")
    assert (len(train), len(test)) == (12, 6)
    assert train.classes == test.classes == ("a", "b", "c", "d")
    assert test.labels is not None
    assert test.labels.tolist() == [1, 1, 2, 2, 3, 3]
    assert train.note == test.note == ""


def test_a_lone_train_folder_is_all_for_training_and_a_class_called_train_is_none(tmp_path, make_images):
    make_images(tmp_path / "one", [f"train/{c}/{i}.png" for c in "ab" for i in range(10)])
    assert open_data(str(tmp_path / "one")).classes == ("a", "b")
    assert len(open_data(str(tmp_path / "one"))) == 20
    with pytest.raises(NoTestSplit, match=r"only a training split; .* data.holdout=0.2"):
        open_data(str(tmp_path / "one"), "test")
    train, test = (open_data(str(tmp_path / "one"), split, holdout=0.2) for split in ("train", "test"))
    assert len(train) + len(test) == 20
    assert 2 <= len(test) < 20
    make_images(tmp_path / "two", [f"{c}/{i}.png" for c in ("train", "plane", "car") for i in range(5)])
    assert open_data(str(tmp_path / "two")).classes == ("car", "plane", "train")


def test_hidden_and_other_files_are_left_alone(tmp_path, make_images):
    make_images(tmp_path, ["1.png", "2.PNG", ".hidden.png", "._1.png", ".git/3.png", "__MACOSX/4.png"])
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert len(open_data(str(tmp_path))) + len(open_data(str(tmp_path), "test")) == 2


def test_links_are_followed_and_loops_end(tmp_path, make_images):
    make_images(tmp_path / "in", ["a/1.png", "a/2.png", *(f"b/x{i}.png" for i in range(21))])
    make_images(tmp_path / "else", ["4.png"])
    (tmp_path / "in/c").symlink_to(tmp_path / "else")
    (tmp_path / "in/a/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/b/self").symlink_to("self")
    (tmp_path / "in/b/5.png").symlink_to("5.png")
    (tmp_path / "in/b/6.png").symlink_to("nowhere.png")
    train = open_data(str(tmp_path / "in"), max_bad_fraction=0.5)
    assert len(train) + len(open_data(str(tmp_path / "in"), "test", max_bad_fraction=0.5)) == 24
    assert [Path(bad.path).name for bad in train.bad_files] == ["5.png", "6.png"]
    assert train.classes == ("a", "b", "c")


def test_names_in_any_alphabet_and_of_no_alphabet_are_read(tmp_path, make_images):
    make_images(tmp_path, ["æøå.png", "日本 語.png", "emoji 🐈.png", "e\u0301.png", "line\nbreak.png", "'\"$(x).png"])
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "odd.png")
    (tmp_path / "odd.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    train, test = open_data(str(tmp_path)), open_data(str(tmp_path), "test")
    assert len(train) + len(test) == 7
    paths = (*(train.paths or ()), *(test.paths or ()))
    assert all(path.isprintable() for path in paths)
    assert any("\\xff\\xfe.png" in path for path in paths)
    "".join(paths).encode()  # nothing that UTF-8 cannot hold


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_folders_that_may_not_be_read_are_listed(tmp_path, make_images):
    make_images(tmp_path, ["a/1.png", "a/2.png", "b/3.png", "locked/4.png"])
    (tmp_path / "locked").chmod(0)
    try:
        images = open_data(str(tmp_path), max_bad_fraction=0.5)
        with pytest.raises(UserError, match=r"locked \(the folder cannot be read: Permission denied"):
            open_data(str(tmp_path))
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert [bad.reason for bad in images.bad_files] == ["the folder cannot be read: Permission denied"]


def test_sizes_and_channels_follow_the_images(tmp_path, make_images):
    make_images(tmp_path / "same", ["1.png", "2.png"], size=20)
    assert open_data(str(tmp_path / "same")).shape == (3, 20, 20)
    make_images(tmp_path / "mixed", ["1.png"], size=20)
    make_images(tmp_path / "mixed", ["2.png"], size=30)
    assert open_data(str(tmp_path / "mixed")).shape == (3, 32, 32)
    assert open_data(str(tmp_path / "mixed"), size=24, channels=1).shape == (1, 24, 24)
    make_images(tmp_path / "large", ["1.png", "2.png"], size=300)
    assert open_data(str(tmp_path / "large")).shape == (3, 32, 32)
    assert open_data(str(tmp_path / "large"), size=300).shape == (3, 300, 300)
    (tmp_path / "bands").mkdir()
    for name in "ab":
        np.save(tmp_path / "bands" / name, np.zeros((7, 16, 24), dtype=np.uint16))
    assert open_data(str(tmp_path / "bands")).shape == (7, 16, 24)
    (tmp_path / "gray").mkdir()
    for name in "ab":
        Image.new("I;16", (9, 6)).save(tmp_path / f"gray/{name}.png")
    assert open_data(str(tmp_path / "gray")).shape == (1, 6, 9)


HEADERS = ["path,label,split", "File;Class;Split", "filename\ttarget\tsplit", "\ufeffimage,label,split"]


@pytest.mark.parametrize("header", HEADERS)
def test_csv_files_name_images_labels_and_splits(tmp_path, make_images, header):
    written = make_images(tmp_path / "pics", [f"{i}.png" for i in range(6)])
    mark = next(c for c in ";\t," if c in header)
    rows = [mark.join([f"pics/{i}.png", "xyz"[i % 3], "train" if i < 4 else "val"]) for i in range(6)]
    (tmp_path / "table.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    train, test = open_data(f"csv:{tmp_path}/table.csv"), open_data(str(tmp_path / "table.csv"), "test")
    assert train.classes == test.classes == ("x", "y", "z")
    assert train.labels is not None
    assert test.labels is not None
    assert train.labels.tolist() + test.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert np.array_equal(test.images[1].transpose(1, 2, 0), written["5.png"])


def test_a_csv_without_labels_and_splits_will_do(tmp_path, make_images):
    make_images(tmp_path, [f"{i}.png" for i in range(10)])
    (tmp_path / "t.csv").write_text("path\n" + "\n".join(str(tmp_path / f"{i}.png") for i in range(10)))
    train = open_data(str(tmp_path / "t.csv"))
    assert 0 < len(train) < 10
    assert train.labels is None
    assert "no test split" in train.note


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column of paths"),
        ("name,label\n1.png,a\n", r"no column of paths.*it has: name, label"),
        ("path,label\n", "no rows"),
        ("path,label\n1.png\n", "line 2 has 1 fields, the header 2"),
        ("path,path\n1,2\n", "two columns have the same name"),
        ("path,split\n1.png,a\n2.png,b\n", "'train'; its column 'split' says: a, b"),
        ("path\n\0\x01\n\0\n", "cannot be read"),
        ("path\nmissing.png\ngone.png\n", r"missing.png \(No such file"),
        ("path\n../../etc/passwd\nhttp://a/b.png\n", "cannot be read"),
    ],
)
def test_tables_that_do_not_serve_say_why(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        open_data(str(tmp_path / "t.csv"))
    assert "\n" not in str(caught.value)


def test_tables_that_are_no_text_say_why(tmp_path):
    for name in ("t.csv", "t.parquet"):
        (tmp_path / name).write_bytes(b"\xff\xfe\0\x81 not a table")
        with pytest.raises(UserError, match="cannot be read as a table"):
            open_data(str(tmp_path / name))


def test_parquet_files_hold_paths_or_the_images_themselves(tmp_path, make_images):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    written = make_images(tmp_path, [f"{i}.png" for i in range(6)])
    files = [f"{i}.png" for i in range(6)]
    columns = {"path": files, "label": [3, 1, 2, 3, 1, 2], "split": ["train"] * 4 + ["test"] * 2}
    parquet.write_table(pyarrow.table(columns), tmp_path / "paths.parquet")
    data = [(tmp_path / file).read_bytes() for file in files]
    parquet.write_table(pyarrow.table(columns | {"path": data}), tmp_path / "bytes.parquet")
    structs = [{"bytes": held, "path": None} for held in data]
    parquet.write_table(pyarrow.table({"image": structs, **columns, "path": structs}), tmp_path / "hub.parquet")
    for name in ("paths", "bytes", "hub"):
        test = open_data(f"parquet:{tmp_path}/{name}.parquet", "test")
        assert test.classes == ("1", "2", "3")
        assert test.labels is not None
        assert test.labels.tolist() == [0, 1]
        assert np.array_equal(test.images[0].transpose(1, 2, 0), written["4.png"])


@pytest.mark.parametrize(
    ("module", "name", "extra"), [("pyarrow", "t.parquet", "tables"), ("datasets", "hfds/t", "datasets")]
)
def test_without_an_extra_it_is_said_what_to_install(tmp_path, module, name, extra):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    code = f"import sys; sys.modules[{module!r}] = None\nfrom unlabeled.data import open_data\nopen_data({name!r})"
    environment = os.environ | {"PYTHONPATH": str(Path(unlabeled.__path__[0]).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert f"pip install 'unlabeled[{extra}]'" in done.stderr.splitlines()[-1]


def test_strays_beside_class_folders_are_named_and_the_classes_stay(tmp_path, make_images, capsys):
    make_images(tmp_path, [f"{c}/{i}.png" for c in "abc" for i in range(10)] + ["preview.png"])
    everything = open_data(str(tmp_path), "all")
    assert everything.classes == ("a", "b", "c")
    assert len(everything) == 30
    assert "1 of 31 images lie beside the class folders and are left out (preview.png)" in capsys.readouterr().err
    assert any("preview.png" in line for line in everything.lines)
    make_images(tmp_path, [f"{i}.png" for i in range(20)])
    many = open_data(str(tmp_path), "all")
    assert many.classes is None
    assert len(many) == 51
    assert "21 of 51 images lie beside the folders, which are therefore not taken for classes" in many.lines[-1]


def test_files_that_are_not_read_are_counted_by_their_ending(tmp_path, make_images, capsys):
    make_images(tmp_path, ["1.png", "2.png"])
    for name in ("a.HEIC", "b.heic", "c.dcm", "notes.txt", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    assert len(open_data(str(tmp_path), "all")) == 2
    assert "2 .heic, 1 .dcm files are of types that are not read" in capsys.readouterr().err
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone/a.heic").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds no images but 1 \.heic files"):
        open_data(str(tmp_path / "phone"))


@pytest.mark.parametrize(("holdout", "kept"), [(0.0, 50), (0.5, 25)])
def test_the_fraction_that_is_held_out_can_be_chosen(tmp_path, make_images, holdout, kept):
    make_images(tmp_path, [f"{i:03}.png" for i in range(50)])
    train = open_data(str(tmp_path), holdout=holdout)
    assert abs(len(train) - kept) <= 8 * (holdout > 0)
    if holdout:
        assert len(open_data(str(tmp_path), "test", holdout=holdout)) == 50 - len(train)
    else:
        with pytest.raises(NoTestSplit, match=r"data\.holdout=0;"):
            open_data(str(tmp_path), "test", holdout=holdout)


def test_empty_labels_are_images_without_one(tmp_path, make_images, capsys):
    make_images(tmp_path, [f"{i}.png" for i in range(10)])
    rows = "\n".join(f"{i}.png,{'cat' if i < 4 else 'dog' if i < 7 else ''}" for i in range(10))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}\n")
    everything = open_data(str(tmp_path / "t.csv"), "all")
    assert "3 of 10 rows" in capsys.readouterr().err
    assert everything.labels is None
    with pytest.raises(UserError, match="probing needs labels, and 3 of the 10 images"):
        everything.require_labels("probing")
    assert everything.labelled().require_labels("probing").tolist() == [0] * 4 + [1] * 3
    assert everything.labelled().classes == ("cat", "dog")


def test_the_column_of_labels_can_be_chosen_and_those_there_are_said(tmp_path, make_images, capsys):
    make_images(tmp_path, [f"{i}.png" for i in range(10)])
    rows = "\n".join(f"{i}.png,{'cat' if i % 2 else 'dog'}" for i in range(10))
    (tmp_path / "t.csv").write_text(f"path,Species\n{rows}\n")
    assert open_data(str(tmp_path / "t.csv"), "all").labels is None
    assert "has the columns path, Species; none is called label, class or target" in capsys.readouterr().err
    assert open_data(str(tmp_path / "t.csv"), "all", label="species").classes == ("cat", "dog")
    with pytest.raises(UserError, match=r"no column 'kind' \(it has: path, Species\)"):
        open_data(str(tmp_path / "t.csv"), "all", label="kind")


def test_a_column_of_splits_is_obeyed(tmp_path, make_images):
    make_images(tmp_path, [f"{i}.png" for i in range(10)])
    (tmp_path / "t.csv").write_text("path,split\n" + "".join(f"{i}.png,train\n" for i in range(10)))
    assert len(open_data(str(tmp_path / "t.csv"))) == 10
    with pytest.raises(NoTestSplit):
        open_data(str(tmp_path / "t.csv"), "test")


def test_files_of_the_same_size_and_time_are_read_again(tmp_path):
    for value in (10, 200):
        for i in range(4):
            np.save(tmp_path / f"{i}.npy", np.full((8, 8), value, np.uint8))
            os.utime(tmp_path / f"{i}.npy", (1e9, 1e9))
        assert (open_data(str(tmp_path), "all").images == value).all()
        time.sleep(0.01)

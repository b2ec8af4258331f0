from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlabeled.core import chain
from unlabeled.core.errors import UserError


def test_any_change_of_a_record_is_found(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    for number in range(3):
        chain.append(path, "forget", {"images": number, "name": "Zoë"})
    entries = chain.verify(path)
    assert [entry["content"]["images"] for entry in entries] == [0, 1, 2]
    assert [entry["previous"] for entry in entries] == ["", entries[0]["seal"], entries[1]["seal"]]
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = json.loads(lines[1])
    changed["content"]["images"] = 7
    resealed = {**changed, "seal": chain._seal(changed)}  # whoever changes an entry can seal it, but not those after it
    broken = {
        "changed": ([lines[0], json.dumps(changed), lines[2]], 1),
        "sealed again": ([lines[0], json.dumps(resealed), lines[2]], 2),
        "removed": ([lines[0], lines[2]], 1),
        "the first removed": (lines[1:], 0),
        "swapped": ([lines[0], lines[2], lines[1]], 1),
        "put in": ([*lines, lines[2]], 3),
        "no JSON": ([lines[0], "[" * 100_000], 1),
    }
    for how, (text, place) in broken.items():
        path.write_text("\n".join(text), encoding="utf-8")
        with pytest.raises(UserError, match=f"entry {place} was changed"):
            chain.verify(path)
        with pytest.raises(UserError):
            chain.append(path, "forget", {})
        assert path.read_text(encoding="utf-8") == "\n".join(text), how


def test_a_commitment_proves_the_whole_set_and_names_no_member() -> None:
    hashes = [f"{n:032x}" for n in range(5)]
    made = chain.commitment(hashes)
    assert made["count"] == 5
    assert chain.committed(made["salt"], hashes[::-1]) == made["digest"]
    assert chain.committed(made["salt"], hashes[1:]) != made["digest"]
    assert not any(one in json.dumps(made) for one in hashes)
    assert chain.commitment(hashes)["digest"] != made["digest"], "equal requests do not look alike"

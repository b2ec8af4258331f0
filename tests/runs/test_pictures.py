"""A method's pictures become PNG files that show the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unlabeled.runs.pictures import save_picture
from unlabeled.ssl.method import Picture


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_rows_and_columns_stand_where_they_belong(channels: int, tmp_path: Path) -> None:
    images = torch.arange(6).view(2, 3, 1, 1, 1).expand(2, 3, channels, 28, 28) / 10
    path = save_picture(Picture("a title", images), tmp_path, 7)
    assert path.name == "a-title-epoch-0007.png"
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[:2] == (2 * 58, 3 * 58)
    for row in range(2):
        for column in range(3):
            assert np.all(sheet[row * 58 + 29, column * 58 + 29] == round(25.5 * (3 * row + column)))

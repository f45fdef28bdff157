from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mailbox_house import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path / "mail", poll_s=0.05)
    yield house
    await house.close()

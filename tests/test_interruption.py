"""Asked to stop at a moment when the exception is lost: the run stops all the same."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recbole_unisid import interruption
from recbole_unisid.commands.main import main

MODEL = """
import os
from recbole_unisid.models.unisid import ItemID

class Own(ItemID):
    asked = False
    def calculate_loss(self, interaction):
        assert not Own.asked, "a batch after the signal"
        Own.asked = True
        try:
            os.kill(os.getpid(), NUMBER)
        except KeyboardInterrupt:
            pass  # as a finaliser would lose it
        return super().calculate_loss(interaction)
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of this process, put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interruption._asked = None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lost_signal_is_heeded(number: int) -> None:
    """Remembered until heeded, forgotten by who listens anew."""
    interruption.listen()
    interruption.heed()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt):
        interruption.heed()
    interruption.listen()
    interruption.heed()


def test_who_asks_again_at_once_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second exception in the clean-up of the first would be a traceback; later it is a wish of its own."""
    interruption.listen()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    for number in interruption.STOPS:
        os.kill(os.getpid(), number)
    monkeypatch.setattr(interruption, "_ENOUGH", 0.0)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    interruption.deafen()
    for number in interruption.STOPS:
        os.kill(os.getpid(), number)


@pytest.mark.usefixtures("nothing_in_use")
def test_a_run_stops_before_the_next_batch(ml_mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 130 and the line that says how to go on."""
    Path("own_lost.py").write_text(MODEL.replace("NUMBER", str(int(signal.SIGINT))))
    sys.modules.pop("own_lost", None)
    small = ["--train_batch_size=64", "--epochs=3", "--show_progress=false", "--use_gpu=false"]
    command = ["run", "--model=own_lost:Own", "--dataset=ml-mini", f"--data_path={ml_mini}", *small]
    assert main(command) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err

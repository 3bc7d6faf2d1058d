"""What a sequence model promises, checked before a model of the user's own trains for hours."""

from __future__ import annotations

import torch
from torch import nn

from recbole_unisid.errors import UserError


def check_reader(name: str, reader: nn.Module, width: int, max_len: int) -> None:
    """Check that a module reads histories [batch, length, width] to states of that shape, and none looks ahead.

    Parameters
    ----------
    name : str
        Of the model, for the message.
    reader : Module
        What stands in ``transformer``; tried in evaluation mode, without gradients.
    width : int
        Width of the item vectors.
    max_len : int
        Longest history.

    Raises
    ------
    UserError
        When the shape is another one, or an earlier state follows a later item.
    """
    length = min(5, max_len)
    device = next((parameter.device for parameter in reader.parameters()), torch.device("cpu"))
    training = reader.training
    # A generator of its own, and the process's put back: the run's numbers do not know of this trial.
    items = torch.randn(2, length, width, generator=torch.Generator().manual_seed(0)).to(device)
    changed = items.clone()
    changed[:, -1] += 1.0
    with torch.random.fork_rng(), torch.no_grad():
        reader.eval()
        try:
            states, others = reader(items), reader(changed)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise UserError(
                f"Model '{name}': its transformer cannot read [batch, length, width] = {list(items.shape)}: "
                f"{' '.join(str(error).split())}"
            ) from error
        finally:
            reader.train(training)
    if states.shape != items.shape:
        raise UserError(
            f"Model '{name}': its transformer makes {list(states.shape)} of {list(items.shape)}; the same shape is "
            "wanted, a state a position."
        )
    if length > 1 and not torch.allclose(states[:, :-1], others[:, :-1], rtol=1e-4, atol=1e-5):
        raise UserError(
            f"Model '{name}': its transformer looks ahead, a state changes with a later item; in training it would see "
            "its targets."
        )

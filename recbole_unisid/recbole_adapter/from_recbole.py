"""What `runs` and `serving` need of RecBole itself; it comes over the border here."""

from recbole.data.interaction import Interaction
from recbole.utils import init_seed
from recbole.utils.logger import RemoveColorFilter

__all__ = ["Interaction", "RemoveColorFilter", "init_seed"]

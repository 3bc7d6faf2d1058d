"""``python -m recbole_unisid`` is the command ``recbole-unisid``."""

import sys

from recbole_unisid.commands.main import main

if __name__ == "__main__":
    sys.exit(main())

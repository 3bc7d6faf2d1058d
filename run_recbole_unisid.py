"""Train and evaluate: ``python run_recbole_unisid.py --model=UniSID --dataset=amazon-beauty``."""

import sys

from recbole_unisid.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))

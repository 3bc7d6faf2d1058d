"""Settings that decide where or how loudly a run happens, and nothing that it computes."""

from __future__ import annotations

#: No part of a run's hash, and no difference between two variants of a model.
PLACE_KEYS = frozenset(
    """
    data_path output_dir cache_dir checkpoint_dir config_files config_file device gpu_id use_gpu local_rank
    single_spec worker show_progress state verbose log_wandb wandb_project seeds checkpoint_minutes
    """.split()  # noqa: SIM905 (a list of this length is harder to read)
)

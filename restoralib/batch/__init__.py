"""Many images: a folder, a list, a stream, a part of a cluster's work, a Ray dataset, the bytes of files."""

from restoralib.batch.cost import Cost, cost
from restoralib.batch.encoded import RestoreBytes, map_in_pandas
from restoralib.batch.files import Failure, Job, Plan, find_images, plan_files, plan_jobs
from restoralib.batch.folder import Report, restore_folder, run_plan
from restoralib.batch.manifest import MANIFEST, Entry, read_entries
from restoralib.batch.memory import restore_iter, restore_many
from restoralib.batch.restorer import Restorer, Result
from restoralib.batch.rows import RestoreRows, make_predict_fn, restore_dataset
from restoralib.batch.sharding import item_seed, nested, parse_shard, process_device, processes, shard, wait_for_others

__all__ = [
    "MANIFEST",
    "Cost",
    "Entry",
    "Failure",
    "Job",
    "Plan",
    "Report",
    "RestoreBytes",
    "RestoreRows",
    "Restorer",
    "Result",
    "cost",
    "find_images",
    "item_seed",
    "make_predict_fn",
    "map_in_pandas",
    "nested",
    "parse_shard",
    "plan_files",
    "plan_jobs",
    "process_device",
    "processes",
    "read_entries",
    "restore_dataset",
    "restore_folder",
    "restore_iter",
    "restore_many",
    "run_plan",
    "shard",
    "wait_for_others",
]

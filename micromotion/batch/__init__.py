"""Many photos: a list, a folder or a bucket in, a video and a row of results for each photo out.

`run` does it; `read_results` reads what it wrote. Importing this package does not import torch.
"""

from micromotion.batch.outcome import Outcome
from micromotion.batch.results import read_results
from micromotion.batch.runner import Report, run

__all__ = ["Outcome", "Report", "read_results", "run"]

"""The words that the Hub has lists of: licences, metrics, tasks, and the pages that say so."""

from dataclasses import dataclass

__all__ = [
    "ADDING",
    "CARDS",
    "COUNTED",
    "COUNTING",
    "LICENCES",
    "LICENSES",
    "METRICS",
    "PICKLES",
    "RESULTS",
    "SPECIFICATION",
    "TASK",
    "WIDGETS",
    "Page",
]


@dataclass(frozen=True)
class Page:
    """A page of the Hub's documentation. date: of the state that was read, its last change."""

    address: str
    date: str

    @property
    def name(self) -> str:
        return self.address.rpartition("/")[2]


CARDS = Page("https://huggingface.co/docs/hub/model-cards", "2026-04-08")
SPECIFICATION = Page("https://github.com/huggingface/hub-docs/blob/main/modelcard.md", "2026-04-17")
LICENCES = Page("https://huggingface.co/docs/hub/repositories-licenses", "2026-06-06")
RESULTS = Page("https://huggingface.co/docs/hub/eval-results", "2026-06-24")
WIDGETS = Page("https://huggingface.co/docs/hub/models-widgets", "2026-02-11")
ADDING = Page("https://huggingface.co/docs/hub/models-adding-libraries", "2025-11-13")
COUNTING = Page("https://huggingface.co/docs/hub/models-download-stats", "2026-08-06")
PICKLES = Page("https://huggingface.co/docs/hub/security-pickle", "2024-03-14")

TASK = "image-segmentation"  # the Hub's word, which other libraries' cards have

# What a request for counts as a download, where a library states no rule of its own (COUNTING).
COUNTED = ("config.json", "config.yaml", "hyperparams.yaml", "params.json", "meta.yaml")

# Our metrics that https://huggingface.co/metrics has too, under the names there.
METRICS = {"mean_iou": "mean_iou", "pixel_accuracy": "accuracy", "mae": "mae", "MAE": "mae"}

LICENSES = frozenset(  # of LICENCES, all
    "afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m "
    "bigscience-bloom-rail-1.0 bigscience-openrail-m bsd bsd-2-clause bsd-3-clause "
    "bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 "
    "cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 "
    "epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl "
    "gpl gpl-2.0 gpl-3.0 grok2-community h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 "
    "lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa "
    "odbl odc-by ofl-1.1 openmdw-1.0 openmdw-1.1 openrail openrail++ osl-3.0 other pddl "
    "postgresql unknown unlicense wtfpl zlib".split()
)

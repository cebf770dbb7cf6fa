"""``gsd train``: fine-tune a model on chain of thought, and keep checkpoints to capture.

TrainOptions   the flags
TRAIN          the command
"""

from __future__ import annotations

from dataclasses import dataclass

from gsd_core.methods.datasets_method import MAP_FORM
from gsd_core.registry.method import Command, Job
from gsd_core.registry.options import option


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Flags of ``gsd train``."""

    dataset: str = option(metavar="NAME|FILE")
    """A stored data set, or a file, which is stored first."""
    model: str = option(metavar="demo|smollm2|PATH|HUB_ID")
    """The model that is fine-tuned, as in gsd capture."""
    out: str | None = option(None, metavar="FOLDER")
    """Folder for the checkpoints and the log. It must not exist. Default: one in the workspace, which the page
    Training runs shows."""
    objective: str = option("full", choices=("full", "selective", "pruned"))
    """Where the loss is: on reasoning and answer; of the reasoning only on what --mask keeps, while all of it is read;
    or the rest of the reasoning is cut out."""
    mask: str | None = option(None, metavar="FILE")
    """What is kept of each sample: a file of gsd select."""
    bare: bool = False
    """Keep only what the mask keeps. Otherwise the first and the last two segments of a trace are kept too."""
    whole_below: int | None = option(None, metavar="TOKENS", check="positive")
    """Train on the whole of samples shorter than this, whatever the mask says. Default: the mask counts for all."""
    epochs: float = option(1.0, metavar="N", check="above zero")
    """Passes over the data."""
    steps: int | None = option(None, metavar="N", check="positive")
    """Optimizer steps, in place of --epochs."""
    keep: list[int] = option([], metavar="STEP")
    """Steps whose weights are kept. Default: 0, a tenth, a third and the last."""
    batch_size: int = option(16, metavar="N", check="positive")
    """Samples in an optimizer step."""
    micro_batch: int = option(8, metavar="N", check="positive")
    """Samples in a forward pass; fewer need less memory and give the same gradient."""
    rate: float = option(2e-5, metavar="X", check="above zero")
    """Peak learning rate of AdamW, after a warm-up of a twentieth of the steps; it falls to 0 as a cosine."""
    lora: int | None = option(None, metavar="R", check="positive")
    """Train LoRA adapters of this rank on all linear layers, not the weights themselves."""
    autocast: str = option("auto", choices=("auto", "none", "bfloat16"))
    """Number format of products; weights keep theirs. auto is bfloat16 where the processor has it."""
    device: str = "auto"
    """Where the model runs: auto|cpu|cuda|cuda:N|mps."""
    gradient_checkpointing: bool = False
    """Recompute layers in each backward pass: less memory for long traces, more time."""
    limit: int | None = option(None, metavar="N", check="positive")
    """Train only on the first N samples."""
    truncate: bool = False
    """Cut samples that are longer than the model's context. Otherwise they are left out and reported."""
    eval: str | None = option(None, metavar="NAME|FILE")
    """Data set whose loss is measured at every kept step. It is not trained on."""
    eval_limit: int = option(200, metavar="N", check="positive")
    """Measure it on the first N samples."""
    eval_answers: int = option(0, metavar="N", check="count")
    """Let the model answer the first N questions of --eval at every kept step: accuracy, and length of its texts."""
    answer_tokens: int = option(512, metavar="N", check="positive")
    """Most tokens of such a text."""
    probe: str | None = option(None, metavar="NAME|FILE")
    """Data set whose span gradients are captured at every kept step, into the run of --run."""
    run: str | None = option(None, metavar="NAME")
    """Name of the run that --probe writes. Default: the name of the probe's data set, and train."""
    seed: int = 0
    """Seed of the order of the samples, of dropout and of adapters."""
    resume: bool = False
    """Continue an interrupted training."""
    map: str | None = option(None, metavar=MAP_FORM)
    """Correct what the reader guessed of a file."""
    trust_remote_code: bool = False
    """Run code that comes with a model. Use it only for sources that you trust."""


TRAIN = Command(
    "train",
    "fine-tune a model on chain of thought, and keep checkpoints",
    TrainOptions,
    run="gsd_core.stages.train_stage:run_train",
    describe="gsd_core.stages.train_stage:describe_train",
    needs="new workspace",
    order=15,
    job=Job("Train on {dataset}", "train", resume="--resume", opens="trainings"),
)

"""Settings of methods that train the network itself: fine-tuning, and the same network from scratch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.params.linear_probe import LinearProbeParams
from tasks.params.section import Section


class TrainingParams(Section):
    """What every training run knows."""

    epochs: int = Field(12, ge=1, le=10_000, description="Passes over the training items.")
    passes: int = Field(1, ge=1, le=10_000, description="Times that each item is learned from in an epoch.")
    batch_size: int = Field(32, ge=2, le=4096, description="Items a step.")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="adamw, or sgd with momentum 0.9.")
    learning_rate: float = Field(3e-4, gt=0, le=10, description="Highest rate, of the head and the last block.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Not on norms and biases.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of the features, in front of the head.")
    schedule: Literal["cosine", "step", "plateau", "constant"] = Field(
        "cosine", description="How the rate falls: cosine to 0, by steps, or where the judged loss stays."
    )
    warmup_epochs: float = Field(1.0, ge=0, description="Epochs in which the rate rises from 0; at most epochs.")
    step_epochs: int = Field(7, ge=1, description="Epochs between the steps of schedule step; patience of plateau.")
    step_factor: float = Field(0.1, gt=0, lt=1, description="What a step of step or plateau multiplies the rate by.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of each label spread over all classes.")
    class_balance: Literal["none", "weighted", "sampled"] = Field(
        "none", description="weighted weighs the loss by class, sampled draws each class equally often."
    )
    average: float = Field(0.98, ge=0, lt=1, description="Decay a step of the weights' moving average (EMA); 0: none.")
    patience: int = Field(0, ge=0, description="Ends after so many epochs without a better judged loss; 0: never.")
    clip_norm: float | None = Field(1.0, gt=0, description="Longest gradient; null: no limit.")
    augmentation: Literal["none", "light", "standard", "strong"] = Field(
        "light", description="How training images are varied: crops, then colours, then erased parts too."
    )
    horizontal_flip: bool = Field(
        True,
        description="Whether a mirrored image keeps its label (not so for writing): half of the variants are mirrored; "
        "without effect under augmentation none.",
    )
    views: int = Field(4, ge=1, le=64, description="Variants of an image that are kept below a frozen part.")
    keep_frozen: Literal["auto", "never"] = Field(
        "auto", description="auto computes what lies below the trained blocks once, where it fits frozen_cache_gb."
    )
    frozen_cache_gb: float = Field(
        4.0, ge=0, description="Most disk for those kept activations, and as much again for decoded images; GB."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto takes bf16 where the processor computes in it."
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto", description="auto takes what the processor is faster with."
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Processor threads of training; 0: limits.threads, for images below 112 pixels 1. Bits depend on "
        "it: give a number for the same model on machines with other cores.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of this machine that share each batch, started by torchrun: one a GPU; on a CPU they "
        "share its cores. Figures agree with one process within rounding, but for dropout.",
    )
    min_validation_items: int = Field(
        100, ge=1, description="A smaller validation set is no judge: then training is judged by cross-validation."
    )
    folds: int = Field(3, ge=2, le=20, description="Folds of that cross-validation; groups stay together.")
    seed: int = Field(0, ge=0, description="Of order, variants, dropout and folds.")

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs:g}) is longer than epochs ({self.epochs}): the rate would never "
                "reach learning_rate; lower warmup_epochs"
            )
        return self

    @model_validator(mode="after")
    def _every_process_has_items(self) -> Self:
        if self.batch_size < 2 * self.processes:
            raise ValueError(
                f"batch_size ({self.batch_size}) gives {self.processes} processes fewer than 2 items each a step; set "
                f"batch_size to {2 * self.processes} or more, or lower processes"
            )
        return self


class FineTuneParams(TrainingParams):
    """Trains the last blocks of the pretrained network and its head, from the linear probe on."""

    name: Literal["fine_tune"] = "fine_tune"
    blocks: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        4, description="How many of the last blocks are trained (at least 1), or all; the others stay frozen."
    )
    layer_decay: float = Field(
        0.8, gt=0, le=1, description="Each block below the last learns at the rate above it times this."
    )
    batch_norm: Literal["frozen", "trained"] = Field(
        "frozen", description="Whether running statistics of trained blocks stay as they were pretrained."
    )
    probe: LinearProbeParams = Field(LinearProbeParams(), description="The head that training starts from.")


class FromScratchParams(TrainingParams):
    """Trains the same network from random weights: what there would be without transfer."""

    name: Literal["from_scratch"] = "from_scratch"
    epochs: int = Field(60, ge=1, le=10_000, description="Passes over the training items.")
    min_steps: int = Field(
        600, ge=0, description="A small data set gets more passes an epoch, until it comes to so many steps."
    )
    learning_rate: float = Field(3e-3, gt=0, le=10, description="Highest rate.")

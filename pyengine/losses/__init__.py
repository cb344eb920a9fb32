"""The losses, a file each. `KINDS` is what everybody else knows of them: options, weights, measuring, memory, tiles.

To add one, write its class and put it into `KINDS`: docs/architecture.md.
"""

from __future__ import annotations

from pyengine.losses.base import Loss
from pyengine.losses.content import ContentLoss
from pyengine.losses.correlation import CorrelationLoss
from pyengine.losses.gram import GramLoss
from pyengine.losses.histogram import HistogramLoss
from pyengine.losses.joint import JointLoss
from pyengine.losses.structure import StructureLoss
from pyengine.losses.variation import VariationLoss

__all__ = [
    "KINDS",
    "ContentLoss",
    "CorrelationLoss",
    "GramLoss",
    "HistogramLoss",
    "JointLoss",
    "Loss",
    "StructureLoss",
    "VariationLoss",
]

KINDS: dict[str, type[Loss]] = {
    kind.kind: kind
    for kind in (HistogramLoss, GramLoss, CorrelationLoss, StructureLoss, ContentLoss, VariationLoss, JointLoss)
}
"""The kinds by name, in the order in which terms are evaluated and listed."""

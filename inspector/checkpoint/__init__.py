"""Opening checkpoints lazily and safely.

`open_checkpoint` reads headers only and gives a `Checkpoint`: names to `Tensor` handles, which read their bytes
when asked, and plain `Value`s; `open_source` does so with bytes from anywhere. Nothing in a file is executed, no size
is believed before it is checked. What an entry means (scale, codes, weight) is the business of `formats`, not of this
package.
"""

from qinspect.inspector.checkpoint.checkpoint import Checkpoint
from qinspect.inspector.checkpoint.opening import open_checkpoint, open_source
from qinspect.inspector.checkpoint.tensor import Entry, Tensor, Value

__all__ = ["Checkpoint", "Entry", "Tensor", "Value", "open_checkpoint", "open_source"]
